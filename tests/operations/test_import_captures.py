"""
What a 6.1 kernel showed of a process before and after a call: imported, called here, and compared.

``captures.tar.gz`` has raw files of /proc and /sys: ``n2`` is the machine, of two nodes; each other folder is one
process at one moment, to be laid over it.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import Runner
from tests.operations.trees import done, loaded, text_of

CAPTURES = Path(__file__).with_name("captures.tar.gz")

CHAINS = {
    "cpuset": (["cpuset.capture"], [("cpuset", "move", 203, "/hi")]),
    "migrate-pages": (["migrate-pages.capture"], [("migrate-pages", 391, 0, 1)]),
    "policies": (
        ["special.capture-policies", "special.capture-policies.child"],
        [("cpuset", "move", 608, "/c"), ("migrate-pages", 608, 0, 1)],
    ),
}
"""The processes of each, and the calls between before and after; the child of the last is not moved itself."""


def laid_over(root: Path, names: Sequence[str]) -> Path:
    """The machine with some processes."""
    with tarfile.open(CAPTURES) as archive:
        for name in ("n2", *names):
            for member in archive:
                inner = member.name.removeprefix(f"./{name}/")
                if member.isfile() and inner != member.name:
                    content = archive.extractfile(member)
                    assert content is not None
                    (root / inner).parent.mkdir(parents=True, exist_ok=True)
                    (root / inner).write_bytes(content.read())
    return root


def moment(name: str, when: str) -> str:
    """The folder of a process, such as ``n2.cpuset.capture.before``; of a child ``...child-before``."""
    return f"n2.{name.removesuffix('.child')}.{'child-' if name.endswith('.child') else ''}{when}"


def shown(root: Path) -> dict[int, list[str]]:
    """The numa_maps of the processes in a tree, without the lines of huge pages."""
    texts = {int(path.parent.name): path.read_text() for path in sorted(root.glob("proc/*/numa_maps"))}
    return {pid: [line for line in text.splitlines() if " huge " not in line] for pid, text in texts.items()}


@pytest.mark.parametrize("chain", CHAINS)
def test_captured_call_does_here_what_it_did_there(tool: Runner, tmp_path: Path, chain: str) -> None:
    """
    Every line agrees with the kernel's, but for those of huge pages. The child, whose own copies are not moved with its
    parent's pages, agrees too: which of its pages are shared is told by mapmax and smaps.
    """
    names, calls = CHAINS[chain]
    before = laid_over(tmp_path / "before", [moment(name, "before") for name in names])
    after = laid_over(tmp_path / "after", [moment(name, "after") for name in names])
    assert loaded(tool, before)["profile"] == "modern", "the tree tells of a kernel 6.1"
    mine = {pid: [line for line in text_of(tool, pid).splitlines() if " huge " not in line] for pid in shown(before)}
    assert mine == shown(before)
    for call in calls:
        done(tool(*call, "--json"))
    mine = {pid: [line for line in text_of(tool, pid).splitlines() if " huge " not in line] for pid in shown(after)}
    assert mine == shown(after)
    assert len(mine) == len(names)
    assert done(tool("check", "--json"))["violations"] == []
