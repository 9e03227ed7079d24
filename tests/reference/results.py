"""The document of a migration (cli.md, JSON)."""

from __future__ import annotations

from .areas import Page
from .base import ERRNO, Document
from .machine import Machine
from .migrate import Command
from .scan import ERRNO_OF


def result(machine: Machine, command: Command, err: str | None, left: int) -> Document:
    """
    What a call did.

    Args:
        machine: Where it happened.
        command: What happened.
        err: The errno it returns, None if it returns a number.
        left: That number.
    """
    after = command.present()
    moves: dict[tuple[int, int], int] = {}
    hops: dict[Page, int] = {}
    for page, old, new in command.hops:
        moves[old, new] = moves.get((old, new), 0) + 1
        hops[page] = hops.get(page, 0) + 1
    rows = [
        {
            "node": n.nid, "before": command.before.get(n.nid, 0), "after": after.get(n.nid, 0),
            "in": sum(k for (_, new), k in moves.items() if new == n.nid),
            "out": sum(k for (old, _), k in moves.items() if old == n.nid),
            "failed": sum(1 for page in command.failures if page.node == n.nid),
        }
        for n in machine.nodes
    ]  # fmt: skip
    failures, skips = [], []
    for page, f in sorted(command.failures.items(), key=lambda item: command.place[item[0]]):
        pid, vpn = command.place[page]
        failures.append(
            {"pid": pid, "node": page.node, "reason": f.reason, "errno": ERRNO_OF[f.reason], "pass": f.last, "vpn": vpn}
        )
    for (pid, vpn), (reason, skipped) in sorted(command.skips.items()):
        skips.append({"pid": pid, "node": skipped.node if skipped else None, "reason": reason, "vpn": vpn})
    return {
        "return": -ERRNO[err] if err else left, "errno": err, "committed": True, "swapped": len(command.evicted),
        "moved": len(command.hops), "failed": len(command.failures), "skipped": len(command.skips),
        "passes": command.passes, "moved_twice": sum(1 for k in hops.values() if k > 1), "_rows": rows,
        "moves": [{"from": s, "to": d, "pages": k} for (s, d), k in sorted(moves.items())],
        "_failures": failures, "_skips": skips,
        "residue": command.residue or command.residue_now(),
        "io": {"written": command.written, "read": 0},
        "exit": 1 if err else 3 if command.failures else 0,
    }  # fmt: skip
