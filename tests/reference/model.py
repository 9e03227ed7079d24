"""The naive model: every command, and what the looking ones show."""

from __future__ import annotations

from typing import Any

from .areas import Page, Policy, Pte
from .base import ERRNO, Document
from .cpusets import Cpusets
from .machine import PAGE
from .policies import policy_at
from .words import written

__all__ = ["ERRNO", "Document", "Model"]


class Model(Cpusets):
    """State and commands of the naive model."""

    def do_show_pages(self, pid: str) -> Document:
        """Every page of every area: state, node, flags, mapcount, by address."""
        _, mm = self.user_task(pid)
        seen: dict[int, tuple[str, int | None, list[str], int | None]] = {}
        for vpn, slot in mm.slots.items():
            if slot.page is not None:
                flags = page_flags(slot.page, slot.page.ptes[mm.number, vpn])
                seen[vpn] = ("present", slot.page.node, flags, len(slot.page.ptes))
            elif slot.swapped is not None:
                seen[vpn] = ("swapped", None, page_flags(slot.swapped, Pte(False, False, False)), None)
            elif slot.zero is not None:
                seen[vpn] = ("zero", None, ["referenced"] if slot.zero.young else [], None)
            else:
                seen[vpn] = ("absent", None, [], None)
        return {"_pages": seen}

    def policy_text(self, policy: Policy | None) -> str:
        """A policy as numa_maps prints it (7.1, B27)."""
        if policy is None:
            return "default"
        if not policy.nodes:
            return "local" if self.hw.modern else "prefer"
        names = {"preferred": "prefer", "preferred-many": "prefer (many)", "weighted-interleave": "weighted interleave"}
        flags = "|".join(name for name in ("static", "relative", "balancing") if name in policy.flags)
        text = names.get(policy.mode, policy.mode) + (f"={flags}" if flags else "")
        return f"{text}{':' if self.hw.modern else '='}{written(policy.nodes)}"

    def do_numa_maps(self, pid: str) -> Document:
        """A line an area: the policy that a fault obeys there, counts of the pages that are present (7.1 b)."""
        task, mm = self.user_task(pid)
        lines = []
        for part, area in mm.areas():
            pages = [(vpn, page) for vpn in part if (page := mm.slots[vpn].page) is not None]
            own = area.policy or task.policy
            if area.file is not None and area.file.fs == "tmpfs":
                own = policy_at(mm, part.start)  # v9 asks the area, and skips the task's policy (6.1)
                own = own or task.policy if self.hw.modern else own
            lines.append({
                "addr": hex(part.start * PAGE), "policy": self.policy_text(own),
                "file": area.file.path if area.file else None,
                **self.counts(pages, mm.number),
            })  # fmt: skip
        return {"_lines": lines}

    def counts(self, pages: list[tuple[int, Page]], number: int) -> dict[str, Any]:
        """The counters of one line, None where the text has none."""
        nodes: dict[str, int] = {}
        for _, page in sorted(pages, key=lambda item: item[1].node):
            nodes[str(page.node)] = nodes.get(str(page.node), 0) + 1
        most = max((len(page.ptes) for _, page in pages), default=0)
        anon = sum(1 for _, page in pages if page.file is None)
        dirty = sum(1 for vpn, page in pages if page.dirty or page.ptes[number, vpn].dirty)
        return {
            "anon": anon or None,
            "dirty": dirty or None,
            "mapped": len(pages) if len(pages) not in (anon, dirty) else None,
            "mapmax": most if most > 1 else None,
            "swapcache": sum(1 for _, page in pages if page.swapcache) or None,
            "writeback": sum(1 for _, page in pages if page.writeback) or None,
            "nodes": nodes,
        }


def page_flags(page: Page, pte: Pte) -> list[str]:
    """The words of `show pages`, sorted; an anonymous page is active from its first fault on."""
    words = {
        "active": page.active,
        "dirty": page.dirty or pte.dirty,
        "locked": page.lock is not None,
        "parked": page.park is not None,
        "pinned": bool(page.pins),
        "referenced": pte.young,
        "swapcache": page.swapcache,
        "uptodate": page.uptodate,
        "writable": pte.writable,
        "writeback": page.writeback is not None,
    }
    return sorted(word for word, is_set in words.items() if is_set)
