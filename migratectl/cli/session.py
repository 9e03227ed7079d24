"""One call of the program: its options, its streams, the state file, and the way from an operation to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TextIO

import click

from migratectl.cli import deferred
from migratectl.errors import KernelError, MigratectlError, StateFileError
from migratectl.uapi import errno_number
from migratectl.wording import printable

if TYPE_CHECKING:
    from migratectl.operations.caller import Caller
    from migratectl.storage.connection import Connection
    from migratectl.storage.engine import StateFile

P = ParamSpec("P")
Document = dict[str, Any]

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
STAYED: Final = 3
STATE_FILE: Final = 4
FOUND: Final = 5
BUSY: Final = 6
INTERNAL: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

SEVERITY: Final = (DONE, STAYED, FOUND, FAILED, BUSY, USAGE, STATE_FILE, INTERNAL)
"""Exit codes from the mildest to the worst: pages that stayed never hide a line that was refused or mistyped."""

DEFAULT_TIMEOUT: Final = 30.0
FORMAT: Final = "migratectl/1"


class OutputError(Exception):
    """A result could not be written, so its transaction rolls back."""


@dataclass
class Options:
    """The global options, from the environment first and the command line after; the latter wins."""

    state: Path
    json: bool = False
    dry_run: bool = False
    uid: int | None = None
    by: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    verbosity: int = 0
    color: str = "auto"

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Options:
        """What the variables say, and the defaults."""
        state = environment.get("MIGRATECTL_STATE")
        return cls(
            state=Path(state) if state else default_state(environment),
            json=environment.get("MIGRATECTL_JSON", "") not in ("", "0"),
        )

    def caller_words(self) -> tuple[str, ...]:
        """The global options that decide what a call does."""
        uid = () if self.uid is None else ("--as", str(self.uid))
        return uid if self.by is None else (*uid, "--by", str(self.by))

    def set(self, name: str, value: Any) -> None:
        """Take a global option as the command line gave it."""
        if name in ("quiet", "verbose"):
            self.verbosity += value if name == "verbose" else -value
        elif name == "state":
            self.state = Path(value)
        else:
            setattr(self, "uid" if name == "as" else name, value)


@dataclass
class Batch:
    """
    What the lines of a batch share.

    Args:
        state: The state file of all lines.
        stack: Holds the one transaction open, where there is one for all lines; else None.
        dry_run: That transaction is rolled back at its end.
        connection: That transaction, once a line has begun it.
        beside: It is one command that runs beside another, within its transaction.
        worked: A line has made or changed the state file.
        anew: A line has made it in the place of an older one: what stood there is gone by the user's own word.
    """

    state: Path
    stack: ExitStack | None = None
    dry_run: bool = False
    connection: Connection | None = None
    beside: bool = False
    worked: bool = False
    anew: bool = False


@dataclass
class Session:
    """
    One call: what its commands need to run an operation and to tell its result.

    Args:
        options: The global options.
        argv: The words of the call, as given.
        stdout: Where results go.
        stderr: Where messages go.
        stdin: Where ``batch`` reads.
        batch: What the lines of a batch share; None outside of one.
        line: Number of the line in the batch.
        command: Name of the command, once it is read, such as ``task create``.
        words: The words for the journal: the command and who calls, no other global option.
        profile: The profile of the state file, once it is read.
        answered: The result is written; what goes wrong after that is told on standard error only.
        files: The state files that are open.
    """

    options: Options
    argv: tuple[str, ...] = ()
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    batch: Batch | None = None
    line: int | None = None
    command: str | None = None
    words: tuple[str, ...] = ()
    profile: str | None = None
    answered: bool = False
    files: dict[Path, StateFile] = field(default_factory=dict)

    # ---- running an operation ----------------------------------------------------------------------------------

    @property
    def caller(self) -> Caller:
        """Who calls: the task of ``--by``, or the user of ``--as``."""
        if self.options.by is not None and self.options.uid is not None:
            raise click.UsageError("--as and --by both say who calls; give one of them")
        who: Caller = deferred.caller.Caller(uid=self.options.uid or 0, pid=self.options.by)
        return who

    def perform(
        self, operation: Callable[Concatenate[Connection, P], Document], *args: P.args, **keywords: P.kwargs
    ) -> int:
        """
        Run an operation that may change the state, tell its result, then commit.

        The result is written before the commit, so that a broken pipe changes nothing.

        Args:
            operation: Takes a connection and the other arguments, returns the body of the document.

        Returns:
            The exit code.
        """
        with self._transaction(write=True) as connection:
            document = self._run(connection, operation, *args, **keywords)
            self._record(connection, document)
            self.answer(document | {"committed": document.get("committed", True)})
        return exit_code(document)

    def look(
        self, operation: Callable[Concatenate[Connection, P], Document], *args: P.args, **keywords: P.kwargs
    ) -> int:
        """Run an operation that reads, tell its result, return the exit code."""
        with self._transaction(write=False) as connection:
            document = self._run(connection, operation, *args, **keywords)
        self.answer(document)
        return exit_code(document)

    def create(
        self,
        force: bool,
        operation: Callable[Concatenate[Connection, P], Document],
        *args: P.args,
        **keywords: P.kwargs,
    ) -> int:
        """Run an operation on a new state file, which replaces an old one only with *force*."""
        with self._new_file(force) as connection:
            body = operation(connection, *args, **keywords)
            self.profile = deferred.facts.profile(connection)
            document = self.envelope() | body
            self._record(connection, document)
            self.answer(document | {"committed": True})
        return exit_code(document)

    def for_line(self, number: int, argv: Sequence[str], batch: Batch) -> Session:
        """The session of one line of a batch: same streams and state file, options of its own."""
        return replace(
            self,
            options=replace(self.options, dry_run=False),
            argv=tuple(argv),
            batch=batch,
            line=number,
            command=None,
            profile=None,
            answered=False,
        )

    def close(self) -> None:
        """Let go of the state files."""
        while self.files:
            self.files.popitem()[1].close()

    # ---- telling -----------------------------------------------------------------------------------------------

    def answer(self, document: Document) -> None:
        """
        Write a result: to standard output, and where the call failed a line to standard error.

        Args:
            document: The whole document; gets the keys of a batch or a dry run.
        """
        if document.get("errno") is not None:
            document.setdefault("message", deferred.render.failure(document))
        document["dry_run"] = self._dry
        self._write(document, exit_code(document))
        if self.options.verbosity > 0:
            self.complain(f"state file {self.options.state}, profile {self.profile}")
        if self.options.dry_run and not self.options.json:
            self.note("dry run, nothing was changed")
        for assumption in (*document.get("assumptions", ()), *document.get("notes", ())):
            self.note(str(assumption))
        if document.get("errno") is not None:
            self.complain(str(document["message"]))

    def refuse(self, message: str, code: int, error: BaseException | None = None) -> int:
        """
        Tell why a call was not carried out.

        Args:
            message: One line.
            code: The exit code.
            error: The reason; its errno goes into the document, its traceback to standard error for debugging.

        Returns:
            The exit code.
        """
        if error is not None and os.environ.get("MIGRATECTL_DEBUG", "") not in ("", "0"):
            with redirect_stderr(self.stderr):
                sys.__excepthook__(type(error), error, error.__traceback__)
        message = " ".join(message.split())
        if self.options.json and not self.answered:
            self._write(self._refusal(message, error), code)
        self.complain(message)
        return code

    def learn_profile(self) -> None:
        """Read the profile for the document of a call that was refused before its transaction began."""
        if self.profile is None and self.options.json:
            with suppress(MigratectlError), self._transaction(write=False) as connection:
                self.profile = deferred.facts.profile(connection)

    def complain(self, message: str) -> None:
        """Write a line to standard error: program, command, message."""
        place = f"batch: line {self.line}: " if self.line is not None else ""
        name = f"{self.command}: " if self.command else ""
        with suppress(OSError):  # a message that nobody can read changes no result
            self.stderr.write(f"migratectl: {place}{name}{printable(' '.join(message.split()))}\n")

    def note(self, message: str) -> None:
        """Write a line to standard error that ``-q`` leaves out."""
        if self.options.verbosity >= 0:
            self.complain(message)

    # ---- inside ------------------------------------------------------------------------------------------------

    def envelope(self) -> Document:
        """The keys that every document has."""
        return {"format": FORMAT, "command": self.command, "profile": self.profile}

    def _run(
        self,
        connection: Connection,
        operation: Callable[Concatenate[Connection, P], Document],
        *args: P.args,
        **keywords: P.kwargs,
    ) -> Document:
        self.profile = deferred.facts.profile(connection)
        document = self.envelope() | operation(connection, *args, **keywords)
        document.setdefault("errno", None)
        return document

    def _record(self, connection: Connection, document: Document) -> None:
        if self.batch is not None and self.batch.beside:
            return
        deferred.journal.record(connection, self.words, document)

    @property
    def _dry(self) -> bool:
        return self.options.dry_run or (self.batch is not None and self.batch.dry_run)

    def _refusal(self, message: str, error: BaseException | None) -> Document:
        name = error.errno_name if isinstance(error, KernelError) else None
        refused = {"return": -errno_number(name) if name else None, "errno": name, "message": message}
        return self.envelope() | refused | {"committed": False, "dry_run": self._dry}

    def _write(self, document: Document, code: int) -> None:
        self.answered = True
        if self.options.json:
            place = {} if self.line is None else {"line": self.line, "argv": list(self.argv)}
            document = document | {"exit": code} | place
            text = deferred.render.to_json(document)
        else:
            text = deferred.render.to_text(document, self.stdout, self.options.color)
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output: {error.strerror}; nothing was changed") from error

    def _file(self) -> StateFile:
        path = self.options.state
        if self.batch is not None and path != self.batch.state:
            raise click.UsageError(f"all lines of a batch work on one state file, {self.batch.state}")
        if path not in self.files:
            self.files[path] = deferred.engine.StateFile(path, self.options.timeout)
        return self.files[path]

    @contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        if self.batch is None or self.batch.stack is None:
            with self._file().transaction(write=write, dry_run=self.options.dry_run) as connection:
                self._mark_worked(write)
                yield connection
            return
        if self.batch.connection is None:
            whole = self._file().transaction(write=True, dry_run=self.batch.dry_run)
            self.batch.connection = self.batch.stack.enter_context(whole)
        with self._savepoint(self.batch.connection) as connection:
            yield connection

    @contextmanager
    def _new_file(self, force: bool) -> Iterator[Connection]:
        self._make_room()
        if self.batch is not None and (
            self.batch.connection is not None or (force and self.batch.worked and not self.batch.anew)
        ):
            raise click.UsageError("earlier lines have worked on the state file; make a new one by the first command")
        if self.batch is None or self.batch.stack is None:
            with self._file().create(force=force, dry_run=self.options.dry_run) as connection:
                yield connection
            self.close()  # a connection that is open belongs to the file that was replaced
            self._mark_worked(True)
            if self.batch is not None:
                self.batch.anew = force
            return
        with ExitStack() as attempt:
            connection = attempt.enter_context(self._file().create(force=force, dry_run=self.batch.dry_run))
            yield connection
            self.batch.connection = connection
            self.batch.stack.push(attempt.pop_all())  # the file is made when the batch ends

    def _mark_worked(self, write: bool) -> None:
        if self.batch is not None:
            self.batch.worked |= write

    def _make_room(self) -> None:
        """The folder of the default state file is made; one that the user named must be there."""
        path = self.options.state
        if path == default_state(os.environ):
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StateFileError(f"{path.parent}: cannot be made: {error.strerror}; give -s FILE") from error

    @contextmanager
    def _savepoint(self, connection: Connection) -> Iterator[Connection]:
        with connection.savepoint(keep=not self.options.dry_run):
            yield connection


def exit_code(document: Document) -> int:
    """The exit code that goes with a result; errno before pages that stayed before what a comparison found."""
    if document.get("errno") is not None:
        return FAILED
    if document.get("failed"):
        return STAYED
    return DONE if document.get("ok", True) else FOUND


def worst(codes: Iterable[int]) -> int:
    """The exit code of many commands: the worst of theirs; 0 where there are none."""
    return max(codes, key=SEVERITY.index, default=DONE)


def default_state(environment: Mapping[str, str]) -> Path:
    """The state file where none is named: below XDG_STATE_HOME or ~/.local/state."""
    home = environment.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path("~/.local/state").expanduser()
    return base / "migratectl" / "state.db"
