"""What a reader is told of the steps of a migration: a block for each course that pages took, and who was met there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping

from migratectl.render.parts import Document, Line, Part, table
from migratectl.wording import counted, pages_text


def trace(blocks: Iterable[Document]) -> list[Part]:
    """
    The steps of each course.

    Args:
        blocks: As the document of a migration has them under ``trace``.

    Returns:
        For each block a line that says whose it is, and for its passes a line and a table: the references and mappings
        of both pages after each step, and the use count of the swap slot.
    """
    return [part for block in blocks for part in _block(block)] or [Line("no page that was asked for was looked at")]


def calls(made: Iterable[Document]) -> list[Part]:
    """
    The lists of each call of migrate_pages().

    Args:
        made: As the document of a migration has them under ``calls``.

    Returns:
        For each call a line that says whose pages it was about, and a table: the sizes of its lists after each step of
        its use.
    """
    parts: list[Part] = []
    for call in made:
        whose = "that nobody maps" if call["pid"] is None else f"of pid {call['pid']}"
        parts.append(Line(f"migrate_pages for pages {whose}:"))
        to = ("to",) if any(step["to"] is not None for step in call["lists"]) else ()
        parts.append(table(call["lists"], ("step", "from", *to, "moved", "failed"), left={"step"}))
    return parts


def races(met: Iterable[Document], tell: Callable[[Document], list[Part]]) -> list[Part]:
    """
    Who met the pages of a migration.

    Args:
        met: As the document of a migration has them under ``races``.
        tell: What to tell of the result of a command.

    Returns:
        For each race a line that says how both fared, and what its command told.
    """
    return [part for race in met for part in _race(race, tell)]


def _race(race: Document, tell: Callable[[Document], list[Part]]) -> Iterator[Part]:
    what = f"race at step {race['step']}, {shlex.join(race['argv'])}"
    if not race["met"]:
        yield Line(f"{what}: not run, no page came that far")
        return
    words = [f"blocked on the {race['blocked_on'].replace('-', ' ')}" if race["blocked_on"] else "not blocked"]
    words = ["waited until the call was over"] if race.get("waited_for_call") else words
    words += ["the migration backed out"] if race["backed_out"] else []
    words += [f"looked up again {counted(race['retries'], 'time', 'times')}"] if race["retries"] else []
    yield Line(f"{what}: {', '.join(words)}")
    result = race["result"]
    if result.get("message"):
        yield Line(result["message"], bad=True)
    else:
        yield from tell({key: value for key, value in result.items() if value is not None})


def _block(block: Document) -> Iterator[Part]:
    yield Line(f"{pages_text(block['pages'])} from {block['addr']}:")
    for one in block["passes"]:
        many = one["last"] - one["first"] + 1
        which = f"pass {one['first']}" if many == 1 else f"passes {one['first']}-{one['last']}, alike"
        reason = f", {one['reason']}" if one["reason"] else ""
        yield Line(f"{which}: {one['outcome']}{reason}", bad=one["outcome"] == "failed")
        rows = [
            {
                "step": step["step"] or "-",
                "what": step["what"],
                "old": _counts(step["old"]),
                "new": _counts(step["new"]),
                "slot": step["slot"],
            }
            for step in one["steps"]
        ]
        slot = ("slot",) if any(row["slot"] is not None for row in rows) else ()
        yield table(rows, ("step", "what", "old", "new", *slot), left={"what"})


def _counts(counts: Mapping[str, int] | None) -> str:
    """References before mappings: 3/2 are three references, two of them by ptes."""
    return "-" if counts is None else f"{counts['count']}/{counts['mapcount']}"
