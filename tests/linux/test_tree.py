"""Trees: directories and archives, with their limits."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from migratectl.errors import InputFileError
from migratectl.linux import tree as tree_module
from migratectl.linux.tree import open_tree, read_text

MEMINFO = "MemTotal: 4096 kB\n"


def make_archive(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def make_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_directory_is_used_as_it_is(tmp_path: Path) -> None:
    tree = open_tree(make_folder(tmp_path, {"proc/meminfo": MEMINFO.encode(), "proc/2/maps": b"", "proc/10/maps": b""}))
    assert tree.read("proc/meminfo") == MEMINFO
    assert tree.names("proc") == ["10", "2", "meminfo"]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    tree = open_tree(make_folder(tmp_path, {"proc/meminfo": b"x"}))
    assert tree.read("proc/meminfo/below") is None
    assert tree.read("sys/nothing") is None
    assert tree.names("sys") == []


@pytest.mark.parametrize(
    ("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")]
)
def test_top_folder_of_an_archive_is_left_out(tmp_path: Path, suffix: str, mode: str) -> None:
    files = {"box/proc/meminfo": MEMINFO.encode(), "box/sys/a/b": b"1"}
    tree = open_tree(make_archive(tmp_path / f"some.{suffix}", files, mode))
    assert tree.read("proc/meminfo") == MEMINFO
    assert tree.names(".") == ["proc", "sys"]
    assert tree.names("sys/a") == ["b"]
    assert "box" in tree.label


def test_archive_without_top_folder(tmp_path: Path) -> None:
    """The one folder ``sys`` is part of the tree, not its name."""
    tree = open_tree(make_archive(tmp_path / "a.tar", {"./sys/x": b"1"}))
    assert tree.read("sys/x") == "1"


def test_trailing_nul_bytes_are_left_out(tmp_path: Path) -> None:
    """Archives of /sys are padded with NUL bytes; some kernels print one behind a mask."""
    folder = open_tree(make_folder(tmp_path / "d", {"sys/x": b"00ff\n\0\0"}))
    archive = open_tree(make_archive(tmp_path / "a.tar", {"sys/x": b"00ff\n\0\0"}))
    assert folder.read("sys/x") == archive.read("sys/x") == "00ff\n"


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    text = open_tree(make_folder(tmp_path, {"proc/x": b"\xff\xc3\xa9"})).read("proc/x")
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "proc/../../secret", "proc/a\0b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    folder = open_tree(make_folder(tmp_path / "d", {"proc/x": b""}))
    archive = open_tree(make_archive(tmp_path / "a.tar", {"proc/x": b""}))
    for tree in (folder, archive):
        with pytest.raises(InputFileError, match="not a name inside a tree"):
            tree.read(name)


def test_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    root = make_folder(tmp_path / "d", {"proc/x": b""})
    (root / "proc/meminfo").symlink_to(tmp_path / "secret")
    with pytest.raises(InputFileError, match="link out of the tree"):
        open_tree(root).read("proc/meminfo")


def test_link_inside_the_tree_is_followed(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "d", {"proc/10/maps": b"here"})
    (root / "proc/self").symlink_to("10")
    assert open_tree(root).read("proc/self/maps") == "here"


def test_circular_link_is_a_missing_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"proc/x": b""})
    (root / "proc/loop").symlink_to("loop")
    assert open_tree(root).read("proc/loop") is None


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"proc/x": b""})
    os.mkfifo(root / "proc/meminfo")
    with pytest.raises(InputFileError, match="not a regular file"):
        open_tree(root).read("proc/meminfo")


@pytest.mark.parametrize("name", ["../x", "/sys/x", "sys/../../x"])
def test_archive_with_names_that_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputFileError, match="leads out of the tree"):
        open_tree(make_archive(tmp_path / "a.tar", {"sys/y": b"", name: b""}))


def test_links_of_an_archive_are_left_out_but_hard_links_are_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("sys/real")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"1"))
        for name, kind, target in (
            ("sys/soft", tarfile.SYMTYPE, "/etc/passwd"),
            ("sys/hard", tarfile.LNKTYPE, "sys/real"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    tree = open_tree(path)
    assert tree.names("sys") == ["hard", "real"]
    assert tree.read("sys/hard") == "1"


def test_not_a_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="neither 'sys' nor 'proc'"):
        open_tree(make_folder(tmp_path, {"etc/x": b""}))


def test_missing_tree_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="nowhere: cannot be read: No such file"):
        open_tree(tmp_path / "nowhere")


@pytest.mark.parametrize("data", [b"", b"no archive\n", b"\x1f\x8bnot really", b"BZh9x", b"\xfd7zXZ"])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InputFileError, match=r"a\.tar: ") as caught:
        open_tree(tmp_path / "a.tar")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_archive_that_is_cut_short_is_refused(tmp_path: Path, mode: str, keep: float) -> None:
    files = {f"sys/{k}": os.urandom(3000) for k in range(10)}
    path = make_archive(tmp_path / "a.tar", files, mode)
    data = path.read_bytes().rstrip(b"\0") if mode == "w" else path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputFileError, match="damaged"):
        open_tree(path)


def test_archive_with_a_damaged_header_is_refused(tmp_path: Path) -> None:
    """The archive module takes such a header for the end of the archive and says nothing."""
    path = make_archive(tmp_path / "a.tar", {"sys/a": b"x", "sys/b": b"y"})
    data = bytearray(path.read_bytes())
    data[1024 + 148 : 1024 + 156] = b"7777777\0"
    path.write_bytes(data)
    with pytest.raises(InputFileError, match="damaged"):
        open_tree(path)


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """The size in the member's header is believed before anything is unpacked."""
    member = tarfile.TarInfo("sys/bomb")
    member.size = tree_module.MAX_FILE_BYTES + 1
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(member.tobuf())
    with pytest.raises(InputFileError, match="too large"):
        open_tree(tmp_path / "a.tar.gz")


def test_many_members_together_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MAX_TREE_BYTES", 10)
    path = make_archive(tmp_path / "a.tar", {"sys/a": b"123456", "sys/b": b"123456"})
    with pytest.raises(InputFileError, match="'sys/b' makes it too large"):
        open_tree(path)


def test_long_file_is_refused(tmp_path: Path) -> None:
    """A sparse file of a gigabyte: nothing of that size is read into memory whole."""
    path = tmp_path / "numa_maps"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(InputFileError, match="longer than 64 MiB"):
        read_text(path)


def test_read_text_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="no such file"):
        read_text(tmp_path / "x")


def test_machine_that_runs() -> None:
    tree = open_tree(Path("/"))
    assert "MemTotal" in (tree.read("proc/meminfo") or "")
    assert tree.where("proc/meminfo") == "/proc/meminfo"
