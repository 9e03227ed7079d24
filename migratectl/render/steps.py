"""What a reader is told of the steps of a migration: a block for each course that pages took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migratectl.render.parts import Document, Line, Part, pages_text, table


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
