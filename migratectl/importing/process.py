"""One process of a tree: its files, read again where a living process changed between two of them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from migratectl.errors import InputFileError
from migratectl.importing.importer import Importer
from migratectl.linux.maps import MapsLine, parse_maps
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.linux.placement import plan_task
from migratectl.linux.plan import PlannedTask
from migratectl.linux.process import ProcessInfo, read_process
from migratectl.linux.smaps import SmapsArea, parse_smaps
from migratectl.linux.tree import Tree
from migratectl.uapi import VM

READINGS: Final = 5
"""How often the files of a process are read that changes meanwhile."""

_UNREADABLE: Final = frozenset({errno.EACCES, errno.EPERM})


class _Texts(NamedTuple):
    """What the files of a process say; None where one is missing."""

    numa_maps: str
    maps: str | None
    smaps: str | None


class _Process(NamedTuple):
    """What the files of a process say, what is planned by them, and what is to be told of that."""

    texts: _Texts
    info: ProcessInfo
    plan: PlannedTask
    notes: list[str]


def import_process(importer: Importer, tree: Tree, pid: int, *, wanted: bool) -> dict[str, Any] | None:
    """
    Put one process of a tree into the state.

    Args:
        importer: Where it goes, and its assumptions.
        tree: The tree.
        pid: The process.
        wanted: The user named it: then it is refused, not left out, where it cannot be read.

    Returns:
        Its row; None where it has no numa_maps, or is left out.

    Raises:
        InputFileError: A file is malformed, or what it tells does not fit; names file and line.
    """
    source = tree.where(f"proc/{pid}/numa_maps")
    try:
        found = _settled(importer, tree, pid)
    except InputFileError as error:
        if wanted or not _is_of_this_moment(error):
            raise
        importer.notes.append(f"{error}: the task is left out")
        return None
    if found is None:
        return None
    importer.notes += found.notes
    for note in (*found.plan.assumptions, *cut_off(found.texts.numa_maps, source)):
        importer.common.setdefault(note.removeprefix(f"{source}: "), []).append(source)
    return importer.add_task(pid, found.info, found.plan, source)


def cut_off(text: str, source: str) -> list[str]:
    """What is to say of a text whose last line has no end, though the kernel ends each."""
    return [f"{source}: no newline behind the last line: taken as whole"] if text and text[-1] != "\n" else []


class _Unsettled(InputFileError):
    """A process changed whenever its files were read."""


def _is_of_this_moment(error: InputFileError) -> bool:
    """Whether the trouble is with this user or this moment, not with what the files say."""
    cause = error.__cause__
    return isinstance(error, _Unsettled) or (isinstance(cause, OSError) and cause.errno in _UNREADABLE)


def _settled(importer: Importer, tree: Tree, pid: int) -> _Process | None:
    """A process; its files are read again where they do not fit each other and changed since."""
    found = _read(tree, pid, relatives=importer.has_relatives)
    for _ in range(READINGS):
        if found is None:
            return None
        texts, info = found
        try:
            return _Process(texts, info, *_plan(importer, tree, pid, texts, info))
        except InputFileError:
            found = _read(tree, pid, relatives=importer.has_relatives)
            if found is not None and found[0] == texts:
                raise
    raise _Unsettled(f"{tree.where(f'proc/{pid}')}: changed at each of {READINGS} readings")


def _read(tree: Tree, pid: int, *, relatives: bool) -> tuple[_Texts, ProcessInfo] | None:
    """The files of a process that lives; smaps costs most, and is read where it can tell something only."""
    folder = f"proc/{pid}"
    text = tree.read(f"{folder}/numa_maps")
    if text is None:
        return None
    info = read_process(tree, pid)
    if info.zombie and not text:
        return None
    maps = tree.read(f"{folder}/maps") if text else None
    smaps = tree.read(f"{folder}/smaps") if maps and (info.locked_kib or relatives) else None
    return _Texts(text, maps, smaps), info


def _plan(importer: Importer, tree: Tree, pid: int, texts: _Texts, info: ProcessInfo) -> tuple[PlannedTask, list[str]]:
    """What is planned for a process, and what is to be told besides."""
    folder = tree.where(f"proc/{pid}")
    lines = parse_numa_maps(texts.numa_maps, f"{folder}/numa_maps", strict=False)
    maps = None if texts.maps is None else parse_maps(texts.maps, f"{folder}/maps")
    told = {} if texts.smaps is None else parse_smaps(texts.smaps, f"{folder}/smaps")
    maps, notes = _placed_locks(maps, told, info.locked_kib, f"{folder}/status")
    if info.swap_kib:
        notes.append(f"{folder}/status: {info.swap_kib} KiB are swapped out, not told which: left out")
    machine = importer.machine
    plan = plan_task(
        lines,
        page_size=machine.facts.page_size,
        maps=maps,
        strict=True,
        shared_apart=not machine.modern,
        shared_kib={start: area.shared_kib for start, area in told.items()},
    )
    return plan, notes


def _placed_locks(
    maps: tuple[MapsLine, ...] | None, told: Mapping[int, SmapsArea], total: int, where: str
) -> tuple[tuple[MapsLine, ...] | None, list[str]]:
    """The areas with LOCKED where smaps marks them, as far as the locked memory of status covers them; what is left."""
    if not total:
        return maps, []
    marked = {area.start for area in maps or () if area.start in told and told[area.start].locked}
    size = sum(told[start].size_kib for start in marked)
    if not marked:
        return maps, [f"{where}: {total} KiB are locked, not told where: none is taken as locked"]
    if size > total:
        return maps, [f"{where}: {total} KiB are locked, but smaps marks {size} KiB: none is taken as locked"]
    rest = f"{where}: {total} KiB are locked, smaps marks {size} KiB: the rest is not taken as locked"
    locked = (area._replace(vm=area.vm | VM.LOCKED) if area.start in marked else area for area in maps or ())
    return tuple(locked), [rest] if size < total else []
