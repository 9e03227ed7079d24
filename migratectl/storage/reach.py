"""
The run that covers an address or an index, found without reading the runs before it.

A run reaches from its first page to its last. ``reach`` is the number of hexadecimal digits of the distance between
them, 0 for a single page; an index has the runs by it. A run of reach d that covers a place begins less than 16^d
before it, and those that begin there are at least a sixteenth of that long: so one probe a reach finds it, beside a few
others, however many runs there are.
"""

from __future__ import annotations

from typing import Final

from migratectl.runs import Run

_DIGITS: Final = 13
"""Of 2^52 pages: no address space has more."""

REACHES: Final = f"(VALUES {', '.join(f'({d}, {16**d})' for d in range(1, _DIGITS + 1))})"
"""A table of all reaches but 0: column1, and column2, the pages within which such a run begins."""


def reach(count: str, step: str) -> str:
    """The SQL expression of the reach of a run, from the expressions of its count and step."""
    return f"CASE {count} WHEN 1 THEN 0 ELSE length(printf('%x', ({count} - 1) * {step})) END"


def reach_of(run: Run) -> int:
    """The reach of a run."""
    return 0 if run.nr_pages == 1 else len(f"{run.last - run.start:x}")


def covering_ptes(mm: str, at: str, low: str = "0") -> str:
    """
    FROM and WHERE of the runs ``t`` of an address space, their pages ``p``, that begin before an address and reach it.

    Args:
        mm: The SQL expression of the address space.
        at: That of the address.
        low: That of the lowest address at which they may begin.

    Returns:
        The text, to go on with ``AND``; a run of step s > 1 may pass over the address itself. A further condition on
        ``addr`` would be taken for the bound of the index.
    """
    return f"""FROM {REACHES} r CROSS JOIN ptes t INDEXED BY ptes_reach ON t.mm = {mm} AND t.reach = r.column1
 AND t.reach > 0 AND t.addr >= max({at} - r.column2, {low}) AND t.addr < {at} CROSS JOIN pages p ON p.id = t.page
WHERE t.addr + (p.count - 1) * p.step >= {at}"""


def covering_rows(mapping: str, at: str) -> str:
    """FROM and WHERE of the page rows ``p`` of a mapping that begin before an index and reach it."""
    return f"""FROM {REACHES} r CROSS JOIN pages p INDEXED BY pages_reach ON p.mapping = {mapping}
 AND length(printf('%x', (p.count - 1) * p.step)) = r.column1
 AND p.count > 1 AND p.first > {at} - r.column2 AND p.first < {at}
WHERE p.next - p.step >= {at}"""
