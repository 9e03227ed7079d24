"""A small machine to talk to, for the tests of the model."""

from __future__ import annotations

from .base import Document
from .machine import Machine
from .model import Model

TWO = ("--nodes", "2", "--memory", "50p")


class Session:
    """A model with one task on node 0, an area of `pages` written pages at NEAR, and words to talk to it."""

    def __init__(self, *init: str, pages: int = 4, chunk: int = 256) -> None:
        self.model = Model(chunk)
        self("init", *init)
        self("task", "create", "--pid", "7", "--node", "0")
        self("mmap", "7", f"{pages}p", "--addr", "0x10000", "--label", "v")
        self("fault", "7", "v", "--write")

    def __call__(self, *argv: str) -> Document:
        return self.model.run(list(argv))

    def places(self) -> list[int | None]:
        """The node of every page, by address."""
        return [row[1] for _, row in sorted(self.pages().items())]

    def pages(self, pid: int = 7) -> dict[int, tuple[str, int | None, list[str], int | None]]:
        """`show pages` by page number: state, node, flags, mapcount."""
        pages: dict[int, tuple[str, int | None, list[str], int | None]] = self("show", "pages", str(pid))["_pages"]
        return pages

    @property
    def machine(self) -> Machine:
        assert self.model.machine is not None
        return self.model.machine
