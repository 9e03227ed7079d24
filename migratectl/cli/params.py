"""Words to kernel types: the parameter types of click for what spans reads, each error a sentence for the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import click

from migratectl.errors import InputFileError
from migratectl.nodemask import Nodemask
from migratectl.spans import (
    Address,
    NodeList,
    Size,
    Span,
    parse_address,
    parse_label,
    parse_nodes,
    parse_size,
    parse_span,
)
from migratectl.wording import counted

T = TypeVar("T")

Distances = tuple[int, int] | Path
Move = tuple[Address, int]
SwapChoice = Size | None | Literal["default"]

LEAST_DISTANCE = 10
MOST_DISTANCE = 254
"""Distances of ACPI's SLIT: below 10 is reserved, 255 is no way at all."""

MAX_PID = (1 << 31) - 1
MAX_UID = (1 << 32) - 1
MAX_CPUS = 1 << 16
MAX_SECONDS = 1_000_000


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # older ones take no type arguments


class Parsed(ParamType, Generic[T]):
    """
    A parameter that a function reads.

    Args:
        name: The metavar.
        parse: Text to value; a ValueError becomes a usage error with its text.
    """

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """The value of a word; a default that is no text any more is left alone."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # a T, as click hands it back
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def read_matrix(path: Path, nodes: int) -> tuple[tuple[int, ...], ...]:
    """
    Read a file of distances.

    Args:
        path: A file of *nodes* lines with *nodes* integers each; empty lines do not count.
        nodes: How many nodes there are.

    Returns:
        The rows, in the order of the file.

    Raises:
        InputFileError: The file cannot be read or has another shape; names file and line.
    """
    rows: list[tuple[int, ...]] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        words = line.split()
        if len(words) != nodes or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
            expected = counted(nodes, "distance")
            raise InputFileError(f"{path}:{number}: expected {expected}, whole numbers with blanks between")
        rows.append(tuple(int(word) for word in words))
        if len(rows) <= nodes and (wrong := _wrong_distances(rows[-1], len(rows) - 1)):
            raise InputFileError(f"{path}:{number}: {wrong}")
    if len(rows) != nodes:
        lines, machine = counted(len(rows), "line"), counted(nodes, "node")
        raise InputFileError(f"{path}: has {lines} of distances, the machine {machine}; write one line a node")
    return tuple(rows)


def _wrong_distances(row: Sequence[int], own: int) -> str | None:
    """What a node's row of distances breaks of what firmware tables promise; None where it is fine."""
    low, high = min(row), max(row)
    if low < LEAST_DISTANCE or high > MOST_DISTANCE:
        return (
            f"a distance of {low if low < LEAST_DISTANCE else high}; they go from {LEAST_DISTANCE} to {MOST_DISTANCE}"
        )
    if any(distance <= row[own] for nid, distance in enumerate(row) if nid != own):
        return f"node {own} is at {row[own]} from itself and no farther from another; its own is the smallest of a row"
    return None


def per_node(values: tuple[T, ...], nodes: int, option: str) -> tuple[T, ...]:
    """One value for each of *nodes* nodes, from one for all or a list; another length is a usage error."""
    if len(values) == 1:
        return values * nodes
    if len(values) != nodes:
        given, machine = counted(len(values), "value"), counted(nodes, "node")
        raise click.UsageError(f"{option} has {given} for {machine}; give one, or one a node")
    return values


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise InputFileError(f"{path}: not a file; name a text of numbers")
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise InputFileError(f"{path}: is no text of numbers") from error


def _list_of(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    return lambda text: tuple(parse(part) for part in text.split(","))


def _count(limit: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > limit:
            raise ValueError(f"'{text}' is not a whole number from 0 to {limit}")
        return int(text)

    return parse


def _distances(text: str) -> Distances:
    local, comma, remote = text.partition(",")
    if comma and local.isdigit() and remote.isdigit():
        pair = int(local[:9]), int(remote[:9])
        if wrong := _wrong_distances(pair, 0):
            raise ValueError(f"'{text}': {wrong}")
        return pair
    return Path(text)


def _swap(text: str) -> SwapChoice:
    if text == "default":
        return "default"
    return None if text.lower() == "none" else parse_size(text)


def _move(text: str) -> Move:
    address, equals, node = text.partition("=")
    digits = node.removeprefix("-")
    if not equals or not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        raise ValueError(f"'{text}' is not ADDR=NODE, such as 0x10000000=1 or heap@2p=1")
    return parse_address(address), int(node)


def _query(text: str) -> Span:
    if set(text) & set("+-") or ("@" not in text and text[:2] not in ("0x", "0X")):
        return parse_span(text)
    place = parse_address(text)
    if isinstance(place, int):
        return Span(address=place)
    return Span(label=place.label, length=Size(1), offset=place.offset)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number of seconds; write 30 or 0.5") from None
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"'{text}' is not a number of seconds from 0 to {MAX_SECONDS}")
    return seconds


def _capability(text: str) -> str:
    name = text.lower().removeprefix("cap_")
    if not name.replace("_", "").isalpha():
        raise ValueError(f"'{text}' is not a capability such as sys_nice")
    return name


def _pid(text: str) -> int:
    """A pid; a negative one is no task's, as the call says."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12 or int(digits) > MAX_PID:
        raise ValueError(f"'{text}' is not a pid, a whole number up to {MAX_PID}")
    return int(text)


def _cpu_list(text: str) -> Nodemask:
    if text.lower() == "none":
        return Nodemask()
    found = Nodemask.parse_mask(text) if Nodemask.is_mask(text) else Nodemask.parse(text)
    if not found:
        raise ValueError(f"'{text}' is no list of CPUs such as 0-3,8")
    return found


SECONDS = Parsed("SECONDS", _seconds)
PID = Parsed("PID", _pid)
CPU_LIST: Parsed[Nodemask] = Parsed("LIST", _cpu_list)
UID = Parsed("UID", _count(MAX_UID))
NODE = Parsed("N", _count(1_000_000))
WEIGHT = Parsed("WEIGHT", _count(1_000_000))
CPU = Parsed("C", _count(1_000_000))
CPUS: Parsed[tuple[int, ...]] = Parsed("N[,N...]", _list_of(_count(MAX_CPUS)))
SIZE = Parsed("SIZE", parse_size)
SIZES: Parsed[tuple[Size, ...]] = Parsed("SIZE[,SIZE...]", _list_of(parse_size))
SWAP: Parsed[SwapChoice] = Parsed("SIZE|none", _swap)
ADDR = Parsed("ADDR", parse_address)
RANGE = Parsed("RANGE", parse_span)
QUERY = Parsed("ADDR|RANGE", _query)
MOVE = Parsed("ADDR=NODE", _move)
LABEL = Parsed("LABEL", parse_label)
NODES = Parsed("NODES", parse_nodes)
DISTANCES: Parsed[Distances] = Parsed("FILE|LOCAL,REMOTE", _distances)
CAPABILITY = Parsed("NAME", _capability)
INO = Parsed("N", _count((1 << 31) - 1))
NO_NODES = NodeList()
