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

from migratectl.cli import call, deferred
from migratectl.cli.params import Parsed
from migratectl.cli.session import Batch, Document, Options, Session
from migratectl.spans import Address, parse_address

if TYPE_CHECKING:
    from migratectl.operations.watch import Watch
    from migratectl.storage.connection import Connection

F = TypeVar("F", bound=Callable[..., Any])
RaceWords = tuple[int, tuple[str, ...]]
Traced = Address | Literal["all"]

_OUTSIDE: Final = frozenset({"init", "import", "import-numa-maps", "batch", "demo", "check", "db", "log", "state"})
"""Commands about the state file, which no task runs."""

_NOT_IN_A_RACE: Final = frozenset(
    {"-s", "--state", "-n", "--dry-run", "-h", "--help", "--version", "--timeout", "--trace", "--race"}
)
"""Options of the call that a race meets, not of the command that meets it."""

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
        help="Tell the steps: a block for each course that pages took, or the way of the page at ADDR.",
    )
    race = click.option(
        "--race",
        type=RACE,
        multiple=True,
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
    for _, words in race:
        _check_race(words)
    if race:
        races = deferred.race.Races([deferred.race.Race(step, words, _beside(session, words)) for step, words in race])
    found: Watch = deferred.watch.Watch(traced, races)
    return found


def _check_race(words: tuple[str, ...]) -> None:
    """Refuse a command line that is none, before anything moves (UsageError)."""
    told = f"--race: '{shlex.join(words)}'"
    for word in words:
        if word.partition("=")[0] in _NOT_IN_A_RACE:
            raise click.UsageError(f"{told}: the option {word.partition('=')[0]} does not go with a race; leave it out")
    rest, context = list(words), click.Context(click.get_current_context().find_root().command)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] in ("--as", "--by") else 1]
    while isinstance(context.command, click.Group):
        name = rest.pop(0) if rest else ""
        command = context.command.get_command(context, name)
        if command is None or name in _OUTSIDE:
            raise click.UsageError(f"{told} is no command that a task can run; see 'migratectl --help'")
        context = click.Context(command, parent=context, info_name=name)
    try:
        context.command.make_context(context.info_name, rest, parent=context.parent).close()
    except click.UsageError as error:
        raise click.UsageError(f"{told}: {error.format_message()}") from error


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
