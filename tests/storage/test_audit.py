"""States broken by hand are named by ``check``: each invariant that a wrong program can break, and it alone."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from migratectl.cli import run
from migratectl.storage.audit import RULES

STORY = """
init --nodes 3 --memory 1000p --swap 1000p
task create --pid 100 --name db --node 0
mmap 100 16p --addr 0x10000000 --label heap
mmap 100 16p --addr 0x20000000 --label more
fault 100 heap --write
page pin 100 0x10004000+1p
page lock 100 0x10008000+2p
task create --pid 200 --name web --node 1
set-mempolicy 200 interleave 0-1
mmap 200 20p --addr 0x10000000 --label data
fault 200 data --write
mmap 200 4p --addr 0x30000000 --label zeros
fault 200 zeros
migrate-pages 100 0 2
"""
"""
Task 100: pages 0x10000 to 0x1000f on node 2, but for one pinned page on node 0 that has a swap entry now, and two that
are locked for ever. Task 200: 20 pages that lie on 0 and 1 by turns, 4 zero pages.
"""


def tell(path: Path, *words: str, script: str = "") -> tuple[int, str]:
    """Exit code and standard output of a command line."""
    out, err = io.StringIO(), io.StringIO()
    code = run(["-s", str(path), *words], out, err, io.StringIO(script))
    return code, out.getvalue()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with something of everything that anonymous memory has; nothing is wrong with it."""
    path = tmp_path_factory.mktemp("audit") / "sound.db"
    assert tell(path, "batch", "-", "--keep-going", script=STORY)[0] in (0, 3)
    return path


@dataclass(frozen=True)
class Damage:
    """What is done to the file, which invariants must be named then, and words of the sentences."""

    sql: str
    named: set[str]
    words: str = ""


PINNED = "(SELECT page FROM holds WHERE kind = 'pin')"
LOCKED = "(SELECT page FROM holds WHERE kind = 'lock')"
PLAIN = "(SELECT min(id) FROM pages WHERE node = 2 AND lock IS NULL)"
STRIDED = "(SELECT max(id) FROM pages WHERE step = 2)"
ZERO = "(SELECT id FROM pages WHERE mapping = (SELECT id FROM mappings WHERE kind = 'zero'))"
CHILD = "(SELECT mm FROM tasks WHERE pid = 200)"
MM = "(SELECT mm FROM tasks WHERE pid = 100)"
FILE = "INSERT INTO mappings(id, kind, name, method) VALUES (50, 'file', '/lib', 'page');"
CACHE = "INSERT INTO pages(id, mapping, first, count, step, node, origin, origin_first) VALUES"

BROKEN: dict[str, Damage] = {
    "a slot counted twice": Damage(
        "UPDATE swap_areas SET used = used + 1", {"INV-03"}, "swap0: slots counted as used: 2,"
    ),
    "a slot not counted": Damage("UPDATE swap_areas SET used = 0", {"INV-03"}, "swap0: slots counted as used: 0,"),
    "a swap entry forgotten": Damage(f"UPDATE pages SET area = NULL WHERE id = {PINNED}", {"INV-03"}),
    "a page of another family": Damage(
        f"UPDATE pages SET mapping = (SELECT anon FROM mms WHERE id = {CHILD}) WHERE id = {PLAIN}", {"INV-06"}
    ),
    "an index that does not fit the address": Damage(
        f"UPDATE pages SET first = first + 1, origin_first = origin_first + 1 WHERE id = {PINNED}", {"INV-06"}
    ),
    "an area of another mapping": Damage(
        f"{FILE} {CACHE} (900, 50, 0, 1, 1, 0, 50, 0); UPDATE nodes SET used = used + 1 WHERE id = 0;"
        f"INSERT INTO ptes(mm, addr, page, reach) VALUES ({MM}, {0x20000}, 900, 0)",
        {"INV-10", "INV-06"},
        "page row 900",
    ),
    "a lock that nobody holds": Damage(f"UPDATE pages SET lock = 3 WHERE id = {PLAIN}", {"INV-09"}),
    "a holder whose page is free": Damage(f"UPDATE pages SET lock = NULL WHERE id = {LOCKED}", {"INV-09"}),
    "another release pass": Damage(f"UPDATE pages SET lock = 3 WHERE id = {LOCKED}", {"INV-09"}),
    "one pin too many": Damage(f"UPDATE pages SET pins = pins + 1 WHERE id = {PINNED}", {"INV-09"}),
    "a pin without a holder": Damage("DELETE FROM holds WHERE kind = 'pin'", {"INV-09"}),
    "parked by nobody": Damage(f"UPDATE pages SET parked = 1 WHERE id = {PLAIN}", {"INV-09"}),
    "writeback by nobody": Damage(f"UPDATE pages SET writeback = 2 WHERE id = {PINNED}", {"INV-09"}),
    "present pages counted twice": Damage("UPDATE resident SET pages = 2 * pages", {"INV-10"}, "counted as present"),
    "present pages not counted": Damage("DELETE FROM resident", {"INV-10"}, "counted as present on node"),
    "used pages of a node": Damage("UPDATE nodes SET used = used + 1 WHERE id = 1", {"INV-10"}, "node 1"),
    "used pages below what lies there": Damage("UPDATE nodes SET used = 0 WHERE id = 2", {"INV-10"}, "node 2"),
    "a page counted on the wrong node": Damage(f"UPDATE pages SET node = 1 WHERE id = {PINNED}", {"INV-10"}),
    "pages on an offline node": Damage(
        # Fallback lists are made from the nodes that are online, so the lists of the others are wrong too.
        "UPDATE nodes SET online = 0 WHERE id = 2",
        {"INV-10", "fallback"},
        "which is offline",
    ),
    "areas that overlap": Damage(
        f'UPDATE vmas SET "end" = {0x20001} WHERE mm = {MM} AND start = {0x10000}', {"INV-13"}, "overlap"
    ),
    "ptes beyond an area": Damage(
        f'UPDATE vmas SET "end" = "end" - 1 WHERE mm = {MM} AND start = {0x10000}', {"INV-13"}, "reach beyond"
    ),
    "ptes that are not found where their run ends": Damage(
        f"UPDATE ptes SET reach = 0 WHERE page = {STRIDED}", {"INV-13"}, "indexed by how far"
    ),
    "ptes in no area": Damage(
        # The label of the vanished area names nothing now.
        f"DELETE FROM vmas WHERE mm = {MM} AND start = {0x10000}",
        {"INV-13", "label"},
    ),
    "two ptes at one address": Damage(
        # The odd pages, all but the last, take the places of even ones.
        f"UPDATE ptes SET addr = addr + 1 WHERE page = {STRIDED};"
        f"UPDATE nodes SET used = used - 1 WHERE id = (SELECT node FROM pages WHERE id = {STRIDED});"
        "UPDATE pages SET first = first + 1, origin_first = origin_first + 1, count = count - 1"
        f" WHERE id = {STRIDED}",
        {"INV-10", "INV-13"},
        "two ptes at page 65538",
    ),
    "two pages at one index of a file": Damage(
        f"{FILE} {CACHE} (900, 50, 0, 4, 3, 0, 50, 0), (901, 50, 1, 3, 5, 0, 50, 1);"
        "UPDATE nodes SET used = used + 7 WHERE id = 0",  # 0 3 6 9 and 1 6 11
        {"INV-05"},
        "two pages at index 6",
    ),
    "a cache page beyond the end of its file": Damage(
        f"{FILE} UPDATE mappings SET size = 4 WHERE id = 50; {CACHE} (900, 50, 0, 2, 4, 0, 50, 0);"
        "UPDATE nodes SET used = used + 2 WHERE id = 0",
        {"INV-05"},
        "a cache page of '/lib' at index 4, and the pages of the file: 4",
    ),
    "a page of no file that is mapped": Damage(
        # Its area maps something else, too, and nobody holds it.
        f"{FILE} UPDATE mappings SET kind = 'none' WHERE id = 50; {CACHE} (900, 50, 0, 1, 1, 0, 50, 0);"
        "UPDATE nodes SET used = used + 1 WHERE id = 0;"
        f"INSERT INTO ptes(mm, addr, page, reach) VALUES ({MM}, {0x20000}, 900, 0)",
        {"INV-10", "INV-05", "INV-06", "run-unmapped"},
        "no file has it any more",
    ),
    "buffers on an anonymous page": Damage(
        f"INSERT INTO buffers(page, ring) VALUES ({PLAIN}, 1)", {"INV-07"}, "a page of its mapping has 0"
    ),
    "another ring than its file system's": Damage(
        f"{FILE} UPDATE mappings SET ring = 4 WHERE id = 50; {CACHE} (900, 50, 0, 1, 1, 0, 50, 0);"
        "UPDATE nodes SET used = used + 1 WHERE id = 0; INSERT INTO buffers(page, ring) VALUES (900, 2)",
        {"INV-07"},
        "page row 900: has 2 buffers, and a page of its mapping has 4",
    ),
    "buffers on a page with a swap entry": Damage(
        f"UPDATE mappings SET ring = 1 WHERE id = (SELECT mapping FROM pages WHERE id = {PINNED});"
        f"INSERT INTO buffers(page, ring) VALUES ({PINNED}, 1)",
        {"INV-07"},
        "both of which need its private field",
    ),
    "a raw area that maps a page": Damage(
        f"UPDATE vmas SET flags = flags | 128 WHERE mm = {MM} AND start = {0x10000}", {"INV-14"}
    ),
    "a device area that maps a page": Damage(
        f"UPDATE vmas SET flags = flags | 32 WHERE mm = {MM} AND start = {0x10000}", {"INV-14"}
    ),
    "writeback outside the swap cache": Damage(
        f"UPDATE pages SET writeback = 2 WHERE id = {PLAIN};"
        f"INSERT INTO holds(page, pid, kind, passes) VALUES ({PLAIN}, 100, 'writeback', 2)",
        {"INV-15"},
    ),
    "content that is nowhere": Damage(
        f"UPDATE nodes SET used = used - (SELECT count FROM pages WHERE id = {PLAIN}) WHERE id = 2;"
        f"UPDATE pages SET node = NULL WHERE id = {PLAIN}",
        {"INV-10", "INV-16"},
        "neither on a node nor in swap",
    ),
    "a swap pte of a page without a slot": Damage(
        f"UPDATE ptes SET present = 0, young = 0, dirty = 0, writable = 0 WHERE page = {PLAIN}",
        {"INV-10", "INV-16"},
        "say present or swapped",
    ),
    "a present pte of a page that is swapped out": Damage(
        f"UPDATE nodes SET used = used - 1 WHERE id = 0; UPDATE pages SET node = NULL WHERE id = {PINNED}",
        {"INV-10", "INV-16"},
        "say present or swapped",
    ),
    "another page's content": Damage(
        f"UPDATE pages SET origin_first = origin_first + 1 WHERE id = {PLAIN}", {"INV-19"}, "its content is that of"
    ),
    "content of a mapping that is gone": Damage(f"UPDATE pages SET origin = 99 WHERE id = {PLAIN}", {"INV-19"}, "gone"),
    "pages that nobody maps": Damage(f"DELETE FROM ptes WHERE page = {PLAIN}", {"INV-10", "run-unmapped"}),
    "pages of no file that nobody holds": Damage(
        f"{FILE} UPDATE mappings SET kind = 'none' WHERE id = 50; {CACHE} (900, 50, 0, 1, 1, 0, 50, 0);"
        "UPDATE nodes SET used = used + 1 WHERE id = 0",
        {"run-unmapped"},
        "no file has any more and nobody holds",
    ),
    "zero pages that nobody maps": Damage(f"DELETE FROM ptes WHERE page = {ZERO}", {"run-unmapped"}),
    "a single page with a step": Damage(f"UPDATE pages SET step = 2 WHERE id = {PINNED}", {"run-shape"}),
    "a run of nothing": Damage(
        f"UPDATE nodes SET used = used - 1 WHERE id = 0; UPDATE swap_areas SET used = 0;"
        f"UPDATE pages SET count = 0 WHERE id = {PINNED}",
        {"INV-10", "run-shape", "INV-13"},
    ),
    "a label of nothing": Damage(
        f"UPDATE labels SET start = 1, \"end\" = 2 WHERE name = 'more' AND mm = {MM}", {"label"}
    ),
    "a hold of no task": Damage("UPDATE holds SET pid = 999 WHERE kind = 'lock'", {"reference"}, "holds"),
    "a pte of no page": Damage(
        f"INSERT INTO ptes(mm, addr, page, reach) VALUES ({MM}, {0x20000}, 999, 0)", {"reference"}, "table ptes"
    ),
    "a next node outside of the policy": Damage("UPDATE tasks SET il_next = 2 WHERE pid = 200", {"INV-17"}, "node 2"),
    "no next node": Damage("UPDATE tasks SET il_next = NULL WHERE pid = 200", {"INV-17"}),
    "a cpuset with more than its parent": Damage(
        "INSERT INTO cpusets(name, cpus, mems) VALUES ('/lo', '0', '0,7')", {"INV-18"}, "/lo"
    ),
    "a cpuset with more than the one above it": Damage(
        "INSERT INTO cpusets(name, cpus, mems) VALUES ('/lo', '0', '0'), ('/lo/x', '0', '0-1')", {"INV-18"}, "/lo/x"
    ),
    "a fallback list in another order": Damage(
        "UPDATE nodes SET zonelist = '0,2,1' WHERE id = 0", {"fallback"}, "node 0"
    ),
}


def check(path: Path) -> tuple[int, list[dict[str, str]]]:
    """Exit code and violations of ``check``."""
    code, out = tell(path, "check", "--json")
    return code, json.loads(out)["violations"]


def damage(sound: Path, tmp_path: Path, sql: str) -> Path:
    """A copy of the sound state with something done to it that no constraint lets pass."""
    path = tmp_path / "broken.db"
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA ignore_check_constraints = 1")
        plain.executescript(sql)
        assert plain.total_changes > 0, "the damage found no row"
    return path


def test_nothing_is_wrong_with_the_sound_state(sound: Path) -> None:
    """Nor is it empty: what the damages look for is there."""
    assert check(sound) == (0, [])
    with closing(sqlite3.connect(sound)) as plain:
        for row in (PINNED, LOCKED, PLAIN, STRIDED, ZERO, CHILD, MM):
            (found,) = plain.execute(f"SELECT {row}").fetchone()
            assert found is not None, row
        assert plain.execute("SELECT used FROM swap_areas").fetchone() == (1,)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_state_is_named(sound: Path, tmp_path: Path, broken: Damage) -> None:
    code, violations = check(damage(sound, tmp_path, broken.sql))
    assert code == 5
    assert {violation["invariant"] for violation in violations} == broken.named
    assert any(broken.words in violation["message"] for violation in violations)


def test_every_rule_has_a_state_that_breaks_it(sound: Path, tmp_path: Path) -> None:
    """Each query, not only each name, finds a row in one of the states above."""
    silent = {rule.sentence for rule in RULES}
    for number, broken in enumerate(BROKEN.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with closing(sqlite3.connect(damage(sound, folder, broken.sql))) as plain:
            silent -= {rule.sentence for rule in RULES if plain.execute(rule.query).fetchone()}
    assert silent == set()


def test_the_words_name_what_is_wrong_to_a_reader(sound: Path, tmp_path: Path) -> None:
    """Without ``--json``: exit 5, and the number and the sentence in plain text."""
    path = damage(sound, tmp_path, BROKEN["a slot counted twice"].sql)
    code, out = tell(path, "check")
    assert code == 5
    assert "INV-03" in out
    assert "swap0" in out


def test_what_check_counted(sound: Path) -> None:
    """32 pages of task 100 are mapped 16 of them touched; task 200 has 20 and 4 zero pages."""
    checked = json.loads(tell(sound, "check", "--json")[1])["checked"]
    assert checked["pages"] == 16 + 20 + 4
    assert (checked["nodes"], checked["tasks"], checked["vmas"], checked["holds"]) == (3, 2, 4, 2)
