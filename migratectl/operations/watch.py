"""Who looks on while pages move. The lookers are loaded only where a call has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from migratectl.operations.race import Races
    from migratectl.operations.tracing import Trace


class Watch(NamedTuple):
    """What ``--trace`` and ``--race`` ask of a migrating call."""

    trace: Trace | None = None
    races: Races | None = None


NOT_WATCHED: Final = Watch()
