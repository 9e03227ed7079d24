"""What each command tells a race that it touches: every command that a task can run, by its own words."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from migratectl.cli import ask
from migratectl.cli.group import Command, command
from migratectl.cli.session import Options, Session
from migratectl.spans import Place, Size, Span
from migratectl.touches import Manner, Touches
from tests.cli.test_boundary import EVERY, loaded

HEAP = Span(label="heap")
TWO_OF_HEAP = Span(label="heap", length=Size(2, "p"), offset=Size(1, "p"))
PAGES = Span(address=0x10000000, length=Size(4, "p"))

NOTHING = Touches()
ISOLATING = Touches(manner=Manner.ISOLATES)
TASK = Touches(7)
PART = Touches(7, (TWO_OF_HEAP,))
WRITER = Touches(7, manner=Manner.WRITES)


def heap(manner: Manner) -> Touches:
    """The area ``heap`` of task 7, in a manner."""
    return Touches(7, (HEAP,), manner=manner)


TOLD = {
    # nobody's pages
    "node list": NOTHING,
    "node online 7": NOTHING,
    "node weight 1 7": NOTHING,
    "node offline 7": ISOLATING,
    "task create --pid 7 --uid 8 --node 1": NOTHING,
    "task list": NOTHING,
    "file create 7 4p --fs ext2": NOTHING,
    "file list": NOTHING,
    "swap on 7 8p": NOTHING,
    "cpuset create 7 --mems 7": NOTHING,
    "cpuset set 7 --mems 7": ISOLATING,
    "cpuset read 7 tasks": NOTHING,
    "cpuset write 7 mems 7": ISOLATING,
    "cpuset list": NOTHING,
    "cpuset remove 7": NOTHING,
    "show nodes": NOTHING,
    "hardware": NOTHING,
    # all of a task
    "task create --pid 8 --thread-of 7": TASK,
    "task set --name 8 7": TASK,
    "task run-on 7 --node 1": TASK,
    "task exit 7": Touches(7, manner=Manner.EXITS),
    "fork --pid 8 7": Touches(7, manner=Manner.FORKS | Manner.WRITES),
    "mmap --label heap 7 4p": WRITER,
    "set-mempolicy 7 interleave 0-1": TASK,
    "migrate-pages 7 all 1": Touches(7, manner=Manner.ISOLATES),
    "cpuset move 7 heap": Touches(7, manner=Manner.ISOLATES),
    "cpuset write heap tasks 7": Touches(7, manner=Manner.ISOLATES),
    "show tasks 7": TASK,
    "show cpusets 7": TASK,
    "numa-maps 7": TASK,
    "numastat -p7": TASK,
    "locality 7": TASK,
    # a range of one
    "munmap 7 heap": heap(Manner.WRITES),
    "mlock 7 heap": heap(Manner.TOUCHES | Manner.WRITES),
    "munlock 7 heap": heap(Manner.WRITES),
    "mprotect 7 heap r": heap(Manner.WRITES),
    "madvise 7 heap dontneed": heap(Manner.ISOLATES),
    "fault --write 7 0x10000000+4p": Touches(7, (PAGES,), manner=Manner.TOUCHES),
    "page lock --passes 3 7 heap+2p@1p": PART,
    "page unlock 7 heap+2p@1p": PART,
    "page pin --count=3 7 heap": heap(Manner.PINS),
    "page unpin 7 heap+2p@1p": PART,
    "page writeback 7 heap+2p@1p": PART,
    "page unwriteback 7 heap+2p@1p": PART,
    "page park 7 heap+2p@1p": PART,
    "page unpark 7 heap+2p@1p": PART,
    "page buffers 7 heap+2p@1p --state busy": PART,
    "swap out 7 heap": heap(Manner.ISOLATES),
    "get-mempolicy 7 heap@1p --node": Touches(7, (Place("heap", Size(1, "p")),), manner=Manner.TOUCHES),
    "mbind 7 heap bind 1": heap(Manner.ISOLATES | Manner.WRITES),
    "move-pages 7 heap+2p@1p 0x10000000+4p --query": Touches(7, (TWO_OF_HEAP, PAGES), manner=Manner.ISOLATES),
    "show vmas 7 heap+2p@1p": PART,
    "show pages 7 heap+2p@1p": PART,
    "show mappings 7 heap+2p@1p": PART,
    "show buffers 7 heap+2p@1p": PART,
    "show policies 7 heap+2p@1p": PART,
    "show swap 7 heap+2p@1p": PART,
    "explain 7 heap+2p@1p --from 0": PART,
    # a file, a swap area
    "file read 7 4p@2p": Touches(file="7", part=(Size(4, "p"), Size(2, "p"))),
    "file write 7 4p": Touches(file="7", part=(Size(4, "p"), Size(0))),
    "file truncate 7 4p": Touches(file="7", part=(None, Size(4, "p"))),
    "file sync 7": Touches(file="7", part=(None, Size(0))),
    "swap off 7": Touches(swap_area="7"),
}
"""A line of each command, full of words that could be taken for something else."""

MORE = {
    "show tasks": NOTHING,
    "show pages 7": TASK,
    "page unpin 7": TASK,
    "numastat": NOTHING,
    "numastat --pid=7": TASK,
    "get-mempolicy 7": TASK,
    "get-mempolicy 7 --node": TASK,
    "get-mempolicy 7 0x10000000": Touches(7, (0x10000000,)),
    "move-pages 7 heap@1p=8 0x10000000=9": Touches(7, manner=Manner.ISOLATES),
    "cpuset write 7 cpuset.tasks 8": Touches(8, manner=Manner.ISOLATES),
    "cpuset write 7 tasks +8": Touches(8, manner=Manner.ISOLATES),
    "cpuset write 7 tasks nobody": ISOLATING,
    "cpuset write 7 tasks 99999999999999999999": ISOLATING,
    "cpuset write 7 sched_relax_domain_level -- -1": ISOLATING,
    "--as 8 fault 7 heap": heap(Manner.TOUCHES),
    "--by=8 -q fault 7 heap --json": heap(Manner.TOUCHES),
    "file read --by 8 7": Touches(file="7"),
    "file --as 8 read -- --by": Touches(file="--by"),
    "fault -- 7 heap": heap(Manner.TOUCHES),
    "fault -1 heap": Touches(-1, (HEAP,), manner=Manner.TOUCHES),
    "page --by 8 buffers 7 heap --state busy": Touches(7, (HEAP,)),
}
"""Further ways to write some of them."""

OUTSIDE = {
    *("init", "import", "import-numa-maps", "check", "batch", "demo", "state hash", "log", "log show"),
    *("db current", "db upgrade"),
}
"""About the state file: no task runs them."""


def asked(line: str) -> Touches:
    """What a command line tells that it touches; no state file is there."""
    return ask(Session(Options(Path("nowhere/state.db")), tuple(line.split())))


def test_every_command_says_what_it_touches_or_that_no_task_runs_it() -> None:
    """A new command is to have a line here: what it touches is a decision, not an accident of its words."""
    every = {" ".join(path): loaded(path) for path, _ in EVERY}
    told = {max((name for name in every if f"{line} ".startswith(f"{name} ")), key=len) for line in TOLD}
    assert told.isdisjoint(OUTSIDE)
    assert told | OUTSIDE == set(every)
    declared = {name for name, found in every.items() if isinstance(found, Command) and found.touches is not None}
    assert declared == told


def test_a_command_without_a_declaration_does_not_load() -> None:
    with pytest.raises(TypeError, match="touches"):
        command("new 100")  # type: ignore[call-arg]


@pytest.mark.parametrize(("line", "touches"), (TOLD | MORE).items())
def test_what_a_command_touches(line: str, touches: Touches) -> None:
    """The pid is 7 wherever it is one, and 7 stands where it is none; a label is heap."""
    assert asked(line) == touches


@pytest.mark.parametrize("line", sorted(OUTSIDE))
def test_a_command_about_the_state_file_is_not_to_be_asked(line: str) -> None:
    words = {"import": " /", "import-numa-maps": " f", "log show": " 3"}
    with pytest.raises(click.UsageError, match="no task can run it"):
        asked(line + words.get(line, ""))


NOT_IN_A_RACE = {
    "--state": ("-s x fault 7 heap", "-sx fault 7 heap", "--state=x fault 7 heap", "fault 7 heap -s x"),
    "--dry-run": ("-n fault 7 heap", "fault 7 heap -nq", "fault -jn 7 heap", "fault 7 heap --dry-run"),
    "--timeout": ("--timeout 3 fault 7 heap", "fault 7 heap --timeout=30"),
    "--trace": ("migrate-pages 7 0 1 --trace", "migrate-pages 7 0 1 --trace=0x0"),
    "--race": ("migrate-pages 7 0 1 --race 3:x",),
}


@pytest.mark.parametrize(
    ("option", "line"), [(option, line) for option, lines in NOT_IN_A_RACE.items() for line in lines]
)
def test_options_of_the_call_that_is_met(option: str, line: str) -> None:
    """In whatever form they are written; page buffers has a --state of its own."""
    with pytest.raises(click.UsageError, match=f"the option {option} does not go with a race"):
        asked(line)


@pytest.mark.parametrize("line", ["--help", "--version", "fault --help", "page -h", "page", "--as 7", ""])
def test_words_that_ask_for_help_print_nothing(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.UsageError):
        asked(line)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "line", ["move-pages 7 --query heap heap+x", "page buffers 7 heap --state x", "fault 7 heap@1p"]
)
def test_words_that_the_command_cannot_read(line: str) -> None:
    with pytest.raises(click.UsageError):
        asked(line)
