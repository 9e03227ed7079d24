"""Files and shared memory over the command line: what the random scripts of test_cache_model.py do not reach."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Runner
from tests.operations.test_fork import used


def files(tool: Runner) -> dict[str, Any]:
    """The rows of ``file list`` by name."""
    return {row["file"]: row for row in tool("file", "list", "--json").document["files"]}


def mappings(tool: Runner, kind: str) -> list[tuple[str, int]]:
    """(name, pages in memory) of the mappings of a kind."""
    rows = tool("show", "mappings", "--json").document["mappings"]
    return [(row["name"], row["pages"]) for row in rows if row["kind"] == kind]


def build(tool: Runner, *lines: str, code: int = 0) -> None:
    """Run command lines; the last one may end in another code than 0."""
    for line in lines:
        outcome = tool(*line.split())
        assert outcome.code == (code if line == lines[-1] else 0), f"{line}: {outcome.err}"


# ---- making files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ("--fs ext3", {"journal": "ordered", "method": "buffer", "ring": 1, "ino": None}),
        ("--fs ext3 --journal journalled", {"journal": "journalled", "method": "none"}),
        ("--fs tmpfs", {"journal": None, "method": "none", "ring": 0, "ino": 1}),
        ("--fs tmpfs --ino 9", {"ino": 9}),
        ("--fs ext2 --method fail --block-size 512", {"method": "fail", "ring": 8}),
        ("--fs nosuchfs", {"method": "none", "ring": 0}),
    ],
)
def test_what_a_new_file_is(machine: Runner, words: str, row: dict[str, Any]) -> None:
    """Two pages and a byte are three pages."""
    document = machine("file", "create", "/f", "8193", *words.split(), "--json").document
    assert document["size"] == 3
    assert {key: document[key] for key in row} == row
    assert files(machine)["/f"] == {key: document[key] for key in files(machine)["/f"]}


@pytest.mark.parametrize(
    ("line", "errno"),
    [
        ("file create /f 1p --fs ext2", "EEXIST"),
        ("file create /g 1p --fs ext2 --journal ordered", "EINVAL"),
        ("file create /g 1p --fs ext2 --block-size 3000", "EINVAL"),
        ("file create /g 1p --fs nfs --block-size 1024", "EINVAL"),
        ("file read /g", "ENOENT"),
        ("file write /g", "ENOENT"),
        ("file sync /g", "ENOENT"),
        ("file truncate /g 0", "ENOENT"),
        ("file read /f 1000", "EINVAL"),
        ("file write /f 1p@7", "EINVAL"),
        ("file read /f --by 999", "ESRCH"),
        ("mmap 100 1p --file /g", "ENOENT"),
        ("mmap 100 1p --file /f --offset 100", "EINVAL"),
        ("mmap 100 1p --file /f --shared --ino 3", "EINVAL"),
        ("mmap 100 1p --shm s --ino 3", "EINVAL"),
    ],
)
def test_refusals_change_nothing(machine: Runner, line: str, errno: str) -> None:
    machine("file", "create", "/f", "8p", "--fs", "ext2")
    before = machine("state", "hash").out
    outcome = machine(*line.split(), "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, errno)
    assert machine("state", "hash").out == before


@pytest.mark.parametrize(
    "line", ["file create /g 1p", "file create /g 1p --fs Ext/2", "file read /f 8p@", "file read /f p"]
)
def test_words_that_are_wrong(machine: Runner, line: str) -> None:
    assert machine(*line.split()).code == 2


# ---- reading and writing -------------------------------------------------------------------------------------------


def test_reading_ends_where_the_file_ends(machine: Runner) -> None:
    machine("file", "create", "/f", "8p", "--fs", "ext2")
    document = machine("file", "read", "/f", "8p@6p", "--json").document
    assert (document["pages"], document["cached"], document["read"]) == (2, 0, 2)
    assert machine("file", "read", "/f", "8p@8p", "--json").document["pages"] == 0


def test_a_reader_obeys_its_cpuset_and_policy(machine: Runner) -> None:
    """The task's policy, not CPU 0; the next turn is asked for also where there is no memory."""
    build(machine, "task create --pid 200 --node 1", "file create /f 2000p --fs ext2", "file read /f 3p --by 200")
    assert files(machine)["/f"]["nodes"] == {"1": 3}
    build(machine, "set-mempolicy 200 bind 1")
    outcome = machine("file", "read", "/f", "--by", 200, "--json")
    assert (outcome.code, outcome.document["errno"], outcome.document["index"]) == (1, "ENOMEM", 1000)
    assert outcome.document["committed"]
    assert files(machine)["/f"]["nodes"] == {"1": 1000}
    build(machine, "set-mempolicy 200 interleave 0-1")
    assert machine("file", "read", "/f", "--by", 200, "--json").document["index"] == 1984  # node 0 has 16 of task 100
    # Turns: 984 pages that were had and one that was not; 985 is odd, so node 1 is next.
    assert machine("get-mempolicy", 200, "--node", "--json").document["node"] == 1


def test_a_locked_page_makes_a_writer_wait_not_a_reader(machine: Runner) -> None:
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --file /f --label map", "fault 100 map")
    build(machine, "page lock 100 map+1p@3p", "file read /f")
    outcome = machine("file", "write", "/f", "--json")
    assert outcome.document["errno"] == "EBUSY"
    assert "page 3 is locked" in outcome.document["message"]
    build(machine, "file write /f 3p", "file write /f 4p@4p")
    for line in ("file sync /f", "file truncate /f 2p"):
        assert machine(*line.split(), "--json").document["errno"] == "EBUSY"
    build(machine, "file truncate /f 4p")
    build(machine, "page unlock 100", "page writeback 100 map+1p@3p", "file write /f")
    assert machine("file", "sync", "/f", "--json").document["errno"] == "EBUSY"


@pytest.mark.parametrize(("fs", "written", "dirty"), [("ext2", 4, 0), ("tmpfs", 0, 4), ("ramfs", 0, 4)])
def test_only_a_disk_is_synced(machine: Runner, fs: str, written: int, dirty: int) -> None:
    build(machine, f"file create /f 8p --fs {fs}", "file write /f 4p")
    document = machine("file", "sync", "/f", "--json").document
    assert (document["written"], document["dirty"]) == (written, dirty)


@pytest.mark.parametrize(
    ("journal", "flags"),
    [("ordered", ["busy", "dirty"]), ("journalled", ["busy", "dirty"]), ("writeback", ["dirty"])],
)
def test_a_journal_uses_the_buffers_until_the_sync(machine: Runner, journal: str, flags: list[str]) -> None:
    """Semantics.md 9a; what is cut off the file is no longer the journal's."""
    build(machine, f"file create /f 8p --fs ext3 --journal {journal}", "file write /f 4p")
    rows = machine("show", "buffers", "--json").document["buffers"]
    assert [(row["index"], row["pages"], row["flags"]) for row in rows] == [(0, 4, flags)]
    build(machine, "file truncate /f 2p", "file sync /f")
    rows = machine("show", "buffers", "--json").document["buffers"]
    assert [(row["pages"], row["flags"]) for row in rows] == [(2, [])]
    assert mappings(machine, "none") == []


def test_a_writer_that_is_not_there_waits_for_nothing(machine: Runner) -> None:
    """Who calls is looked up before what would be waited for."""
    build(machine, "file create /f 2p --fs ext2", "mmap 100 2p --file /f --shared --label map", "fault 100 map")
    build(machine, "page lock 100 map")
    assert machine("file", "write", "/f", "--by", 999, "--json").document["errno"] == "ESRCH"


@pytest.mark.parametrize(
    ("fs", "words", "flags"), [("ext2", "", ["busy"]), ("ext3", "", []), ("ext3", "--passes 9", ["busy"])]
)
def test_a_sync_ends_what_a_journal_uses_and_nothing_else(
    machine: Runner, fs: str, words: str, flags: list[str]
) -> None:
    """Ext2 has no journal: somebody else has the buffers. The journal of ext3 gives no pass at which it lets go."""
    build(
        machine,
        f"file create /f 4p --fs {fs}",
        "mmap 100 4p --file /f --shared --label map",
        "fault 100 map",
        f"page buffers 100 map --state busy {words}",
        "file sync /f",
    )
    assert [row["flags"] for row in machine("show", "buffers", "--json").document["buffers"]] == [flags]


def test_a_dirty_pte_dirties_the_buffers_when_it_goes(machine: Runner) -> None:
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --file /f --shared --label map", "fault 100 map --write")
    build(machine, "page buffers 100 map+2p --state idle", "munmap 100 map")
    rows = machine("show", "buffers", "--json").document["buffers"]
    assert [(row["pages"], row["flags"]) for row in rows] == [(2, ["dirty"])]
    assert files(machine)["/f"]["dirty"] == 8


@pytest.mark.parametrize(("profile", "flags"), [("v9", ["dirty"]), ("modern", [])])
def test_a_dirty_page_that_moves_dirties_its_clean_buffers(tool: Runner, profile: str, flags: list[str]) -> None:
    """V9's page_copy() dirties the new page through the mapping, after the ring (2.3); today the flag alone is set."""
    build(
        tool,
        f"init --nodes 2 --memory 100p --profile {profile}",
        "task create --pid 100",
        "file create /f 2p --fs ext2",
        "file write /f",
        "mmap 100 2p --file /f --shared --label map",
        "fault 100 map",
        "page buffers 100 map --state idle",
        "migrate-pages 100 0 1",
    )
    rows = tool("show", "buffers", "--json").document["buffers"]
    assert [(row["node"], row["flags"]) for row in rows] == [(1, flags)]


@pytest.mark.parametrize(("fs", "rings"), [("ext2", [(1, 4)]), ("bdev", [])])
def test_a_ring_goes_along_by_the_method_and_is_dropped_without_one(
    tool: Runner, fs: str, rings: list[tuple[int, int]]
) -> None:
    """2.2 l, 2.3: buffer_migrate_page() hands it over; of a mapping without a method clean pages move without."""
    build(
        tool,
        "init --nodes 2 --memory 100p",
        "task create --pid 100",
        f"file create f 4p --fs {fs}",
        "mmap 100 4p --shared --file f --label map",
        "fault 100 map",
        "page buffers 100 map --state idle",
        "migrate-pages 100 0 1",
    )
    assert files(tool)["f"]["nodes"] == {"1": 4}
    assert [(row["node"], row["pages"]) for row in tool("show", "buffers", "--json").document["buffers"]] == rings
    assert tool("check").code == 0


# ---- orphans -------------------------------------------------------------------------------------------------------


def test_a_pinned_page_outlives_its_place_in_the_file(machine: Runner) -> None:
    """Twice: two pages that were at index 3 belong to no file; each goes with the task that pins it."""
    build(machine, "file create /f 8p --fs ext2", "task create --pid 200 --node 1")
    for pid in (100, 200):
        build(machine, f"mmap {pid} 8p --file /f --shared --label map", f"fault {pid} map")
        build(machine, f"page pin {pid} map+1p@3p", "file truncate /f 0", "file truncate /f 8p")
    assert mappings(machine, "none") == [("/f", 2)]
    assert used(machine) == [16 + 1, 1]
    assert machine("check").code == 0
    build(machine, "task exit 100")
    assert mappings(machine, "none") == [("/f", 1)]
    build(machine, "page unpin 200")
    assert mappings(machine, "none") == []
    assert used(machine) == [0, 0]
    assert machine("check").code == 0


def test_buffers_in_use_keep_a_page_that_was_cut_off(machine: Runner) -> None:
    """Its ring cannot be dropped, and holds a reference, until a sync."""
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --file /f --shared --label map", "fault 100 map")
    build(machine, "page buffers 100 map+2p@4p --state busy")
    assert machine("file", "truncate", "/f", "4p", "--json").document["orphaned"] == 2
    assert mappings(machine, "none") == [("/f", 2)]
    assert machine("check").code == 0
    build(machine, "file sync /f")
    assert mappings(machine, "none") == []
    assert used(machine) == [16 + 4, 0]


def test_a_journal_lets_go_of_what_is_cut_off(machine: Runner) -> None:
    """Also where the page is on disk already: a migration wrote it, the transaction still has its buffers (1.4)."""
    build(
        machine,
        "file create /f 4p --fs ext3 --method none",
        "mmap 100 4p --file /f --shared --label map",
        "fault 100 map",
        "file write /f 1p@3p",
    )
    build(machine, "migrate-pages 100 0 1", code=3)
    assert files(machine)["/f"]["dirty"] == 0
    assert machine("file", "truncate", "/f", "2p", "--json").document["orphaned"] == 0
    assert machine("check").code == 0


def test_a_page_of_tmpfs_that_was_cut_off_gives_up_its_slot(machine: Runner) -> None:
    """It was moved through the swap cache (B11); a parked one stays, without a slot, until it is unparked."""
    build(machine, "file create /s 4p --fs tmpfs", "file write /s", "mmap 100 4p --file /s --shared --label map")
    build(machine, "fault 100 map", "migrate-pages 100 0 1")
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 4
    build(machine, "file truncate /s 2p")
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 2
    build(machine, "fault 100 map+1p", "page park 100 map+1p", "file truncate /s 0")
    assert mappings(machine, "none") == [("/s", 1)]
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 0
    assert machine("check").code == 0
    build(machine, "page unpark 100")
    assert mappings(machine, "none") == []
    assert machine("check").code == 0


def test_nameless_memory_goes_with_its_last_area(machine: Runner) -> None:
    """But for pages that somebody pins."""
    build(machine, "mmap 100 8p --shared --label s", "fault 100 s --write", "fork 100 --pid 101", "fork 100 --pid 102")
    build(machine, "fault 101 s", "page pin 101 s+2p", "munmap 100 s", "task exit 102")
    assert [pages for _, pages in mappings(machine, "shm")] == [8]
    build(machine, "munmap 101 s")
    assert mappings(machine, "shm") == []
    assert [pages for _, pages in mappings(machine, "none")] == [2]
    assert machine("check").code == 0
    build(machine, "page unpin 101")
    assert mappings(machine, "none") == []
    assert used(machine) == [16, 0]
    assert machine("check").code == 0


# ---- areas ---------------------------------------------------------------------------------------------------------


def test_areas_of_a_file_merge_where_it_goes_on(machine: Runner) -> None:
    """Index minus address is the same; a gap in the file, or another file, keeps them apart."""
    build(machine, "file create /f 20p --fs ext2", "file create /g 20p --fs ext2")
    for addr, path, offset in ((0x20000, "/f", 0), (0x20004, "/f", 4), (0x20008, "/f", 9), (0x2000C, "/g", 13)):
        build(machine, f"mmap 100 4p --file {path} --offset {offset}p --addr {addr << 12:#x}")
    rows = machine("show", "vmas", 100, "--json").document["vmas"]
    assert [(row["addr"], row["pages"], row["file"]) for row in rows if row["kind"] == "file"] == [
        ("0x20000000", 8, "/f"),
        ("0x20008000", 4, "/f"),
        ("0x2000c000", 4, "/g"),
    ]


@pytest.mark.parametrize("kind", ["--io", "--pfnmap", "--hugetlb"])
@pytest.mark.parametrize("write", [[], ["--write"]])
def test_faults_on_devices_and_huge_areas_leave_nothing(machine: Runner, kind: str, write: list[str]) -> None:
    build(machine, f"mmap 100 512p {kind} --label dev")
    document = machine("fault", 100, "dev", *write, "--json").document
    assert (document["errno"], sum(document["faults"].values()), document["nodes"]) == (None, 0, [])
    assert machine("get-mempolicy", 100, "0x10200000", "--node", "--json").document["errno"] == "EFAULT"
    assert machine("check").code == 0


@pytest.mark.parametrize("profile", ["v9", "modern"])
def test_mlock_behind_the_end_of_a_file(tool: Runner, profile: str) -> None:
    """ENOMEM, not a signal; the area is locked. A 6.x kernel populates shared areas by reading."""
    build(
        tool,
        f"init --nodes 1 --memory 100p --profile {profile}",
        "task create --pid 100",
        "file create /f 4p --fs ext2",
        "mmap 100 8p --file /f --shared --label map",
    )
    outcome = tool("mlock", 100, "map", "--json")
    assert (outcome.document["errno"], outcome.document.get("signal")) == ("ENOMEM", None)
    row = tool("show", "vmas", 100, "--json").document["vmas"][0]
    assert "locked" in row["flags"]
    assert row["nodes"] == {"0": 4}
    pages = tool("show", "pages", 100, "map+4p", "--json").document["vmas"][0]["pages"]
    assert [("dirty" in row["flags"], row["pages"]) for row in pages] == [(profile == "v9", 4)]


def test_protection_of_a_shared_area(machine: Runner) -> None:
    """Write permission comes back with the next write, in place; a private page is copied."""
    build(machine, "file create /f 8p --fs ext2")
    build(machine, "mmap 100 8p --file /f --shared --label shared", "mmap 100 8p --file /f --label private")
    build(machine, "fault 100 shared --write", "fault 100 private", "mprotect 100 shared r")
    assert machine("fault", 100, "shared", "--write", "--json").document["signal"] == "SIGSEGV"
    build(machine, "mprotect 100 shared rw")
    assert machine("fault", 100, "shared", "--write", "--json").document["faults"]["reuse"] == 8
    assert machine("fault", 100, "private", "--write", "--json").document["faults"]["cow"] == 8
    assert machine("check").code == 0


def test_a_task_that_maps_a_file_twice_shares_its_pages_with_itself(machine: Runner) -> None:
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --file /f --label a --shared --addr 0x20000000")
    build(machine, "mmap 100 6p --file /f --offset 2p --label b --shared --addr 0x30000000", "fault 100 b+3p --write")
    build(machine, "fault 100 a")
    rows = machine("show", "pages", 100, "a", "--json").document["vmas"][0]["pages"]
    assert [(row["pages"], row["mapcount"]) for row in rows] == [(2, 1), (3, 2), (3, 1)]
    build(machine, "munmap 100 0x20003000+1p")
    rows = machine("show", "pages", 100, "b", "--json").document["vmas"][0]["pages"]
    assert [(row["pages"], row["mapcount"]) for row in rows[:3]] == [(1, 2), (1, 1), (1, 2)]
    assert machine("check").code == 0


def test_a_segment_grows_to_the_largest_size_asked(machine: Runner) -> None:
    """A fault behind the end of a smaller mapping's object finds its pages; the name may be a path."""
    build(
        machine, "mmap 100 4p --shm seg --label a", "mmap 100 8p --shm /dev/shm/seg --label b", "mmap 100 2p --shm seg"
    )
    assert files(machine)["/dev/shm/seg"]["size"] == 8
    build(machine, "fault 100 b --write", "fault 100 a")
    assert machine("show", "pages", 100, "a", "--json").document["vmas"][0]["pages"][0]["mapcount"] == 2


def test_a_page_of_tmpfs_comes_back_from_swap_to_its_object(machine: Runner) -> None:
    """In the swap cache: with its slot, to where it is; out of memory: read to where the faulting task is; dirty."""
    build(machine, "task create --pid 200 --node 1", "file create /s 4p --fs tmpfs", "file write /s")
    build(machine, "mmap 100 4p --file /s --shared --label map", "mmap 200 4p --file /s --shared --label map")
    build(machine, "fault 100 map", "swap out 100 map")
    assert files(machine)["/s"]["cached"] == 0
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 4
    document = machine("fault", 200, "map+3p", "--json").document
    assert (document["faults"]["swapin"], document["faults"]["file"], document["major"]) == (3, 0, 3)
    assert files(machine)["/s"]["nodes"] == {"1": 3}
    assert files(machine)["/s"]["dirty"] == 3
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 1
    build(machine, "file read /s")
    assert files(machine)["/s"]["nodes"] == {"0": 1, "1": 3}
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 0
    assert machine("check").code == 0


def test_a_private_copy_of_tmpfs_takes_its_page_out_of_the_swap_cache(machine: Runner) -> None:
    """The write looks the page up before it copies it, so it returns to its object and gives its slot up (6.3)."""
    build(machine, "file create /s 4p --fs tmpfs", "file write /s", "mmap 100 4p --file /s --label map")
    build(machine, "fault 100 map", "migrate-pages 100 0 1")
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 4
    assert machine("fault", 100, "map+3p", "--write", "--json").document["faults"]["cow"] == 3
    assert machine("show", "swap", "--json").document["areas"][0]["used"] == 1
    assert machine("check").code == 0


def test_move_pages_tells_where_a_page_of_a_file_landed(tool: Runner) -> None:
    """V9 falls back by distance (B18), and the pte of a file's page is gone by then."""
    build(
        tool,
        "init --nodes 3 --memory 100p,2p,100p",
        "task create --pid 100 --node 2",
        "task create --pid 101 --node 1",
        "mmap 101 2p --label heap",
        "fault 101 heap --write",
        "file create /f 1p --fs ext2",
        "mmap 100 1p --file /f --shared --addr 0x10000000",
        "fault 100 0x10000000+1p",
    )
    (status,) = tool("move-pages", 100, "0x10000000=1", "--json").document["status"]
    (landed,) = files(tool)["/f"]["nodes"]
    assert landed != "1"
    assert (status["node"], status["errno"]) == (int(landed), None)


def test_a_pte_that_the_posted_patches_drop_dirties_its_page(tool: Runner) -> None:
    """B8 as posted: the dirty pte of task 100 goes before the locked one of 101 is met; nothing else knows (1.8)."""
    build(
        tool,
        "init --nodes 2 --memory 100p --profile v9-posted",
        "task create --pid 100",
        "task create --pid 101",
        "file create /f 2p --fs ext2",
        "mmap 100 2p --file /f --shared --label map",
        "mmap 101 2p --file /f --shared --label map",
        "fault 100 map --write",
        "mlock 101 map",
    )
    assert files(tool)["/f"]["dirty"] == 0
    build(tool, "migrate-pages 100 0 1", code=3)
    assert files(tool)["/f"]["dirty"] == 2
    assert tool("check").code == 0


@pytest.mark.parametrize(
    ("profile", "moved", "skipped", "capability"), [("v9", 2, 0, "sys_nice"), ("v9-posted", 0, 2, "sys_admin")]
)
def test_who_is_privileged_takes_shared_pages_but_not_as_posted(
    tool: Runner, profile: str, moved: int, skipped: int, capability: str
) -> None:
    """B7: migrate_pages(2) as posted always asked for MOVE, and for another capability; mbind has its MOVE_ALL."""
    build(
        tool,
        f"init --nodes 2 --memory 100p --profile {profile}",
        "file create /f 2p --fs ext2",
        "task create --pid 100",
        "task create --pid 101",
        "mmap 100 2p --file /f --prot r --label map",
        "mmap 101 2p --file /f --prot r --label map",
        "fault 100 map",
        "fault 101 map",
        "task create --pid 7 --uid 7 --cap sys_nice",
        "task create --pid 8 --uid 7 --cap sys_admin",
    )
    for pid, cap in ((7, "sys_nice"), (8, "sys_admin")):
        found = tool("migrate-pages", 100, 0, 1, "--by", pid, "--dry-run", "--json").document
        assert found["errno"] == (None if cap == capability else "EPERM")
    found = tool("migrate-pages", 100, 0, 1, "--json").document
    assert (found["moved"], found["skipped"], {why["reason"] for why in found["skips"]}) == (
        moved,
        skipped,
        {"shared"} if skipped else set(),
    )
    build(tool, "fault 100 map")
    assert tool("mbind", 100, "map", "bind", 1, "--move-all", "--json").document["moved"] == 2 - moved


def test_parking_says_that_passes_mean_nothing(machine: Runner) -> None:
    """isolate_lru_page() comes before the passes (2.1)."""
    assert "page unpark" in machine("page", "park", 100, "heap+1p", "--passes", 3).err
    found = machine("migrate-pages", 100, 0, 1, "--json").document
    assert (found["moved"], found["skips"][0]["reason"]) == (15, "off-lru")


def test_fault_around_leaves_a_locked_page_out(tool: Runner) -> None:
    """Today's kernel tries each page's lock there and goes on without it; the touched one is another page."""
    build(
        tool,
        "init --nodes 1 --memory 100p --profile modern",
        "task create --pid 100",
        "task create --pid 200",
        "file create /f 8p --fs ext2",
        "file write /f",
        "mmap 100 8p --file /f --shared --addr 0x10000000 --label map",
        "fault 100 map+1p",
        "page lock 100 map+1p@2p",
        "mmap 200 8p --file /f --shared --addr 0x10000000 --label map",
        "fault 200 map+1p",
    )
    rows = tool("show", "pages", 200, "map", "--json").document["vmas"][0]["pages"]
    assert [(row["addr"], row["pages"], row["state"]) for row in rows] == [
        ("0x10000000", 2, "present"),
        ("0x10002000", 1, "absent"),
        ("0x10003000", 5, "present"),
    ]


@pytest.mark.parametrize(("profile", "shown"), [("v9", "default"), ("modern", "interleave:1")])
def test_numa_maps_asks_shared_memory_for_its_policy(tool: Runner, profile: str, shown: str) -> None:
    """
    What another mapping has reset is gone from the object; a private area is asked the same way (6.1).

    A 6.1 kernel does not reset it through an area that has no policy of its own (rule 50).
    """
    build(
        tool,
        f"init --nodes 3 --memory 100p --profile {profile}",
        "task create --pid 100",
        "file create /s 4p --fs tmpfs",
        "mmap 100 4p --file /s --label private",
        "mmap 100 4p --file /s --shared --label shared",
        "mbind 100 private interleave 1",
        "mbind 100 shared default",
        "set-mempolicy 100 bind 2",
    )
    lines = tool("numa-maps", 100, "--json").document["lines"]
    assert [line["policy"] for line in lines] == [shown, shown]


@pytest.mark.parametrize(("free", "errno", "cached"), [(3, "ENOMEM", 3), (4, "EBUSY", 0)])
def test_a_fault_tells_the_first_error_in_address_order(tool: Runner, free: int, errno: str, cached: int) -> None:
    """The page behind the fourth is locked: with less memory than that the fault never comes to it."""
    build(
        tool,
        "init --nodes 1 --memory 10p --profile modern",
        "task create --pid 100",
        "file create /f 8p --fs ramfs",
        "file read /f 1p@4p",
        "mmap 100 8p --file /f --shared --label map",
        "madvise 100 map random",
        "fault 100 map+1p@4p",
        "page lock 100 map+1p@4p",
        "task create --pid 200",
        f"mmap 200 {9 - free}p --label heap",
        "fault 200 heap --write",
        "mmap 200 8p --file /f --shared --label map",
        "madvise 200 map random",
    )
    found = tool("fault", 200, "map+8p", "--json")
    assert (found.code, found.document["errno"]) == (1, errno)
    assert files(tool)["/f"]["cached"] == cached + 1
    assert tool("check").code == 0


def test_writeback_of_a_clean_page_of_a_file(machine: Runner) -> None:
    """It is in a tree (INV-15); parking and pinning work as for any page."""
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --file /f --shared --label map", "fault 100 map")
    for kind in ("writeback", "park", "lock", "pin"):
        build(machine, f"page {kind} 100 map+2p --passes 3")
    flags = machine("show", "pages", 100, "map+2p", "--json").document["vmas"][0]["pages"][0]["flags"]
    assert {"writeback", "parked", "locked", "pinned"} <= set(flags)
    assert machine("check").code == 0


def test_a_dirty_pte_dirties_the_buffers_when_its_page_moves(tool: Runner) -> None:
    """semantics.md 1.8: what the pte knows goes to the page through the mapping, and so to the buffers."""
    build(
        tool,
        "init --nodes 2 --memory 60p",
        "task create --pid 101",
        "file create /f 2p --fs ext2",
        "mmap 101 2p --file /f --shared --label a",
        "fault 101 a --write",
        "page buffers 101 a --state busy",
        "migrate-pages 101 0 1",
    )
    (ring,) = tool("show", "buffers", "--json").document["buffers"]
    assert (ring["node"], ring["pages"], "dirty" in ring["flags"]) == (1, 2, True)


@pytest.mark.parametrize("command", ["migrate-pages 100 0 1", "mbind 100 a bind 1 --move"])
@pytest.mark.parametrize("nr_pass", [0, 4, 5, 10])
def test_a_ring_that_is_let_go_late_costs_the_page_its_memory_from_pass_5_on(
    tool: Runner, command: str, nr_pass: int
) -> None:
    """9a, 2.2 n: the second question is swap_page()'s, and before pass 5 it is not asked."""
    build(
        tool,
        "init --nodes 2 --memory 100p",
        "task create --pid 100 --node 0",
        "file create f 4p --fs bdev",
        "mmap 100 4p --shared --file f --label a",
        "file write f",
        "file sync f",
        "fault 100 a",
        f"page buffers 100 a+1p@1p --state busy --passes {nr_pass} --late",
    )
    found = tool(*command.split(), "--json").document
    gone = int(nr_pass >= 5)
    assert (found["moved"], found["swapped"], found["failed"], found["return"]) == (4 - gone, gone, 0, 0)
    assert found["passes"] == (nr_pass + 1 if gone else nr_pass + 2)
    assert tool("file", "list", "--json").document["files"][0]["cached"] == 4 - gone
    assert [row["free"] for row in tool("node", "list", "--json").document["nodes"]] == [100, 96 + gone]
    assert tool("check").code == 0
    assert tool("fault", 100, "a", "--json").document["faults"]["file"] == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--state idle --passes 3", 0),
        ("--state dirty --passes 3", 0),
        ("--state busy --passes 3 --late", 0),
        ("--state busy --late", 2),
        ("--state locked --passes 3 --late", 2),
        ("--state idle --passes 3 --late", 2),
    ],
)
def test_words_of_page_buffers(machine: Runner, words: str, code: int) -> None:
    """`--passes` parses with every state; idle and dirty buffers are what they are at once."""
    build(machine, "file create /f 8p --fs ext2", "mmap 100 8p --shared --file /f --label map", "fault 100 map")
    assert machine("page", "buffers", 100, "map", *words.split()).code == code
    rows = machine("show", "buffers", "--json").document["buffers"]
    state = words.split()[1]
    assert [row["flags"] for row in rows] == ([] if code else [[] if state == "idle" else [state]])


@pytest.mark.parametrize("name", ["", "/"])
def test_a_segment_has_a_name(tool: Runner, name: str) -> None:
    """Else all that say nothing would share one; shm_open(3) answers EINVAL."""
    build(tool, "init --nodes 1", "task create --pid 100")
    outcome = tool("mmap", 100, "1p", "--shm", name, "--json")
    assert (outcome.code, outcome.document["errno"]) == (1, "EINVAL")
