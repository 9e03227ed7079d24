"""numa_maps: text to lines and lines to text, real samples included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratectl.errors import InputFileError
from migratectl.linux.mpol import Era, format_policy, parse_policy
from migratectl.linux.numa_maps import NumaMapsLine, escape_path, format_numa_maps, unescape_path
from migratectl.linux.numa_maps_reader import parse_numa_maps
from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import Mode, ModeFlag

DATA = Path(__file__).parents[3] / "shared/data/numa_maps"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real samples: {DATA} is missing")


def one(text: str) -> NumaMapsLine:
    (line,) = parse_numa_maps(text, "numa_maps")
    return line


def test_a_line_with_everything() -> None:
    line = one(
        "2aaaaaaab000 bind:0-1,4 file=/a\\040b heap stack huge anon=5 dirty=4 mapped=7 mapmax=3 swapcache=2 active=1"
        " writeback=2 N0=3 N4=4 kernelpagesize_kB=2048\n"
    )
    assert line == NumaMapsLine(
        source="numa_maps",
        number=1,
        address=0x2AAAAAAAB000,
        policy=Policy(Mode.BIND, Nodemask([0, 1, 4])),
        file="/a b",
        heap=True,
        stack=True,
        huge=True,
        anon=5,
        dirty=4,
        mapmax=3,
        swapcache=2,
        active=1,
        writeback=2,
        nodes=((0, 3), (4, 4)),
        kernel_page_kib=2048,
    )
    assert (line.pages, line.mapped) == (7, 7)


def test_a_line_with_a_policy_only() -> None:
    line = one("7ffc4c799000 default")
    assert (line.pages, line.nodes, line.mapmax, line.active, line.mapped) == (0, (), 1, None, None)


def test_line_numbers_count_blank_lines() -> None:
    lines = parse_numa_maps("\n00001000 default\n\n00002000 default\n", "x")
    assert [line.number for line in lines] == [2, 4]


def test_node_without_pages_is_as_if_not_there() -> None:
    assert one("00001000 default anon=1 N0=0 N1=1") == one("00001000 default anon=1 N1=1")


def test_no_lines() -> None:
    """A kernel thread has no areas."""
    assert parse_numa_maps("", "x") == ()


def test_words_in_another_order_than_the_kernels() -> None:
    assert one("00001000 default N1=2 dirty=2 N0=1 mapped=3") == one("00001000 default dirty=2 mapped=3 N0=1 N1=2")


def test_order_of_the_text_is_kept() -> None:
    """What to do about repeated and unordered addresses is decided where areas are made."""
    lines = parse_numa_maps("00002000 default\n00001000 default\n00002000 default\n", "x")
    assert [line.address for line in lines] == [0x2000, 0x1000, 0x2000]


POLICIES = [
    ("default", Mode.DEFAULT, "", ()),
    ("local", Mode.LOCAL, "", ()),
    ("prefer:1", Mode.PREFERRED, "1", ()),
    ("bind:0-1,5", Mode.BIND, "0-1,5", ()),
    ("interleave:0-63", Mode.INTERLEAVE, "0-63", ()),
    ("prefer (many):0-1", Mode.PREFERRED_MANY, "0-1", ()),
    ("weighted interleave:0-1", Mode.WEIGHTED_INTERLEAVE, "0-1", ()),
    ("bind=static:0-1", Mode.BIND, "0-1", (ModeFlag.STATIC,)),
    ("bind=relative|balancing:0", Mode.BIND, "0", (ModeFlag.RELATIVE, ModeFlag.BALANCING)),
    ("prefer (many)=static:0", Mode.PREFERRED_MANY, "0", (ModeFlag.STATIC,)),
    ("interleave=relative:0-1", Mode.INTERLEAVE, "0-1", (ModeFlag.RELATIVE,)),
]


@pytest.mark.parametrize(("text", "mode", "nodes", "flags"), POLICIES)
def test_policies_of_today(text: str, mode: Mode, nodes: str, flags: tuple[ModeFlag, ...]) -> None:
    policy = Policy(mode, Nodemask.parse(nodes), flags)
    assert parse_policy(text) == policy
    assert format_policy(policy, "modern") == text
    assert one(f"00001000 {text} anon=1 dirty=1 N0=1").policy == policy


@pytest.mark.parametrize("text", ["prefer=1", "bind=0-1,5", "interleave=0-1", "default"])
def test_policies_of_2006(text: str) -> None:
    assert format_policy(parse_policy(text), "2.6.16") == text
    assert parse_policy(text) == parse_policy(text.replace("=", ":"))


def test_local_policy_of_2006_is_preferred_without_a_node() -> None:
    """B27: the kernel set bit -1 of a mask; here it prints, and reads, the name alone."""
    local = Policy(Mode.PREFERRED, Nodemask())
    assert one("00001000 prefer anon=1 dirty=1 N0=1").policy == local
    assert format_policy(local, "2.6.16") == "prefer"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "N0=1",
        "file=/x",
        "Default",
        "bind",
        "bind:",
        "bind:1-0",
        "bind:x",
        "bind:0,,1",
        "bind:1024",
        "bind:99999",
        "bind:0-999999999",
        "bind=fast:0",
        "bind=static|static:0",
        "default:0",
        "local:1",
        "prefer:0-1",
        "prefer:",
        "prefer=static",
        "bind:-1",
        "preferred:0",
        "weighted:0",
        "default interleave",
        "bind:\u0661",
    ],
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(ValueError, match=r"policy|nodes|node|list|flags|range"):
        parse_policy(text)
    with pytest.raises(InputFileError, match="f: line 2: "):
        parse_numa_maps(f"00001000 default\n00002000 {text} anon=1 N0=1\n", "f")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("00001000", "a policy such as default"),
        ("00001000 N0=1 anon=1", "no policy; a policy such as default"),
        ("7f02-7f03 N0=1 dirty=1", "begins with a range"),
        ("0x1000 default", "no address"),
        ("ABCDEF00 default", "no address"),
        ("1" * 17 + " default", "no address"),
        (" 00001000 default", "no address"),
        ("00001000 default MaxRef=4 Pages=1 Mapped=1 N0=1", "before 2.6.16"),
        ("00001000 default pages=1 mapped=1 maxref=1 N0=1", "before 2.6.16"),
        ("00001000 default anon=1 NN=1", "'NN=1' is no word"),
        ("00001000 default anon=1 N=1", "'N=1' is no word"),
        ("00001000 default anon=1 N0", "'N0' is no word"),
        ("00001000 default anon=1 N-1=1", "'N-1=1' is no word"),
        ("00001000 default anon=1 N1024=1", "node ids end at 1023"),
        ("00001000 default anon=1 N99999=1", "node ids end at 1023"),
        ("00001000 default anon=1 N0=1 N0=1", "node 0 stands there twice"),
        ("00001000 default anon=1 N0=1 N00=1", "node 0 stands there twice"),
        ("00001000 default anon=1 anon=1 N0=1", "'anon=1' stands there twice"),
        ("00001000 default anon=1 N0=-1", "has no number"),
        ("00001000 default anon=x N0=1", "has no number"),
        ("00001000 default anon= N0=1", "has no number"),
        ("00001000 default anon=\u0661 N0=1", "has no number"),
        ("00001000 default anon N0=1", "without a value"),
        ("00001000 default file= N0=1", "without a value"),
        ("00001000 default heap heap", "twice"),
        ("00001000 default anon=1 N0=1" + "0" * 30, "more than any address space"),
        ("00001000 default anon=" + "9" * 9000 + " N0=1", "more than any address space"),
        ("00001000 default anon=2 N0=1", "anon=2, but the counts by node add up to 1"),
        ("00001000 default anon=1 dirty=2 N0=1", "dirty=2, but"),
        ("00001000 default anon=1 active=2 N0=1", "active=2, but"),
        ("00001000 default anon=1 swapcache=2 N0=1", "swapcache=2, but"),
        ("00001000 default anon=1 writeback=2 N0=1", "writeback=2, but"),
        ("00001000 default mapped=3 N0=2", "mapped=3, but"),
        ("00001000 default mapped=1 N0=2", "mapped=1, but"),
        ("00001000 default anon=3", "anon=3, but the counts by node add up to 0"),
        ("00001000 default anon=2 dirty=2 swapcache=1 writeback=2 N0=2", "writeback= is more"),
        ("00001000 default anon=1 mapmax=0 N0=1", "mapmax=0"),
        ("00001000 default anon=1 mapmax=00 N0=1", "mapmax=0"),
        ("00001000 default anon=1 N0=1 kernelpagesize_kB=0", "no page size"),
        ("00001000 default anon=1 N0=1 kernelpagesize_kB=3", "no page size"),
        ("00001000 default anon=1 N0=1\r", "has no number"),
        ("00001000 default  anon=1 N0=1", "'' is no word"),
        ("00001000 default file=/a b", "'b' is no word"),
        ("00001000 default file=/" + "a" * 70000, "longer than 65536"),
        ("00001000 default anon=-1 N0=1", "'anon=-1' has no number"),
        ("00001000 default anon=1 dirty=1 N0=1e3", "has no number"),
        ("00001000 default anon=1 dirty=1 N0=1 kernelpagesize_kB", "without a value"),
        ("00001000 default anon=1 di", "'di' is no word"),
        ("00001", "a policy such as default"),
        ("00001000 default anon=1 N0=1\0", "NUL byte"),
        ("0000\x001000 default", "NUL byte"),
        ("00001000 default file=/a\0b anon=1 dirty=1 N0=1", "NUL byte"),
        ("00001000\tdefault", "no address"),
        ("+0001000 default", "no address"),
        ("0000_1000 default", "no address"),
    ],
)
def test_malformed_line_is_named_with_what_is_wrong(line: str, said: str) -> None:
    with pytest.raises(InputFileError, match="dir/numa_maps: line 2: ") as caught:
        parse_numa_maps(f"00000000 default\n{line}\n", "dir/numa_maps")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


# ---- before 2.6.16


def old(words: str) -> NumaMapsLine:
    return one(f"00001000 {words}\n")


def test_a_line_of_before_2_6_16() -> None:
    """mapped is pages, maxref is what mapmax became; dirty pages and files are not told."""
    line = old("interleave=0-1 pages=6 mapped=6 maxref=2 anon=4 N0=3 N1=3")
    assert line == NumaMapsLine(
        source="numa_maps",
        number=1,
        address=0x1000,
        policy=Policy(Mode.INTERLEAVE, Nodemask([0, 1])),
        anon=4,
        mapmax=2,
        nodes=((0, 3), (1, 3)),
        old=True,
    )


@pytest.mark.parametrize(
    "words",
    [
        "default maxref=1 pages=2 mapped=2 anon=2 N0=2",
        "default MaxRef=1 Pages=2 Mapped=2 Anon=2 N0=2",
        "default N0=2 anon=2 mapped=2 pages=2 maxref=1",
    ],
)
def test_words_of_2005_in_any_order_and_with_capitals(words: str) -> None:
    """The first patch, of July 2005, wrote the words with capital letters and MaxRef first."""
    assert old(words) == old("default pages=2 mapped=2 maxref=1 anon=2 N0=2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("default pages=2 mapped=2 N0=2", "no maxref="),
        ("default pages=2 maxref=1 N0=2", "no mapped="),
        ("default mapped=2 maxref=1 N0=2", "no pages="),
        ("default pages=3 mapped=3 maxref=1 N0=2", "pages=3, but the counts by node add up to 2"),
        ("default pages=2 mapped=1 maxref=1 N0=2", "mapped=1, but the counts by node add up to 2"),
        ("default pages=2 mapped=2 maxref=1 anon=3 N0=2", "anon=3, but"),
        ("default pages=2 mapped=2 maxref=0 N0=2", "maxref=0"),
        ("default pages=2 mapped=2 maxref=1 maxref=1 N0=2", "'maxref=1' stands there twice"),
        ("default pages=-2 mapped=2 maxref=1 N0=2", "has no number"),
        ("default pages=2 mapped=2 maxref N0=2", "without a value"),
        ("default pages=2 mapped=2 maxref=1 N0=1 N0=1", "node 0 stands there twice"),
        ("default pages=2 mapped=2 maxref=1 N2000=2", "node ids end at 1023"),
        ("default pages=2 mapped=2 maxref=1 N0=" + "9" * 20, "more than any address space"),
        ("default pages=2 mapped=2 maxref=1 dirty=2 N0=2", "'dirty=2' is no word of the layout before 2.6.16"),
        ("default file=/x pages=2 mapped=2 maxref=1 N0=2", "'file=/x' is no word of the layout before 2.6.16"),
        ("default pages=2 mapped=2 maxref=1 N0=2 kernelpagesize_kB=4", "is no word of the layout before 2.6.16"),
    ],
)
def test_malformed_line_of_before_2_6_16(words: str, said: str) -> None:
    with pytest.raises(InputFileError, match="numa_maps: line 1: ") as caught:
        old(words)
    assert said in str(caught.value)


EARLIEST = "00001000 default pages=1 mapped=1 maxref=1 N0=1\n"
OF_2006 = "00001000 interleave=0-1 anon=1 dirty=1 N0=1\n"
OF_TODAY = "00001000 interleave:0-1 anon=1 dirty=1 N0=1\n"
WITH_SIZE = "00001000 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4\n"
NEUTRAL = "00001000 default anon=1 dirty=1 N0=1\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (EARLIEST, NEUTRAL),
        (NEUTRAL, EARLIEST),
        (EARLIEST, OF_TODAY),
        (WITH_SIZE, EARLIEST),
        (OF_2006, OF_TODAY),
        (OF_TODAY, OF_2006),
        (OF_2006, WITH_SIZE),
        (WITH_SIZE, OF_2006),
    ],
)
def test_layouts_are_not_mixed(first: str, second: str) -> None:
    """The line that does not go with those above it is named, wherever it stands."""
    with pytest.raises(InputFileError, match=r"x: line 3: its layout is that .*; give the text of one kernel"):
        parse_numa_maps(first * 2 + second + first, "x")


@pytest.mark.parametrize("texts", [(NEUTRAL, OF_2006), (WITH_SIZE, OF_TODAY), (NEUTRAL, OF_TODAY, WITH_SIZE)])
def test_layouts_that_go_together(texts: tuple[str, ...]) -> None:
    assert len(parse_numa_maps("".join(texts), "x")) == len(texts)


def test_printed_before_2_6_16() -> None:
    """Areas without pages and huge areas have no line; anon is printed only where there is some."""
    lines = parse_numa_maps(
        "00001000 default\n"
        "00002000 interleave=0-1 anon=6 dirty=6 N0=3 N1=3\n"
        "00008000 default file=/x mapped=2 mapmax=9 N1=2\n"
        "00200000 default file=/h huge dirty=1 N0=1\n",
        "x",
    )
    assert format_numa_maps(lines, "2006-01") == (
        "00002000 interleave=0-1 pages=6 mapped=6 maxref=1 anon=6 N0=3 N1=3\n"
        "00008000 default pages=2 mapped=2 maxref=9 N1=2\n"
    )


# ---- today again


def test_writeback_of_file_pages_and_of_the_swap_cache() -> None:
    assert one("00001000 default file=/x anon=2 dirty=2 mapped=4 swapcache=1 writeback=3 N0=4").writeback == 3


def test_a_line_of_a_gigabyte_is_refused_by_its_length() -> None:
    """A tenth of it, for the sake of the test's memory."""
    text = "00001000 default " + "N0=1 " * 20_000_000
    with pytest.raises(InputFileError, match="line 1: it is longer"):
        parse_numa_maps(text, "x")


PATHS = st.text(st.sampled_from("ab\\ \t\n=#0147é"), min_size=1)


@given(PATHS)
def test_escaped_path_is_one_word(path: str) -> None:
    assert not set(escape_path(path)) & set(" \t\n=")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/anon_hugepage (deleted)", "/anon_hugepage\\040(deleted)"),
        ("/memfd:tab\there", "/memfd:tab\\011here"),
        ("/memfd:#hash", "/memfd:#hash"),
        ("/a=b\nc", "/a\\075b\\012c"),
        ("/back\\slash", "/back\\slash"),
        ("/not\\101octal", "/not\\101octal"),
    ],
)
def test_escapes(path: str, text: str) -> None:
    assert escape_path(path) == text
    assert unescape_path(text) == path
    assert one(f"00001000 default file={text}").file == path


def lines_of(era: Era) -> st.SearchStrategy[NumaMapsLine]:
    """Lines as the kernel can print them."""
    modes = POLICIES if era == "modern" else [POLICIES[k] for k in (0, 2, 3, 4)]
    return st.builds(
        make_line,
        st.sampled_from([Policy(mode, Nodemask.parse(nodes), flags) for _, mode, nodes, flags in modes]),
        st.dictionaries(st.integers(0, 1023), st.integers(1, 10**9), max_size=4),
        st.lists(st.floats(0, 1), min_size=4, max_size=4),
        st.one_of(st.none(), st.text(st.sampled_from("/ab =\t#é"), min_size=1)),
        st.sampled_from(["", "heap", "stack"]),
        st.integers(0, (1 << 52) - 1),
        st.integers(1, 99),
        st.sampled_from([None, 4, 16, 64] if era == "modern" else [None]),
    )


def make_line(
    policy: Policy,
    nodes: dict[int, int],
    shares: list[float],
    file: str | None,
    kind: str,
    page: int,
    mapmax: int,
    size: int | None,
) -> NumaMapsLine:
    pages = sum(nodes.values())
    anon, dirty, cached, active = (int(pages * share) for share in shares)
    return NumaMapsLine(
        "x",
        1,
        page * 4096,
        policy,
        file,
        kind == "heap",
        kind == "stack",
        anon=anon,
        dirty=dirty,
        mapmax=mapmax if pages else 1,
        swapcache=cached,
        active=active if active < pages else None,
        writeback=cached // 2,
        nodes=tuple(sorted(nodes.items())),
        kernel_page_kib=size if pages else None,
    )


@given(lines_of("modern"))
def test_printed_line_is_read_again(line: NumaMapsLine) -> None:
    assert parse_numa_maps(format_numa_maps([line], "modern"), "x") == (line,)


@given(lines_of("2.6.16"))
def test_printed_line_of_2006_is_read_again(line: NumaMapsLine) -> None:
    assert parse_numa_maps(format_numa_maps([line], "2.6.16"), "x") == (line,)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"anon": 8, "dirty": 8, "nodes": ((0, 8),)}, "anon=8 dirty=8 N0=8"),
        ({"nodes": ((0, 8),)}, "mapped=8 N0=8"),
        ({"anon": 3, "dirty": 2, "nodes": ((0, 3),)}, "anon=3 dirty=2 N0=3"),
        ({"anon": 1, "dirty": 1, "nodes": ((3, 2),)}, "anon=1 dirty=1 mapped=2 N3=2"),
        ({"dirty": 2, "nodes": ((3, 2),)}, "dirty=2 N3=2"),
        ({"mapmax": 1, "active": 2, "nodes": ((0, 2),)}, "mapped=2 N0=2"),
        ({"mapmax": 2, "active": 0, "nodes": ((0, 2),)}, "mapped=2 mapmax=2 active=0 N0=2"),
        ({"huge": True, "dirty": 1, "active": 0, "nodes": ((0, 1),)}, "huge dirty=1 N0=1"),
        ({"huge": True}, "huge"),
        ({"mapmax": 7, "anon": 0}, ""),
    ],
)
def test_which_words_are_printed(line: dict[str, object], text: str) -> None:
    """mapped beside other counts, mapmax from 2, active below all and never of huge pages, nothing without pages."""
    shown = format_numa_maps([NumaMapsLine("x", 1, 0x1000, Policy(Mode.DEFAULT, Nodemask()), **line)], "2.6.16")  # type: ignore[arg-type]
    assert shown == f"00001000 default {text}".rstrip() + "\n"


def test_page_size_is_printed_today_only() -> None:
    line = one("00001000 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4")
    assert format_numa_maps([line], "modern") == "00001000 default anon=1 dirty=1 N0=1 kernelpagesize_kB=4\n"
    assert format_numa_maps([line], "2.6.16") == "00001000 default anon=1 dirty=1 N0=1\n"


# ---- the real samples

REFUSED = {
    "dragonwell-fixture.numa_maps": ("line 3", "'NN=1' is no word"),
    "mm-2018-vamaps.numa_vamaps": ("line 1", "begins with a range"),
}


def samples(*, refused: bool) -> list[Path]:
    found = sorted([*DATA.glob("*.numa_maps"), *DATA.glob("*.numa_vamaps")])
    return [path for path in found if (path.name in REFUSED) == refused]


@needs_data
def test_there_are_samples() -> None:
    assert len(samples(refused=False)) > 25
    assert len(samples(refused=True)) == len(REFUSED)


@needs_data
@pytest.mark.parametrize("path", samples(refused=False), ids=lambda path: path.name)
def test_real_sample_is_printed_as_it_was_read(path: Path) -> None:
    """A sample that writes policies with an equal sign is of the older layout; that of 2005 had other capitals."""
    text = path.read_text()
    if "MaxRef" in text:
        lines = parse_numa_maps(text, path.name)
        ordered = re.sub(r"MaxRef=(\d+) Pages=(\d+) Mapped=(\d+)", r"pages=\2 mapped=\3 maxref=\1", text)
        assert format_numa_maps(lines, "2006-01") == ordered.replace("Anon=", "anon=")
        return
    old = any(word in text for word in ("bind=0", "interleave=0", "interleave=1", "prefer=0"))
    lines = parse_numa_maps(text, path.name)
    assert len(lines) == text.count("\n")
    assert format_numa_maps(lines, "2.6.16" if old else "modern") == text


@needs_data
@pytest.mark.parametrize("path", samples(refused=True), ids=lambda path: path.name)
def test_other_formats_are_refused(path: Path) -> None:
    where, what = REFUSED[path.name]
    with pytest.raises(InputFileError, match=f"{path.name}: {where}: ") as caught:
        parse_numa_maps(path.read_text(), path.name)
    assert what in str(caught.value)
