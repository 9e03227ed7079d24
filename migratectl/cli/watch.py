"""The options of migrating commands that look on while pages move: ``--trace`` and ``--race``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import click

from migratectl.cli import ask, call, deferred
from migratectl.cli.group import refuse_in_a_race
from migratectl.cli.params import Parsed
from migratectl.cli.session import Batch, Document, Options, Session
from migratectl.spans import Address, parse_address

if TYPE_CHECKING:
    from migratectl.operations.watch import Watch
    from migratectl.storage.connection import Connection
    from migratectl.touches import Touches

F = TypeVar("F", bound=Callable[..., Any])
RaceWords = tuple[int, tuple[str, ...]]
Traced = Address | Literal["all"]

LAST_STEP: Final = 20
"""The documentation counts twenty steps of a page's move."""


def _traced(text: str) -> Traced:
    return parse_address(text) if text else "all"


def _race(text: str) -> RaceWords:
    step, colon, command = text.partition(":")
    if not colon or not (step.isascii() and step.isdigit()) or not 1 <= int(step[:3]) <= LAST_STEP:
        raise ValueError(f"'{text}' is not STEP:COMMAND with a step from 1 to {LAST_STEP}")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"'{command}': {error}") from None
    if not words:
        raise ValueError(f"'{text}' has no command behind the step")
    return int(step), words


TRACED: Parsed[Traced] = Parsed("[=ADDR]", _traced)
RACE: Parsed[RaceWords] = Parsed("STEP:COMMAND", _race)


def watched(function: F) -> F:
    """The two options; they hand on ``trace`` and ``race``, for watch()."""
    trace = click.option(
        "--trace",
        type=TRACED,
        metavar="[=ADDR]",
        callback=refuse_in_a_race,
        help="Tell the steps: a block for each course that pages took, or the way of the page at ADDR.",
    )
    race = click.option(
        "--race",
        type=RACE,
        multiple=True,
        callback=refuse_in_a_race,
        metavar="'STEP:COMMAND'",
        help="At that step of the first page that COMMAND touches, run it as another task would (repeatable).",
    )
    return trace(race(function))


def watch(session: Session, trace: Traced | None, race: Sequence[RaceWords]) -> Watch:
    """
    What looks on while pages move.

    Args:
        session: The call.
        trace: The address of one page in bytes, ``all``, or None.
        race: Steps, and the words of the commands that run at them.
    """
    traced = races = None
    if trace is not None:
        traced = deferred.tracing.Trace(address=None if trace == "all" else trace)
    if race:
        of = deferred.race
        races = of.Races(
            [of.Race(step, words, _touched(session, words), _beside(session, words)) for step, words in race]
        )
    found: Watch = deferred.watch.Watch(traced, races)
    return found


def _touched(session: Session, words: tuple[str, ...]) -> Touches:
    """What the command of another task touches. Raises UsageError where a task can run no such command."""
    try:
        return ask(replace(session, options=Options(session.options.state), argv=words))
    except click.UsageError as error:
        raise click.UsageError(f"--race: '{shlex.join(words)}': {error.format_message()}") from error


def _beside(session: Session, words: tuple[str, ...]) -> Callable[[Connection], Document]:
    """A command of another task, on the connection of this one: its document. The history does not list it."""

    def run(connection: Connection) -> Document:
        out = StringIO()
        second = replace(
            session,
            options=Options(state=session.options.state, json=True),
            argv=words,
            stdout=out,
            stderr=StringIO(),
            batch=Batch(session.options.state, ExitStack(), connection=connection, beside=True),
            line=None,
            command=None,
            answered=False,
        )
        call(second)
        told: Document = json.loads(out.getvalue())
        return told

    return run
