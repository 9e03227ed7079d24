"""Commands that make, test, replay and compare state files."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from migratectl.cli import call
from migratectl.cli import deferred as operations
from migratectl.cli.group import CommandWithCommands, command
from migratectl.cli.params import (
    CPUS,
    DISTANCES,
    NODE,
    PID,
    SIZE,
    SIZES,
    SWAP,
    Distances,
    SwapChoice,
    per_node,
    read_matrix,
)
from migratectl.cli.session import DONE, FAILED, SEVERITY, STAYED, USAGE, Batch, Document, Session, worst
from migratectl.cli.words import split_words
from migratectl.errors import InputFileError
from migratectl.spans import Size
from migratectl.uapi import MAX_NUMNODES, Profile
from migratectl.wording import counted

if TYPE_CHECKING:
    from migratectl.operations.import_numa_maps import NumaMapsFile
    from migratectl.storage.schema import Accept

GOOD: Final = (DONE, STAYED)
"""Exit codes after which a batch goes on."""

_CODE = re.compile(r"""(?:\\.|'[^']*'|"(?:\\.|[^"\\])*"|(?<=\S)#|[^#'"\\])*""")
"""A line of a script up to its comment: a # at the start of a word that is not quoted."""

STDIN: Final = Path("-")

MAX_TEXT: Final = 64 << 20
"""Most characters that are read of standard input: as much as of a file."""

_PID_FILE: Final = re.compile(r"([1-9][0-9]{0,9})\.numa_maps")

MAX_ENTRIES: Final = (1 << 31) - 1
"""Largest number of an entry of the history."""

_profile = click.option(
    "--profile",
    type=click.Choice([each.value for each in Profile]),
    default=Profile.V9.value,
    help="The kernel that is modelled (default v9).",
)
_force = click.option("--force", is_flag=True, help="Replace a state file that is there.")
_swap = click.option("--swap", type=SWAP, default="default", help="One swap area, or none (default: by profile).")


@command("init --nodes 2 --memory 1G", "init --nodes 4 --memory 4G,4G,0,1G --cpus 4,0,4,0 --distance 10,21")
@click.option("--nodes", type=click.IntRange(1, MAX_NUMNODES), default=1, metavar="N", help="Nodes (default 1).")
@click.option("--memory", type=SIZES, default="4G", help="Memory of each node (default 4G).")
@click.option("--cpus", type=CPUS, default="4", help="CPUs of each node (default 4).")
@click.option("--distance", type=DISTANCES, default="10,20", help="A matrix, or two distances (default 10,20).")
@click.option("--page-size", type=SIZE, default="4K", help="Size of a page (default 4K).")
@click.option(
    "--possible", type=click.IntRange(1, MAX_NUMNODES), metavar="N", help="Nodes that can exist (default: those)."
)
@_swap
@_profile
@_force
def init_command(
    session: Session,
    nodes: int,
    memory: tuple[Size, ...],
    cpus: tuple[int, ...],
    distance: Distances,
    page_size: Size,
    possible: int | None,
    swap: SwapChoice,
    profile: str,
    force: bool,
) -> int:
    """Make a new state file: a machine without tasks."""
    machine = operations.init.Init(
        nodes=nodes,
        memory=per_node(memory, nodes, "--memory"),
        cpus=per_node(cpus, nodes, "--cpus"),
        distance=read_matrix(distance, nodes) if isinstance(distance, Path) else distance,
        page_size=page_size,
        swap=swap,
        profile=Profile(profile),
        possible=possible,
    )
    return session.create(force, operations.init.init, machine)


@command("import /", "import altix.tar.gz --page-size 16K --empty", "import numactl-H.txt")
@click.argument("tree", type=click.Path(path_type=Path, allow_dash=True), metavar="TREE|FILE|-")
@click.option("--pid", "pids", type=PID, multiple=True, help="Import this task only (repeatable).")
@click.option("--page-size", type=SIZE, help="Size of a page (default: what the tree tells, else 4K).")
@_swap
@click.option(
    "--profile",
    type=click.Choice([each.value for each in Profile]),
    help="The kernel that is modelled (default: by the version that the tree tells, else v9).",
)
@click.option("--empty", is_flag=True, help="Free the memory that the machine used for what is not imported.")
@click.option("--node-memory", type=SIZES, default=(), help="Memory of each node where the tree tells none.")
@click.option("--clip", is_flag=True, help="Leave out counts on unknown or full nodes instead of refusing them.")
@click.option("--tasks-only", is_flag=True, help="Add the tasks to the state at hand.")
@_force
def import_command(
    session: Session,
    tree: Path,
    pids: tuple[int, ...],
    page_size: Size | None,
    swap: SwapChoice,
    profile: str | None,
    empty: bool,
    node_memory: tuple[Size, ...],
    clip: bool,
    tasks_only: bool,
    force: bool,
) -> int:
    """
    Make a new state file from a tree of /sys and /proc.

    TREE is a directory or archive laid out like /; a file with what 'numactl --hardware' prints tells of a machine too,
    without tasks.
    """
    if tasks_only:
        _refuse_machine_options()
    what = operations.import_tree.ImportTree(
        tree=tree,
        text=_text(session, tree)[1],
        pids=pids,
        page_size=page_size,
        swap=swap,
        empty=empty,
        profile=None if profile is None else Profile(profile),
        clip=clip,
        tasks_only=tasks_only,
        node_memory=node_memory,
    )
    if tasks_only:
        return session.perform(operations.import_tree.import_tree, what)
    return session.create(force, operations.import_tree.import_tree, what)


def _refuse_machine_options() -> None:
    """With --tasks-only the machine stays as it is: refuse the options that say what it is."""
    context = click.get_current_context()
    for name in ("empty", "swap", "profile", "force", "node_memory"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise click.UsageError(f"with --tasks-only the machine stays as it is; leave out --{option}")


@command(
    "import-numa-maps numa_maps.txt --pid 100",
    "import-numa-maps numa_maps.txt --maps maps.txt --pid 100 --name db --node 1",
    "import-numa-maps 4711.numa_maps 4712.numa_maps",
)
@click.argument("files", type=click.Path(path_type=Path, allow_dash=True), nargs=-1, required=True, metavar="FILE|-...")
@click.option("--pid", type=PID, help="The new task (default: what the name of the file says, as 4711.numa_maps).")
@click.option(
    "--maps",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE|-",
    help="Its maps (default: 4711.maps beside 4711.numa_maps).",
)
@click.option("--name", help="Its name.")
@click.option("--node", type=NODE, help="Let it run on this node.")
@click.option("--cpuset", default="/", metavar="C", help="Its cpuset (default /).")
@click.option("--clip", is_flag=True, help="Leave out counts on unknown or full nodes instead of refusing them.")
@click.option("--strict", is_flag=True, help="Refuse words that are not known, and whatever was added to lines.")
def import_numa_maps_command(
    session: Session,
    files: tuple[Path, ...],
    pid: int | None,
    maps: Path | None,
    name: str | None,
    node: int | None,
    cpuset: str,
    clip: bool,
    strict: bool,
) -> int:
    """Add tasks from numa_maps texts."""
    given = {"--pid": pid, "--maps": maps, "--name": name}
    alone = [option for option, value in given.items() if value is not None]
    if len(files) > 1 and alone:
        raise click.UsageError(f"{alone[0]} goes with one file; name several PID.numa_maps")
    if [*files, maps].count(STDIN) > 1:
        raise click.UsageError("standard input is one text; name a file for the others")
    what = operations.import_numa_maps.ImportNumaMaps(
        files=tuple(_numa_maps_file(session, file, pid, maps) for file in files),
        name=name,
        node=node,
        cpuset=cpuset,
        clip=clip,
        strict=strict,
    )
    return session.perform(operations.import_numa_maps.import_numa_maps, what)


def _numa_maps_file(session: Session, file: Path, pid: int | None, maps: Path | None) -> NumaMapsFile:
    """A task to import: its pid, where none is given, as the name of the file tells it; its maps, as it lies beside."""
    match = _PID_FILE.fullmatch(file.name)
    if pid is None and not match:
        raise click.UsageError(f"{file}: whose it is is not told; give --pid, or name it PID.numa_maps")
    chosen = pid if pid is not None else int(match[1]) if match else 0
    if maps is None and match and file.with_suffix(".maps").exists():
        maps = file.with_suffix(".maps")
    module = operations.import_numa_maps
    beside = None if maps is None else module.Text(*_text(session, maps))
    return module.NumaMapsFile(chosen, module.Text(*_text(session, file)), beside)


def _text(session: Session, file: Path) -> tuple[str, str | None]:
    """Name and, of standard input, content of a text."""
    if file != STDIN:
        return str(file), None
    if session.batch is not None:
        raise click.UsageError("in a batch standard input is the script's; name a file")
    content = session.stdin.read(MAX_TEXT + 1)
    if len(content) > MAX_TEXT:
        raise InputFileError(f"standard input: longer than {MAX_TEXT >> 20} Mi characters, which no such text is")
    return "standard input", content


@command("check")
def check_command(session: Session) -> int:
    """Test every invariant of the state."""
    return session.look(operations.check.check)


@command("state hash")
def state_hash_command(session: Session) -> int:
    """Print a hash of the modelled state."""
    return session.look(operations.state_hash.state_hash)


_times = click.option("--time", "times", is_flag=True, help="Tell when each command ran (UTC).")


@click.group(
    "log",
    cls=CommandWithCommands,
    examples=("log", "log --last 10 --time", "log show 3"),
    invoke_without_command=True,
    subcommand_metavar="[show N]",
)
@click.option("--last", type=click.IntRange(1, MAX_ENTRIES), metavar="N", help="The newest N entries only.")
@_times
@click.pass_context
def log_command(context: click.Context, last: int | None, times: bool) -> int:
    """List the commands that changed the state, or show one."""
    session = context.ensure_object(Session)
    if context.invoked_subcommand is None:
        return session.look(operations.log.log, last, times)
    if last is not None or times:
        raise click.UsageError("--last goes with the list alone, --time stands behind 'log show N'")
    return DONE


@command("log show 3", "log show 3 --time --json")
@click.argument("entry", type=click.IntRange(0, MAX_ENTRIES), metavar="N")
@_times
def log_show_command(session: Session, entry: int, times: bool) -> int:
    """Show one entry of the history."""
    return session.look(operations.log.log_show, entry, times)


@command("db current", "db current --json")
def db_current_command(session: Session) -> int:
    """Tell the schema's version of the state file."""
    with _opening(session, "any"):
        return session.look(operations.db.current)


@command("db upgrade", "db upgrade --dry-run")
def db_upgrade_command(session: Session) -> int:
    """Bring a state file of an older version up to date."""
    with _opening(session, "older"):
        return session.perform(operations.db.upgrade)


@contextmanager
def _opening(session: Session, accept: Accept) -> Iterator[None]:
    """Let a command open the state file whatever its schema; in the one transaction of a batch it is open already."""
    options = session.options
    if session.batch is not None and session.batch.stack is not None:
        yield
        return
    session.close()
    session.files[options.state] = operations.engine.StateFile(options.state, options.timeout, accept)
    try:
        yield
    finally:
        session.close()


@command("batch script", "batch --atomic --json script", "batch - < script")
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--atomic", is_flag=True, help="All lines are one transaction: all of them or none.")
@click.option("--keep-going", is_flag=True, help="Go on after a line that failed.")
def batch_command(session: Session, file: str, atomic: bool, keep_going: bool) -> int:
    """
    Run one command a line, in one process.

    It stops behind the first line whose exit code is neither 0 nor 3. Its own is the worst of the lines', in the order
    0, 3, 5, 1, 6, 2, 4, 70; the last line on standard error counts them.
    """
    if session.batch is not None:
        raise click.UsageError("a batch cannot be a line of a batch")
    with ExitStack() as closing:
        lines = session.stdin if file == "-" else closing.enter_context(_opened(file))
        try:
            with ExitStack() as whole:
                one = atomic or session.options.dry_run
                batch = Batch(session.options.state, whole if one else None, session.options.dry_run)
                codes = run_lines(session, lines, batch, keep_going)
                if atomic and worst(codes.elements()) not in GOOD:
                    raise _RolledBackError
        except _RolledBackError:
            session.complain("a line failed, and with --atomic nothing was changed")
    session.note(_counted_lines(codes))
    return worst(codes.elements())


@command("demo", "demo --json")
def demo_command(session: Session) -> int:
    """Run a small story on a state file of its own."""
    with tempfile.TemporaryDirectory(prefix="migratectl-") as folder, ExitStack() as closing:
        options = replace(session.options, state=Path(folder) / "state.db", dry_run=False, uid=None, by=None)
        teller = replace(session, options=options, files={}, batch=None, line=None)
        closing.callback(teller.close)
        steps = [_tell(teller, words) for words in operations.demo.STORY]
    if session.options.json:
        session.profile = steps[-1]["profile"]
        session.answer(session.envelope() | {"steps": steps})
    return worst(step["exit"] for step in steps if step["exit"] not in (*GOOD, FAILED))


def run_lines(session: Session, lines: Iterable[str], batch: Batch, keep_going: bool) -> Counter[int]:
    """
    Run the lines of a script.

    Args:
        session: The session of the batch.
        lines: The script; empty lines and comments are left out.
        batch: What the lines share.
        keep_going: Go on after a line whose exit code is neither 0 nor 3.

    Returns:
        How many lines had which exit code; those without a command do not count.
    """
    codes: Counter[int] = Counter()
    for number, text in enumerate(lines, 1):
        code = _run_line(session, number, text, batch)
        if code is None:
            continue
        codes[code] += 1
        if code not in GOOD and not keep_going:
            break
    return codes


class _RolledBackError(Exception):
    """Ends the transaction of an atomic batch."""


def _counted_lines(codes: Counter[int]) -> str:
    told = [f"{codes[code]} with exit {code}" for code in SEVERITY if codes[code]]
    return f"{counted(codes.total(), 'line', 'lines')}: {', '.join(told)}" if told else "no lines with a command"


def _run_line(session: Session, number: int, text: str, batch: Batch) -> int | None:
    try:
        words = split_line(text)
    except ValueError as error:
        return session.for_line(number, [text.strip()], batch).refuse(f"{error} in '{text.strip()}'", USAGE)
    return call(session.for_line(number, words, batch)) if words else None


def split_line(text: str) -> list[str]:
    """
    The words of a line of a script, quoted as in a shell, without its comment.

    Raises:
        ValueError: A quotation does not end.
    """
    code = _CODE.match(text)
    if code is not None and text.startswith("#", code.end()):
        text = code[0]
    return split_words(text)


def _opened(file: str) -> Any:
    try:
        return Path(file).open(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputFileError(f"{file}: {why}; name a file of commands, or - for standard input") from error


def _tell(teller: Session, words: tuple[str, ...]) -> Document:
    """Run one command of the story as a transcript shows it; its document, where JSON is wanted."""
    teller = replace(teller, options=replace(teller.options), argv=words, answered=False)
    if teller.options.json:
        text = StringIO()
        code = call(replace(teller, stdout=text, stderr=StringIO()))
        document: Document = json.loads(text.getvalue())
        return document | {"argv": list(words), "exit": code}
    teller.stdout.write(f"$ migratectl {shlex.join(words)}\n")
    code = call(replace(teller, stderr=teller.stdout))
    if code != DONE:
        teller.stdout.write(f"[{code}]\n")
    return {"argv": list(words), "exit": code}
