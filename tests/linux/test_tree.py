"""Trees: directories and archives, with their limits."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.errors import InputFileError
from migratectl.linux import archive as archive_module
from migratectl.linux import unpacking
from migratectl.linux.files import MAX_FILE_BYTES, read_text, storable
from migratectl.linux.tree import open_tree

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


def test_circular_link_is_refused(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"proc/x": b""})
    (root / "proc/loop").symlink_to("loop")
    with pytest.raises(InputFileError, match=r"proc/loop: cannot be read: .*; put the file in the place of the link"):
        open_tree(root).read("proc/loop")


def test_link_to_nothing_is_a_missing_file(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"proc/x": b""})
    (root / "proc/loose").symlink_to("nothing")
    assert open_tree(root).read("proc/loose") is None


@pytest.mark.parametrize("call", ["lstat", "open", "read"])
@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.EACCES, "as its owner or as root"), (errno.EIO, "copy the tree again")]
)
def test_file_that_cannot_be_read_is_not_taken_for_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, remedy: str
) -> None:
    """The cause is kept: who asks for all processes leaves out those that belong to others."""
    tree = open_tree(make_folder(tmp_path, {"proc/x": b"1", "proc/y": b"2"}))
    assert tree.read("proc/y") == "2"  # the folder is known from now on

    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(InputFileError, match=f"proc/x: cannot be read: .*{remedy}") as caught:
            tree.read("proc/x")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == number


def test_process_that_ends_while_it_is_read_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = open_tree(make_folder(tmp_path, {"proc/x": b"1"}))

    def gone(*_args: object) -> None:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", gone)
        assert tree.read("proc/x") is None


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = make_folder(tmp_path, {"proc/x": b""})
    os.mkfifo(root / "proc/meminfo")
    with pytest.raises(InputFileError, match="not a regular file"):
        open_tree(root).read("proc/meminfo")


def test_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened is looked at, not what had the name before."""
    root = make_folder(tmp_path, {"proc/x": b"1"})
    tree, genuine = open_tree(root), os.open

    def swap(path: str, flags: int) -> int:
        os.unlink(path)
        os.mkfifo(path)
        return genuine(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(InputFileError, match="not a regular file"):
        tree.read("proc/x")


def test_link_that_takes_the_place_of_a_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("secret")
    tree, genuine = open_tree(make_folder(tmp_path / "d", {"proc/x": b"1"})), os.open

    def swap(path: str, flags: int) -> int:
        os.unlink(path)
        os.symlink(tmp_path / "secret", path)
        return genuine(path, flags)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(InputFileError, match="proc/x: cannot be read"):
        tree.read("proc/x")


def test_file_that_a_user_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("text")
    (tmp_path / "link").symlink_to("real")
    assert read_text(tmp_path / "link") == "text"


def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("s")
        with pytest.raises(InputFileError, match="s: not a regular file"):
            read_text(Path("s"))


@pytest.mark.parametrize("name", ["../x", "/sys/x", "sys/../../x"])
def test_archive_with_names_that_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputFileError, match="leads out of the tree"):
        open_tree(make_archive(tmp_path / "a.tar", {"sys/y": b"", name: b""}))


def make_archive_of_links(path: Path, files: dict[str, bytes], links: dict[str, str], kind: bytes) -> Path:
    make_archive(path, files)
    with tarfile.open(path, "a") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    return path


def test_hard_links_of_an_archive_are_files(tmp_path: Path) -> None:
    links = {"sys/hard": "sys/real", "sys/loose": "sys/nothing"}
    tree = open_tree(make_archive_of_links(tmp_path / "a.tar", {"sys/real": b"1"}, links, tarfile.LNKTYPE))
    assert tree.names("sys") == ["hard", "real"]
    assert tree.read("sys/hard") == "1"
    assert tree.left_out == 1


@pytest.mark.parametrize("top", ["", "./", "box/"])
def test_symbolic_links_inside_an_archive_are_followed(tmp_path: Path, top: str) -> None:
    """To a file, to a folder, and to what lies behind a link."""
    links = {"sys/soft": "../proc/10/maps", "proc/self": "10", "proc/again": "self/../self", "sys/deep": "soft"}
    files = {f"{top}proc/10/maps": b"here"}
    path = make_archive_of_links(
        tmp_path / "a.tar", files, {top + name: target for name, target in links.items()}, tarfile.SYMTYPE
    )
    tree = open_tree(path)
    for name in ("sys/soft", "sys/deep", "proc/self/maps", "proc/again/maps"):
        assert tree.read(name) == "here", name
    assert tree.names("proc/self") == ["maps"]
    assert tree.names("proc") == ["10", "again", "self"]
    assert tree.left_out == 0


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "/sys/real", "../../sys/real", "soft", "nothing", "other", "a/" * 3000, ""]
)
def test_links_that_lead_nowhere_in_an_archive_are_counted(tmp_path: Path, target: str) -> None:
    """Out of the tree, by an absolute path, in a circle, to no member."""
    links = {"sys/soft": target, "sys/other": "soft"}
    tree = open_tree(make_archive_of_links(tmp_path / "a.tar", {"sys/real": b"1"}, links, tarfile.SYMTYPE))
    assert tree.names("sys") == ["real"]
    assert tree.read("sys/soft") is None
    assert tree.left_out == 2


def test_link_that_a_later_member_replaces(tmp_path: Path) -> None:
    path = make_archive_of_links(tmp_path / "a.tar", {"sys/a": b"1"}, {"sys/b": "a"}, tarfile.SYMTYPE)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("sys/b")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"2"))
    assert (open_tree(path).read("sys/b"), open_tree(path).left_out) == ("2", 0)


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
    member.size = MAX_FILE_BYTES + 1
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(member.tobuf())
    with pytest.raises(InputFileError, match="too large"):
        open_tree(tmp_path / "a.tar.gz")


def announce(kind: bytes, size: int) -> bytes:
    """A header of a member of that kind that tells that size."""
    member = tarfile.TarInfo("sys/x")
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_header_that_announces_a_gigabyte_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    asked: list[int] = []
    genuine = gzip.GzipFile.read

    def read(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        asked.append(-1 if size is None else size)
        return genuine(self, size)

    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(announce(kind, 1 << 30) + bytes(10 << 20))
    monkeypatch.setattr(gzip.GzipFile, "read", read)
    with pytest.raises(InputFileError, match="too large"):
        open_tree(tmp_path / "a.tar.gz")
    assert max(asked) <= unpacking.MAX_HEADER_BYTES
    assert min(asked) >= 0


def test_headers_that_announce_headers_are_refused(tmp_path: Path) -> None:
    """Each is read inside the one before: without a limit the stack would run out."""
    (tmp_path / "a.tar").write_bytes((announce(tarfile.XHDTYPE, 0)) * 3000)
    with pytest.raises(InputFileError, match=r"a\.tar: "):
        open_tree(tmp_path / "a.tar")


@pytest.mark.parametrize("text", [b"1" * 500_000, b"5 abc" * 100_000, b"500000 a=" + b"1" * 499_990 + b"\n"])
def test_extended_header_that_takes_the_square_of_its_length_is_refused(tmp_path: Path, text: bytes) -> None:
    """tarfile looks for a number from each digit of a number on, and for the end of a key in all that follows."""
    (tmp_path / "a.tar").write_bytes(announce(tarfile.XHDTYPE, len(text)) + text + bytes(512 - len(text) % 512 + 1024))
    with pytest.raises(InputFileError, match="extended header"):
        open_tree(tmp_path / "a.tar")


def test_extended_header_of_many_attributes_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("sys/x")
        member.pax_headers = {f"SCHILY.xattr.user.{k}": "a\nb=" + "c" * 100 for k in range(100)}
        member.size = 1
        archive.addfile(member, io.BytesIO(b"1"))
    assert open_tree(tmp_path / "a.tar").read("sys/x") == "1"


def test_long_names_are_read(tmp_path: Path) -> None:
    """Both ways of writing them stay far below the limit."""
    name = "sys/" + "/".join(["x" * 100] * 9)
    for number, layout in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=layout) as archive:
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"1"))
        assert open_tree(path).read(name) == "1"


@pytest.mark.parametrize("name", ["sys/" + "x" * 5000, "sys/" + "x/" * 200])
def test_names_beyond_all_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputFileError, match="too long a name") as caught:
        open_tree(make_archive(tmp_path / "a.tar", {name: b""}))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40)])
def test_negative_size_is_refused(tmp_path: Path, size: int) -> None:
    """Of a kind whose content is skipped, so that tarfile would go back and read the same header for ever."""
    (tmp_path / "a.tar").write_bytes(announce(b"Z", size) + bytes(1024))
    with pytest.raises(InputFileError, match=r"a\.tar: "):
        open_tree(tmp_path / "a.tar")


def test_archive_that_skips_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is skipped has to be unpacked too."""
    monkeypatch.setattr(archive_module, "MAX_STREAM_BYTES", 1 << 20)
    with gzip.open(tmp_path / "a.tar.gz", "wb") as stream:
        stream.write(announce(b"Z", 2 << 20) + bytes(3 << 20))
    with pytest.raises(InputFileError, match="unpacks to more than 1 MiB: too large"):
        open_tree(tmp_path / "a.tar.gz")


def test_xz_that_needs_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preset 6 has a dictionary of 8 MiB."""
    path = make_archive(tmp_path / "a.tar.xz", {"sys/x": b"1"}, "w:xz")
    assert open_tree(path).read("sys/x") == "1"
    monkeypatch.setattr(unpacking, "XZ_MEMORY", 4 << 20)
    with pytest.raises(InputFileError, match=r"[Mm]emory"):
        open_tree(path)


@pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data[:300], lambda data: data + b"no xz"])
def test_damaged_xz_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = make_archive(tmp_path / "a.tar.xz", {"sys/x": os.urandom(3000)}, "w:xz")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputFileError, match="damaged"):
        open_tree(path)


def test_xz_of_several_streams(tmp_path: Path) -> None:
    """As parallel compressors write them, with zeros in between."""
    data = make_archive(tmp_path / "a.tar", {"sys/x": b"1" * 200_000}).read_bytes()
    parts = [lzma.compress(data[:70_000]), bytes(8), lzma.compress(data[70_000:])]
    (tmp_path / "a.tar.xz").write_bytes(b"".join(parts))
    assert open_tree(tmp_path / "a.tar.xz").read("sys/x") == "1" * 200_000


def test_many_members_together_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_TREE_BYTES", 10)
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


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("/usr/bin/with blank\\x", "/usr/bin/with blank\\x"),
        ("é中", "é中"),
        ("a\x1b[31m\x07", "a\\033[31m\\007"),
        ("a\nb\tc\x7f", "a\\012b\\011c\\177"),
        ("\udcff\udc80", "\\377\\200"),
        ("\u202e\x85", "\\342\\200\\256\\302\\205"),
        ("\ud800", "\\355\\240\\200"),
    ],
)
def test_what_is_stored_of_a_name(text: str, stored: str) -> None:
    """U+202E turns a line round: E2 80 AE in UTF-8, 342 200 256 in octal."""
    assert storable(text) == stored


@given(st.binary())
def test_every_name_can_be_stored_and_printed(name: bytes) -> None:
    stored = storable(name.decode("utf-8", "surrogateescape"))
    assert stored.isprintable()
    assert stored.encode("utf-8").decode("utf-8") == stored
    assert storable(stored) == stored
