"""What /proc/PID tells of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from migratectl.linux.process import ProcessInfo, read_process
from migratectl.linux.tree import open_tree


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


def test_nothing_told(tmp_path: Path) -> None:
    assert process(tmp_path) == ProcessInfo()
