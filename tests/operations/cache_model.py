"""
A machine of single pages, written from semantics.md 6 and modern-kernel.md 20 to 23: faults, page cache, copies.

Nothing of it is shared with the program. Nodes are all as far from one another, so a fallback list is a rotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


class Killed(Exception):
    """A fault that ends in a signal, its name."""


class NoMemory(Exception):
    """An allocation without a free page."""


@dataclass(eq=False)
class Page:
    """A page on a node; ``ring``: None without buffers, else whether they are dirty."""

    node: int
    dirty: bool = False
    marker: bool = False
    ring: bool | None = None


@dataclass(eq=False)
class Pte:
    """A pte; of the zero page where *page* is None."""

    page: Page | None
    anon: bool
    writable: bool
    dirty: bool = False


@dataclass(eq=False)
class File:
    """A file: ``disk`` below, buffers and pages in the cache by index."""

    name: str
    fs: str
    size: int
    ino: int
    pages: dict[int, Page] = field(default_factory=dict)

    @property
    def disk(self) -> bool:
        """Whether it lies on a disk, so that it is read ahead, synced, and has buffers."""
        return self.fs.startswith("ext")


Policy = tuple[str, list[int]]


@dataclass(eq=False)
class Area:
    """An area [start, end); page index of its file is address plus ``delta``."""

    start: int
    end: int
    file: File | None
    delta: int
    shared: bool
    writable: bool
    policy: Policy | None = None
    random: bool = False


@dataclass(eq=False)
class Task:
    """A task on a node with its areas and ptes; ``turn``: the next node of an interleaving one."""

    pid: int
    node: int
    policy: Policy | None = None
    turn: int | None = None
    areas: list[Area] = field(default_factory=list)
    ptes: dict[int, Pte] = field(default_factory=dict)

    def area(self, at: int) -> Area | None:
        """The area of an address."""
        return next((area for area in self.areas if area.start <= at < area.end), None)


class Machine:
    """The nodes, the tasks and the files."""

    def __init__(self, capacity: list[int], *, modern: bool) -> None:
        self.capacity, self.modern = capacity, modern
        self.used = [0] * len(capacity)
        self.tasks: dict[int, Task] = {}
        self.files: list[File] = []

    # ---- memory

    def rotation(self, node: int) -> list[int]:
        """The fallback list of a node."""
        nr = len(self.capacity)
        return [(node + k) % nr for k in range(nr)]

    def take(self, order: Iterable[int]) -> int:
        """A page from the first node that has one."""
        for node in order:
            if self.used[node] < self.capacity[node]:
                self.used[node] += 1
                return node
        raise NoMemory

    def order(self, policy: Policy | None, local: int, index: int) -> list[int]:
        """The nodes that a policy lets a page of that index use."""
        if policy is None:
            return self.rotation(local)
        mode, nodes = policy
        if mode == "bind":
            return [node for node in self.rotation(local) if node in nodes] if self.modern else nodes
        return self.rotation(nodes[0] if mode == "preferred" else nodes[index % len(nodes)])

    def mappers(self, page: Page) -> int:
        """Ptes of a page."""
        return sum(pte.page is page for task in self.tasks.values() for pte in task.ptes.values())

    # ---- the page cache

    def read_in(self, task: Task | None, file: File, index: int) -> Page:
        """A new cache page."""
        policy, local = (task.policy, task.node) if task else (None, 0)
        if file.fs == "tmpfs":
            node = self.take(self.order(policy, local, index + (file.ino if self.modern else 0)))
        elif task is not None and task.turn is not None and policy is not None:
            nodes, chosen = policy[1], task.turn
            task.turn = nodes[(nodes.index(chosen) + 1) % len(nodes)]
            node = self.take(self.rotation(chosen))
        else:
            node = self.take(self.order(policy, local, 0))
        file.pages[index] = page = Page(node)
        return page

    def find_or_read(self, task: Task, area: Area, file: File, index: int) -> Page:
        """The cache page that a fault looks for; what it reads besides is read ahead of it."""
        if index in file.pages:
            return file.pages[index]
        if not self.modern or area.random or not file.disk:
            return self.read_in(task, file, index)
        low = max(0, index - 16)
        high = min(low + 32, file.size)
        for each in range(low, high):
            if each not in file.pages:
                self.read_in(task, file, each).marker = each == high - 8
        return file.pages[index]

    def transfer(self, task: Task | None, file: File, start: int, end: int, *, write: bool) -> int | None:
        """read(2) or write(2); the index that there was no memory for."""
        for index in range(start, end):
            if index not in file.pages:
                try:
                    self.read_in(task, file, index)
                except NoMemory:
                    return index
            page = file.pages[index]
            page.marker = False
            if write:
                file.size = max(file.size, index + 1)
                page.dirty, page.ring = True, True if file.disk else None
        return None

    def truncate(self, file: File, size: int) -> None:
        """Cut a file: private copies of its pages go too."""
        for task in self.tasks.values():
            for area in task.areas:
                if area.file is file:
                    self.unmap(task, max(area.start, size - area.delta), area.end)
        for index in [index for index in file.pages if index >= size]:
            self.used[file.pages.pop(index).node] -= 1
        file.size = size

    def sync(self, file: File) -> None:
        """Clean a file of a disk; a 6.x kernel cleans its ptes too."""
        for page in file.pages.values() if file.disk else ():
            page.dirty, page.ring = False, None if page.ring is None else False
            for task in self.tasks.values() if self.modern else ():
                for pte in task.ptes.values():
                    if pte.page is page:
                        pte.dirty = pte.writable = False

    # ---- address spaces

    def touch(self, task: Task, at: int, *, write: bool) -> None:
        """A fault, or an access without one."""
        area = task.area(at)
        if area is None or (write and not area.writable):
            raise Killed("SIGSEGV")
        pte = task.ptes.get(at)
        if pte is None and area.file is not None:
            self.file_fault(task, area, area.file, at, write=write)
        elif pte is None and not write:
            task.ptes[at] = Pte(None, False, False)
        elif pte is None or (write and not pte.writable):
            self.write_fault(task, area, at, pte)
        elif write:
            pte.dirty = True

    def file_fault(self, task: Task, area: Area, file: File, at: int, *, write: bool) -> None:
        """A fault without pte on a file."""
        index = at + area.delta
        if index >= file.size:
            raise Killed("SIGBUS")
        page = self.find_or_read(task, area, file, index)
        page.marker = False
        writable = area.shared and area.writable
        if write and not area.shared:
            self.copy(task, area, at)
            return
        task.ptes[at] = Pte(page, False, writable, write)
        if self.modern and not write:
            for each in range(max(area.start, at // 16 * 16), min(area.end, at // 16 * 16 + 16)):
                around = file.pages.get(each + area.delta)
                if each not in task.ptes and around is not None and not around.marker:
                    task.ptes[each] = Pte(around, False, writable)

    def write_fault(self, task: Task, area: Area, at: int, pte: Pte | None) -> None:
        """A write to a page without pte, or with one that is write-protected."""
        if pte is not None and (area.shared or (pte.anon and pte.page and self.mappers(pte.page) == 1)):
            pte.writable = pte.dirty = True
            return
        self.copy(task, area, at)
        if pte is not None and pte.anon and pte.page is not None:
            self.put(pte.page)

    def copy(self, task: Task, area: Area, at: int) -> None:
        """A new anonymous page by the area's policy."""
        node = self.take(self.order(area.policy or task.policy, task.node, at + area.delta))
        task.ptes[at] = Pte(Page(node), True, True, True)

    def put(self, page: Page) -> None:
        """Free an anonymous page that nobody maps."""
        if not self.mappers(page):
            self.used[page.node] -= 1

    def unmap(self, task: Task, start: int, end: int) -> None:
        """Drop ptes; what was dirty in them alone goes to the page, and its buffers."""
        for at in [at for at in task.ptes if start <= at < end]:
            pte = task.ptes.pop(at)
            if pte.anon and pte.page is not None:
                self.put(pte.page)
            elif pte.dirty and pte.page is not None:
                pte.page.dirty = True
                pte.page.ring = None if pte.page.ring is None else True

    def munmap(self, task: Task, area: Area, start: int, end: int) -> None:
        """Take a part out of an area."""
        self.unmap(task, start, end)
        task.areas.remove(area)
        parts = replace(area, end=start), replace(area, start=end)
        task.areas += [part for part in parts if part.start < part.end]

    def fork(self, task: Task, pid: int, copied: set[int]) -> None:
        """A child with the ptes at the addresses *copied*."""
        child = Task(pid, task.node, task.policy, task.turn, [replace(area) for area in task.areas])
        for at, pte in task.ptes.items():
            area = task.area(at)
            if at in copied and area is not None:
                pte.writable = pte.writable and area.shared
                child.ptes[at] = Pte(pte.page, pte.anon, pte.writable, pte.dirty)
        self.tasks[pid] = child

    def exit(self, task: Task) -> None:
        """The end of a task."""
        self.unmap(task, 0, 1 << 62)
        del self.tasks[task.pid]
