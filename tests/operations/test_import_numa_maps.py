"""import-numa-maps of texts as people have them: from a pipe, several, with maps, pasted, of other kernels."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.conftest import SHARED_DATA, Runner
from tests.operations.trees import NUMA_MAPS, ONE_PAGE, done, refused, text_of, where

TEXT = "00400000 default file=/bin/db mapped=2 N0=2\n10000000 default heap anon=3 dirty=3 N0=1 N1=2\n"
MAPS = "00400000-00404000 r-xp 00002000 08:01 77 /bin/db\n10000000-10010000 rw-p 00000000 00:00 0 [heap]\n"


@pytest.fixture
def two(tool: Runner) -> Runner:
    """Two nodes of 1000 pages."""
    done(tool("init", "--nodes", 2, "--memory", "1000p", "--json"))
    return tool


def ends(tool: Runner, pid: int) -> list[str]:
    return [area["end"] for area in done(tool("show", "vmas", pid, "--json"))["vmas"]]


def notes(tool: Runner, *words: object, stdin: str = "") -> list[str]:
    return list(done(tool("import-numa-maps", *words, "--json", stdin=stdin))["assumptions"])


def test_from_standard_input(two: Runner) -> None:
    document = done(two("import-numa-maps", "-", "--pid", 7, "--json", stdin=TEXT))
    assert (document["pid"], document["pages"], document["tasks"][0]["pid"]) == (7, 5, 7)
    assert [line for line in document["assumptions"] if line.startswith("standard input: no maps")]
    assert text_of(two, 7) == TEXT
    said = refused(two, "import-numa-maps", "-", "--pid", 8)
    assert "standard input: no line" in said


def test_from_a_named_pipe(two: Runner, tmp_path: Path) -> None:
    """As the shell makes of <(ssh host cat /proc/7/numa_maps); it is read to its end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(TEXT,))
    writer.start()
    done(two("import-numa-maps", pipe, "--pid", 7, "--json"))
    writer.join()
    assert text_of(two, 7) == TEXT


def test_several_at_once_name_their_pids_and_maps_lie_beside(two: Runner, tmp_path: Path) -> None:
    for pid in (4711, 4712):
        (tmp_path / f"{pid}.numa_maps").write_text(TEXT)
    (tmp_path / "4711.maps").write_text(MAPS)
    document = done(two("import-numa-maps", tmp_path / "4712.numa_maps", tmp_path / "4711.numa_maps", "--json"))
    assert [row["pid"] for row in document["tasks"]] == [4712, 4711]
    assert ends(two, 4711) == ["0x404000", "0x10010000"]
    assert ends(two, 4712) == ["0x402000", "0x10003000"]
    outcome = two("import-numa-maps", tmp_path / "4711.numa_maps", "--pid", 9)
    assert outcome.out.startswith("pid 9, name 9, "), "a pid that is given counts, and the maps are still its own"
    assert ends(two, 9) == ["0x404000", "0x10010000"]


def test_several_are_one_transaction(two: Runner, tmp_path: Path) -> None:
    before = two("state", "hash").out
    (tmp_path / "1.numa_maps").write_text(TEXT)
    (tmp_path / "2.numa_maps").write_text("00400000 default N0=0x\n")
    assert "2.numa_maps: line 1:" in refused(
        two, "import-numa-maps", tmp_path / "1.numa_maps", tmp_path / "2.numa_maps"
    )
    assert two("state", "hash").out == before


def test_relatives_among_several_share_pages(two: Runner, tmp_path: Path) -> None:
    """Two texts of one forked pair, whose parents nothing tells."""
    for pid in (5, 6):
        (tmp_path / f"{pid}.numa_maps").write_text("10000000 default heap anon=4 dirty=4 mapmax=2 N0=4\n")
    done(two("import-numa-maps", tmp_path / "5.numa_maps", tmp_path / "6.numa_maps", "--json"))
    assert done(two("migrate-pages", 5, 0, 1, "--json"))["moved"] == 4
    assert set(where(two, 6).values()) == {1}
    assert two("check").code == 0


@pytest.mark.parametrize("stdin", ["numa_maps", "maps", ""])
def test_maps_of_one_file(two: Runner, tmp_path: Path, stdin: str) -> None:
    (tmp_path / "n").write_text(TEXT)
    (tmp_path / "m").write_text(MAPS)
    names = ["-" if stdin == "numa_maps" else tmp_path / "n", "-" if stdin == "maps" else tmp_path / "m"]
    text = {"numa_maps": TEXT, "maps": MAPS, "": ""}[stdin]
    done(two("import-numa-maps", names[0], "--maps", names[1], "--pid", 7, "--json", stdin=text))
    assert ends(two, 7) == ["0x404000", "0x10010000"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("n",), "n: whose it is is not told; give --pid, or name it PID.numa_maps"),
        (("-",), "give --pid"),
        (("-", "--pid", 1, "--maps", "-"), "standard input is one text"),
        (("1.numa_maps", "2.numa_maps", "--pid", 1), "--pid goes with one file"),
        (("1.numa_maps", "2.numa_maps", "--maps", "m"), "--maps goes with one file"),
        (("1.numa_maps", "2.numa_maps", "--name", "x"), "--name goes with one file"),
        ((), "Missing argument"),
    ],
)
def test_words_that_do_not_go_together(
    two: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = two("import-numa-maps", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_standard_input_of_a_batch_is_the_script(two: Runner) -> None:
    outcome = two("batch", "-", stdin=f"import-numa-maps - --pid 7\n{TEXT}")
    assert outcome.code == 2
    assert "in a batch standard input is the script's; name a file" in outcome.err


THREADS = """01c3a000 default heap anon=3 dirty=3 N0=3
7f11a0000000 default stack:4127 anon=3 dirty=3 N1=3
7f11a0801000 default stack:4128 anon=5 dirty=5 N0=5
7ffd00200000 default stack anon=7 dirty=7 N0=7 wss=3
"""


def test_words_that_are_not_known_are_kept_and_told(two: Runner, tmp_path: Path) -> None:
    """
    Kernels 3.4 to 4.4 name the stacks of threads so, each a stack: 3 + 5 + 7 pages are 0.06 MB. Only the process's own
    has the label.
    """
    (tmp_path / "n").write_text(THREADS)
    said = [line.partition("/n: ")[2] for line in notes(two, tmp_path / "n", "--pid", 7) if "known word" in line]
    assert said == [
        "line 2: 'stack:4127' and 1 more like it: no known word of numa_maps, kept",
        "line 4: 'wss=3': no known word of numa_maps, kept",
    ]
    stack = next(line for line in two("numastat", "-p", 7).out.splitlines() if line.startswith("Stack"))
    assert stack.split()[-1] == "0.06"
    labels = [area["label"] for area in done(two("show", "vmas", 7, "--json"))["vmas"]]
    assert labels == ["heap", None, None, "stack"]
    assert text_of(two, 7) == THREADS
    lines = done(two("numa-maps", 7, "--json"))["lines"]
    assert [line["words"] for line in lines] == [[], ["stack:4127"], ["stack:4128"], ["wss=3"]]
    text = refused(two, "import-numa-maps", tmp_path / "n", "--pid", 8, "--strict")
    assert "line 2: 'stack:4127' is no word of numa_maps" in text


def test_words_go_with_their_area(two: Runner, tmp_path: Path) -> None:
    """A thread of the parent has no stack in a child, and none when its area is gone."""
    (tmp_path / "n").write_text(THREADS)
    notes(two, tmp_path / "n", "--pid", 7)
    done(two("fork", 7, "--pid", 8, "--json"))
    assert "4127" not in text_of(two, 8)
    done(two("munmap", 7, "0x7f11a0000000+3p", "--json"))
    done(two("mmap", 7, "3p", "--addr", "0x7f11a0000000", "--json"))
    assert text_of(two, 7).splitlines()[1] == "7f11a0000000 default"
    for pid in (7, 8):
        done(two("task", "exit", pid, "--json"))
    assert two("check").code == 0


@pytest.mark.parametrize(
    ("word", "said"),
    [("NN1=3=", None), ("N1x=3", None), ("dirty", "stands there twice"), ("5=3", "is no word"), ("", "is no word"),
     ("a\x1bb", "is no word"), ("N9999=1", "node ids end")],
)  # fmt: skip
def test_what_can_be_a_word(two: Runner, tmp_path: Path, word: str, said: str | None) -> None:
    (tmp_path / "n").write_text(f"01c3a000 default heap {word} anon=3 dirty=3 N0=3\n")
    if said is None:
        notes(two, tmp_path / "n", "--pid", 7)
    else:
        assert said in refused(two, "import-numa-maps", tmp_path / "n", "--pid", 7)


def test_half_a_word_at_the_end_is_none(two: Runner, tmp_path: Path) -> None:
    (tmp_path / "n").write_text("01c3a000 default anon=1 dir")
    assert "'dir' is no word" in refused(two, "import-numa-maps", tmp_path / "n", "--pid", 7)


PASTED = {
    "CR before the newline, as in a file of Windows": lambda line: f"{line}\r",
    "'>' in front, as in a quoted mail": lambda line: f"> >{line}",
    "the name of a file in front, as from grep": lambda line: f"/proc/7/numa_maps:12:{line}",
    "blanks in front": lambda line: f"\t  {line}",
}


@pytest.mark.parametrize("what", PASTED)
def test_what_was_added_to_lines_is_told_and_taken_off(two: Runner, tmp_path: Path, what: str) -> None:
    for name, text in (("n", TEXT), ("m", MAPS)):
        lines = [PASTED[what](line) for line in text.splitlines()]
        (tmp_path / name).write_bytes("".join(f"{line}\n" for line in lines).encode())
    words = (tmp_path / "n", "--maps", tmp_path / "m", "--pid", 7)
    said = refused(two, "import-numa-maps", *words, "--strict")
    assert f"/n: line 1: {what}; leave out --strict" in said
    told = [line for line in notes(two, *words) if line.endswith(": taken off")]
    assert [line.partition(f"{tmp_path}/")[2] for line in told] == [
        f"{name}: line 1: {what}: taken off" for name in ("n", "m")
    ]
    assert text_of(two, 7) == TEXT
    assert ends(two, 7) == ["0x404000", "0x10010000"]


def test_lines_that_grep_found_in_several_files(two: Runner, tmp_path: Path) -> None:
    (tmp_path / "n").write_text("".join(f"/proc/{pid}/numa_maps:{ONE_PAGE}" for pid in (7, 8)))
    said = refused(two, "import-numa-maps", tmp_path / "n", "--pid", 7)
    assert "line 2: of another file than those above, as from grep" in said


def test_counts_that_the_kernel_would_explain(two: Runner, tmp_path: Path) -> None:
    """Ten pages of which one is anonymous, without a file and without mapped=; and two lines that are all right."""
    (tmp_path / "n").write_text(TEXT + "20000000 default anon=1 N0=5 N1=5\n30000000 default\n")
    said = [line for line in notes(two, tmp_path / "n", "--pid", 7) if "mapped=" in line]
    assert [line.partition("/n: ")[2].partition(":")[0] for line in said] == ["line 3"]


def test_advice_for_another_page_size_can_be_followed(tool: Runner, tmp_path: Path) -> None:
    """init as the message says, but for the rest of the machine; then the text is read."""
    (tmp_path / "n").write_text("aaaae7c10000 bind:1 anon=64 dirty=64 N1=64 kernelpagesize_kB=64\n")
    done(tool("init", "--nodes", 2, "--profile", "modern", "--json"))
    said = refused(tool, "import-numa-maps", tmp_path / "n", "--pid", 7)
    advice = said.partition("'migratectl ")[2].partition("'")[0].split()
    done(tool(*advice, "--nodes", 2, "--profile", "modern", "--force", "--json"))
    notes(tool, tmp_path / "n", "--pid", 7)
    assert text_of(tool, 7) == (tmp_path / "n").read_text()


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no ../shared/data beside the repository")
def test_a_real_process_with_its_maps(tool: Runner, tmp_path: Path) -> None:
    for name in ("numa_maps", "maps"):
        (tmp_path / f"24102.{name}").write_text((NUMA_MAPS / f"live-policies-a.{name}").read_text())
    done(tool("init", "--profile", "modern", "--json"))
    notes(tool, tmp_path / "24102.numa_maps")
    assert text_of(tool, 24102) == (tmp_path / "24102.numa_maps").read_text()
