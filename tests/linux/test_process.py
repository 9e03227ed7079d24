"""What /proc/PID tells of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratectl.errors import InputFileError
from migratectl.linux.process import ProcessInfo, read_parent, read_process
from migratectl.linux.tree import open_tree
from migratectl.nodemask import Nodemask


def process(root: Path, **files: bytes) -> ProcessInfo:
    folder = root / "proc/7"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return read_process(open_tree(root), 7)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (b"plain", "plain"),
        (b"a\\\\nb", "a\\nb"),
        (b"a\\\\\\\\b", "a\\\\b"),
        (b"a\\nb", "a\\012b"),
        (b"a\\\\\\nb", "a\\\\012b"),
        (b"\x1b]0;owned\x07", "\\033]0;owned\\007"),
        (b"caf\xc3\xa9\xff", "caf\u00e9\\377"),
    ],
)
def test_name_of_status(tmp_path: Path, written: bytes, name: str) -> None:
    """status doubles a backslash and writes a newline as backslash and n; what cannot be printed becomes octal."""
    assert process(tmp_path, status=b"Name:\t" + written + b"\nUid:\t1\t2\t3\t4\n").name == name


def test_name_of_stat_where_status_is_missing(tmp_path: Path) -> None:
    assert process(tmp_path, stat=b"7 (a) \x1b\xff\n(b) S 1 2\n").name == "a) \\033\\377\\012(b"


def test_cpuset_path_can_be_stored(tmp_path: Path) -> None:
    assert process(tmp_path, cpuset=b"/a\xff/\x1bb\n").cpuset == "/a\\377/\\033b"


def test_cpuset_by_the_control_groups(tmp_path: Path) -> None:
    """Where /proc/PID/cpuset is missing; of version 2 the line has no controller."""
    info = process(tmp_path, cgroup=b"9:memory:/m\n4:cpu,cpuset:/a b\n1:name=systemd:/s\n0::/user.slice\nx\n")
    assert (info.cpuset, info.group) == ("/a b", "/user.slice")


def test_parent_by_stat_or_status(tmp_path: Path) -> None:
    told = [
        {"stat": b"7 (a) b) S 3 7 7\n"},
        {"status": b"Name:\tx\nPPid:\t4\n"},
        {"stat": b"7 (x) S\n"},
        {"status": b"PPid:\n"},
    ]
    found = []
    for k, files in enumerate(told):
        process(tmp_path / str(k), **files)
        found.append(read_parent(open_tree(tmp_path / str(k)), 7))
    assert found == [3, 4, None, None]


def test_nothing_told(tmp_path: Path) -> None:
    assert process(tmp_path) == ProcessInfo()


def test_sets_by_mask_where_there_is_no_list(tmp_path: Path) -> None:
    """Before 2.6.29 status has masks only: words of 32 bits, the highest first."""
    found = process(tmp_path, status=b"Cpus_allowed:\t00000001,0000000f\nMems_allowed:\t0000000a\n")
    assert (found.cpus, found.mems) == (Nodemask([0, 1, 2, 3, 32]), Nodemask([1, 3]))


def test_masks_of_many_words(tmp_path: Path) -> None:
    """A kernel that can have 1024 nodes prints 32 words, the highest first."""
    words = ["00000000"] * 30 + ["00000001", "80000003"]
    info = process(tmp_path, status=f"Mems_allowed:\t{','.join(words)}\nCpus_allowed:\tf,00000000\n".encode())
    assert (str(info.mems), str(info.cpus)) == ("0-1,31-32", "32-35")


def test_list_counts_where_both_are_there(tmp_path: Path) -> None:
    status = b"Cpus_allowed:\tff\nCpus_allowed_list:\t0-1\nMems_allowed:\t1\nMems_allowed_list:\t0\n"
    found = process(tmp_path, status=status)
    assert (found.cpus, found.mems) == (Nodemask([0, 1]), Nodemask([0]))


def test_locked_and_swapped_memory(tmp_path: Path) -> None:
    found = process(tmp_path, status=b"VmLck:\t     296 kB\nVmSwap:\t      12 kB\n")
    assert (found.locked_kib, found.swap_kib) == (296, 12)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (b"Name:\tx\nMems_allowed:\t0000000g\n", "line 2: Mems_allowed: .* is no mask"),
        (b"Mems_allowed:\t1,1\n", "line 1: Mems_allowed: .* is no mask"),
        (b"Mems_allowed_list:\t0-9999\n", "line 1: Mems_allowed_list: ids end at 1023"),
        (b"Cpus_allowed_list:\t0-99999999\n", "line 1: Cpus_allowed_list: "),
        (b"Cpus_allowed_list:\t1;2\n", "line 1: Cpus_allowed_list: "),
        (b"VmSwap:\t-1 kB\n", "line 1: VmSwap: "),
        (b"CapEff:\t0x10\n", "line 1: CapEff: "),
    ],
)
def test_malformed_field_is_named(tmp_path: Path, status: bytes, said: str) -> None:
    with pytest.raises(InputFileError, match=f"proc/7/status: {said}"):
        process(tmp_path, status=status)
