"""
The command line: which commands there are, how one is called, and what becomes of every error.

Exit codes: 0 done, 1 the modelled call failed, 2 the words are wrong (or a file they name is), 3 pages stayed, 4 the
state file cannot be used, 5 a comparison found something, 6 the state file is busy, 130 interrupted, 141 broken pipe;
70 is a defect of the program: nothing was changed.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from typing import Final, TextIO

import click

from migratectl import __version__
from migratectl.cli.group import Entry, LazyGroup, global_options
from migratectl.cli.session import (
    BROKEN_PIPE,
    BUSY,
    DONE,
    FAILED,
    INTERNAL,
    INTERRUPTED,
    STATE_FILE,
    USAGE,
    Options,
    OutputError,
    Session,
)
from migratectl.errors import InputFileError, KernelError, MigratectlError, StateBusy
from migratectl.touches import Touches

PROGRAM: Final = "migratectl"

_STATE: Final = "State"
_MACHINE: Final = "Machine and tasks"
_PLACEMENT: Final = "Placement and migration"
_LOOKING: Final = "Looking"

COMMANDS: Final[Mapping[str, Entry]] = {
    "init": Entry(_STATE, "Make a new state file: a machine without tasks.", "state"),
    "import": Entry(_STATE, "Make a new state file from a tree of /sys and /proc.", "state"),
    "import-numa-maps": Entry(_STATE, "Add tasks from numa_maps texts.", "state"),
    "check": Entry(_STATE, "Test every invariant of the state.", "state"),
    "batch": Entry(_STATE, "Run one command a line, in one process.", "state"),
    "demo": Entry(_STATE, "Run a small story on a state file of its own.", "state"),
    "state": Entry(
        _STATE,
        "Tell states apart.",
        group={"hash": Entry("Commands", "Print a hash of the modelled state.", "state")},
    ),
    "log": Entry(
        _STATE,
        "List the commands that changed the state, or show one.",
        "state",
        group={"show": Entry("Commands", "Show one entry of the history.", "state")},
    ),
    "db": Entry(
        _STATE,
        "The schema's version of the state file.",
        group={
            "current": Entry("Commands", "Tell the schema's version of the state file.", "state"),
            "upgrade": Entry("Commands", "Bring a state file of an older version up to date.", "state"),
        },
    ),
    "node": Entry(
        _MACHINE,
        "The nodes of the machine.",
        group={
            "list": Entry("Commands", "List the nodes and their memory.", "machine"),
            "offline": Entry("Commands", "Move everything off a node, then take it offline.", "machine"),
            "online": Entry("Commands", "Bring a node back online.", "machine"),
            "weight": Entry("Commands", "Say how much weighted interleaving gives a node.", "machine"),
        },
    ),
    "task": Entry(
        _MACHINE,
        "Create, change, list and end tasks.",
        group={
            "create": Entry("Commands", "Create a task or a thread.", "machine"),
            "set": Entry("Commands", "Change a task's user, name, capabilities, CPUs or limits.", "machine"),
            "list": Entry("Commands", "List the tasks.", "machine"),
            "run-on": Entry("Commands", "Let a task run on another CPU.", "machine"),
            "exit": Entry("Commands", "End a task and free what it had.", "machine"),
        },
    ),
    "fork": Entry(_MACHINE, "Copy a task; private pages are shared until written.", "machine"),
    "mmap": Entry(_MACHINE, "Map an area into a task's address space.", "machine"),
    "munmap": Entry(_MACHINE, "Unmap a range.", "machine"),
    "mlock": Entry(_MACHINE, "Lock a range into memory.", "machine"),
    "munlock": Entry(_MACHINE, "Undo mlock for a range.", "machine"),
    "mprotect": Entry(_MACHINE, "Change the protection of a range.", "machine"),
    "madvise": Entry(_MACHINE, "Tell how a range will be used.", "machine"),
    "fault": Entry(_MACHINE, "Touch every page of a range in address order.", "machine"),
    "page": Entry(
        _MACHINE,
        "What stands in a migration's way.",
        group={
            "lock": Entry("Commands", "Hold the page locks of a range.", "machine"),
            "unlock": Entry("Commands", "Let page locks of the task go.", "machine"),
            "pin": Entry("Commands", "Hold references on the pages of a range.", "machine"),
            "unpin": Entry("Commands", "Let references of the task go.", "machine"),
            "writeback": Entry("Commands", "Let the pages of a range be under writeback.", "machine"),
            "unwriteback": Entry("Commands", "Let writeback that the task began be over.", "machine"),
            "park": Entry("Commands", "Park the pages of a range off the LRU, in a per-CPU batch.", "machine"),
            "buffers": Entry("Commands", "Attach buffers to the cache pages of a range, and set their state.", "files"),
            "unpark": Entry("Commands", "Put pages that the task parked back on the LRU.", "machine"),
        },
    ),
    "file": Entry(
        _MACHINE,
        "Files and their pages in the cache.",
        group={
            "create": Entry("Commands", "Make a file; none of its pages is cached.", "files"),
            "read": Entry("Commands", "Read a file into the page cache.", "files"),
            "write": Entry("Commands", "Write to a file, into the page cache.", "files"),
            "truncate": Entry("Commands", "Cut a file, or make it longer.", "files"),
            "sync": Entry("Commands", "Write the dirty pages of a file to its disk.", "files"),
            "list": Entry("Commands", "List the files and segments, with their pages in memory.", "files"),
        },
    ),
    "swap": Entry(
        _MACHINE,
        "The swap areas.",
        group={
            "on": Entry("Commands", "Add a swap area.", "machine"),
            "out": Entry("Commands", "Swap the pages of a range out.", "machine"),
            "off": Entry("Commands", "Read everything back from a swap area and remove it.", "machine"),
        },
    ),
    "set-mempolicy": Entry(_PLACEMENT, "Set a task's memory policy, set_mempolicy(2).", "placement"),
    "get-mempolicy": Entry(_PLACEMENT, "Tell a task's memory policy, get_mempolicy(2).", "placement"),
    "mbind": Entry(_PLACEMENT, "Set the policy of a range and move what lies elsewhere, mbind(2).", "placement"),
    "migrate-pages": Entry(_PLACEMENT, "Move a task's pages between nodes, migrate_pages(2).", "placement"),
    "move-pages": Entry(_PLACEMENT, "Move or query single pages, move_pages(2).", "placement"),
    "cpuset": Entry(
        _PLACEMENT,
        "Cpusets: nodes and CPUs for sets of tasks.",
        group={
            "create": Entry("Commands", "Make a cpuset.", "cpusets"),
            "set": Entry("Commands", "Change a cpuset; its tasks' pages follow where it says so.", "cpusets"),
            "move": Entry("Commands", "Let a task join a cpuset; its pages follow where that says so.", "cpusets"),
            "read": Entry("Commands", "Read a file of a cpuset.", "cpusets"),
            "write": Entry("Commands", "Write a file of a cpuset.", "cpusets"),
            "list": Entry("Commands", "List the cpusets and the tasks in them.", "cpusets"),
            "remove": Entry("Commands", "Remove a cpuset without tasks.", "cpusets"),
        },
    ),
    "show": Entry(
        _LOOKING,
        "Show a part of the state.",
        group={
            "nodes": Entry("Commands", "Show the nodes and their memory.", "look"),
            "tasks": Entry("Commands", "Show the tasks.", "look"),
            "vmas": Entry("Commands", "Show the areas of one task or of all.", "look"),
            "pages": Entry("Commands", "Show where the pages of a task are.", "look"),
            "mappings": Entry("Commands", "Show anonymous families, files and segments with their pages.", "look"),
            "buffers": Entry("Commands", "Show the pages that have a ring of buffers.", "look"),
            "policies": Entry("Commands", "Show the policies of tasks, areas and shared objects.", "look"),
            "cpusets": Entry("Commands", "Show the cpusets and the tasks in them.", "look"),
            "swap": Entry("Commands", "Show the swap areas, and which pages of a task have a slot.", "look"),
        },
    ),
    "explain": Entry(_LOOKING, "Tell for each page whether it could move, and why not.", "look"),
    "numa-maps": Entry(_LOOKING, "Print a task's numa_maps in the kernel's layout.", "look"),
    "numastat": Entry(_LOOKING, "Print the counters of the nodes, or a task's memory by node.", "look"),
    "hardware": Entry(_LOOKING, "Print nodes, memory and distances as numactl does.", "look"),
    "locality": Entry(_LOOKING, "Show pages by distance from where their task runs.", "look"),
}


def program() -> LazyGroup:
    """The top of the commands: the global options and the registry."""
    version = click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
    group = LazyGroup(
        help="Model direct page migration between NUMA nodes on a machine kept in a state file.",
        epilog="Start with 'migratectl demo'. 'migratectl COMMAND --help' tells a command's words, with examples.",
        registry=COMMANDS,
        params=global_options(hidden=False),
    )
    version(group)
    return group


_PROGRAM: Final = program()


def run(
    argv: Sequence[str], stdout: TextIO | None = None, stderr: TextIO | None = None, stdin: TextIO | None = None
) -> int:
    """
    Run one command line.

    Args:
        argv: The words after the program's name.
        stdout: Where results go; None is the process's own.
        stderr: Where messages go; None is the process's own.
        stdin: Where ``batch`` reads; None is the process's own.

    Returns:
        The exit code. No error of a user leaves as an exception.
    """
    session = Session(
        Options.of_environment(os.environ),
        tuple(argv),
        stdout=stdout or sys.stdout,
        stderr=stderr or sys.stderr,
        stdin=stdin or sys.stdin,
    )
    with ExitStack() as stack:
        if stdout is not None:
            stack.enter_context(redirect_stdout(stdout))
        stack.callback(session.close)
        return call(session)


def call(session: Session) -> int:
    """
    Run the command of a session: the one place where an error becomes a message and an exit code.

    Args:
        session: Its ``argv`` are the words of the call; a line of a batch has a session of its own.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: A line of a batch was interrupted, which ends the whole batch.
        BrokenPipeError: Nobody reads the results of a batch any more.
        OutputError: The results of a batch cannot be written.
    """
    try:
        return _invoke(session)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        return _say_how(session, error.ctx)
    except click.ClickException as error:
        return _misspelt(session, error)
    except MigratectlError as error:
        if isinstance(error, KernelError):
            session.learn_profile()
        return session.refuse(str(error), _code(error), error)
    except (KeyboardInterrupt, click.Abort) as error:
        if session.batch is not None:
            raise KeyboardInterrupt from error
        return session.refuse("interrupted, nothing was changed", INTERRUPTED)
    except (BrokenPipeError, OutputError) as error:
        if session.batch is not None:
            raise
        if isinstance(error, OutputError):
            session.complain(str(error))
        return BROKEN_PIPE
    except Exception as error:  # a defect of the program is one line too
        text = f"internal error, nothing was changed: {type(error).__name__}: {error}; please report it"
        return session.refuse(text, INTERNAL, error)


def ask(session: Session) -> Touches:
    """
    What the command of a session touches; it is read as it would be for a call, and not run.

    Raises:
        click.UsageError: The words are no command that a task can run.
    """
    try:
        with redirect_stdout(io.StringIO()):
            told = _PROGRAM.call(PROGRAM, list(session.argv), replace(session, asked=True))
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):  # words that only ask for help
        told = None
    if not isinstance(told, Touches):
        raise click.UsageError("it is no command that a task can run; see 'migratectl --help'")
    return told


def main() -> int:
    """Run the process's own command line and return its exit code."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        _PROGRAM.main(prog_name=PROGRAM)
    _prepare_streams()
    signal.signal(signal.SIGTERM, _terminated)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = BROKEN_PIPE
    if code == BROKEN_PIPE and isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
    return code


def _terminated(_number: int, _frame: object) -> None:
    """Unwind as on an interrupt: roll back, and leave no draft beside the state file."""
    raise KeyboardInterrupt


def _prepare_streams() -> None:
    """Streams that the process was started without lead nowhere; paths leave as the bytes they came in."""
    sys.stdin, sys.stdout, sys.stderr = (stream or io.StringIO() for stream in (sys.stdin, sys.stdout, sys.stderr))
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _invoke(session: Session) -> int:
    code = _PROGRAM.call(PROGRAM, list(session.argv), session)
    return code if isinstance(code, int) else DONE


def _code(error: MigratectlError) -> int:
    if isinstance(error, KernelError):
        return FAILED
    if isinstance(error, StateBusy):
        return BUSY
    return USAGE if isinstance(error, InputFileError) else STATE_FILE


def _misspelt(session: Session, error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = _told(error)
    if context is not None:
        session.command = context.command_path.partition(" ")[2] or None
        message += f" (see '{context.command_path} --help')"
    _find_json(session)
    return session.refuse(message, USAGE, error)


def _told(error: click.ClickException) -> str:
    """What is wrong with the words, after the word it is about; as one sentence without its full stop."""
    if type(error) is click.BadParameter and error.param is not None and error.ctx is not None:
        return f"{error.param.get_error_hint(error.ctx)}: {error.message}".replace("'", "", 2).rstrip(".")
    return error.format_message().rstrip(".")


def _say_how(session: Session, context: click.Context | None) -> int:
    _find_json(session)
    if session.options.json:
        return session.refuse("no command was given (see 'migratectl --help')", USAGE)
    if context is not None:
        session.stderr.write(f"{context.get_help()}\n")
    return USAGE


def _find_json(session: Session) -> None:
    """Heed ``--json`` also where it stands behind the word that could not be read."""
    words = session.argv[: session.argv.index("--")] if "--" in session.argv else session.argv
    session.options.json |= any(word == "--json" or _has_short(word, "j") for word in words)


def _has_short(word: str, letter: str) -> bool:
    return word[:1] == "-" and letter in word[1:] and set(word[1:]) <= set("jnqv")
