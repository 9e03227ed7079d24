"""Files and their page cache: which page is at an index, where a new one lies (semantics.md 1.3, 1.4, 6.1, 6.3)."""

from __future__ import annotations

from typing import Any

from .areas import NOWHERE, File, Page, Pte, Ring
from .base import Base, Document
from .machine import INTERLEAVING, NEVER, Refused, Task, Unmodelled
from .words import parse_pages

DISKS = ("ext2", "ext3", "xfs")
JOURNALS = ("ordered", "journalled")  # that know the data (9a)
V9_METHODS = {"ext2": "buffer", "ext3": "buffer", "xfs": "buffer", "xfs-buf": "fail"}


class Filemap(Base):
    """The `file` commands, and the page cache as faults see it."""

    def do_file_create(self, path: str, size: str, **options: Any) -> Document:
        """A file without cached pages; the method is a column (1.3)."""
        machine, fs, journal = self.hw, options["fs"], options.get("journal")
        if path in machine.files or (journal and fs != "ext3"):
            raise Unmodelled("a file that cannot be")
        journal = journal or ("ordered" if fs == "ext3" else None)
        if machine.modern and "method" not in options and fs not in ("tmpfs", "ext2", "ext3", "xfs"):
            raise Unmodelled("its method today")
        method = "page" if fs == "tmpfs" and machine.modern else V9_METHODS.get(fs, "none")
        if journal == "journalled":
            method = "none"
            if machine.modern:
                raise Unmodelled("its method today")
        ino = self.next_ino() if fs == "tmpfs" else 0
        pages = parse_pages(size)
        machine.files[path] = File(path, fs, journal, options.get("method", method), ino, pages)
        return {"_back": {"method": machine.files[path].method, "size": pages}}

    def next_ino(self) -> int:
        """An inode number above all that objects have."""
        return 1 + max((file.ino for file in self.hw.files.values()), default=0)

    def segment(self, pages: int, name: str | None) -> File:
        """The segment of that name, which grows; without a name a new object of shared anonymous memory."""
        files = self.hw.files
        ino, method = self.next_ino(), "page" if self.hw.modern else "none"
        path = "/dev/zero (deleted)" if name is None else f"/dev/shm/{name}"
        key = path if name is not None else f"{path} {ino}"
        if key not in files:
            files[key] = File(path, "tmpfs", None, method, ino, pages, nameless=name is None)
        files[key].size = max(files[key].size, pages)
        return files[key]

    def release_objects(self) -> None:
        """Nameless objects that no area maps any more are gone with their pages; a referenced page has no file."""
        mms = {task.mm.number: task.mm for task in self.hw.tasks.values() if task.mm}
        mapped = {slot.area.file for mm in mms.values() for slot in mm.slots.values()}
        for key, file in [(k, f) for k, f in self.hw.files.items() if f.nameless and f not in mapped]:
            del self.hw.files[key]
            for page in list(file.pages.values()):
                self.orphan(file, page)

    def orphan(self, file: File, page: Page) -> None:
        """A page leaves its file; its frame is free once nobody has a reference."""
        del file.pages[page.index]
        page.file, page.ring, page.dirty = None, None, False
        self.hw.drop_page(page)

    def file(self, path: str) -> File:
        """The file of that name."""
        if path not in self.hw.files:
            raise Refused("ENOENT")
        return self.hw.files[path]

    @staticmethod
    def part(file: File, text: str | None) -> range:
        """A range of a file, `16p@8p`."""
        if text is None:
            return range(file.size)
        length, _, offset = text.partition("@")
        first = parse_pages(offset) if offset else 0
        return range(first, first + parse_pages(length))

    def reader(self, options: dict[str, Any]) -> Task | None:
        """Who reads: the task of `--by`, else somebody on CPU 0 without a policy."""
        return self.task(options["by"]) if "by" in options else None

    # ---- the page cache --------------------------------------------------------------------------------------

    def cached(self, task: Task | None, file: File, index: int) -> tuple[Page, bool] | None:
        """
        The page of a file at an index, read in where it is missing, and whether it was; None: no memory.

        A page of tmpfs in the swap cache or in swap returns to its file and is dirty (6.3, 9a).
        """
        page = file.pages.get(index)
        if page is None:
            nid = self.place(task, file, index)
            if nid is None:
                return None
            page = file.pages[index] = Page(nid, uptodate=True, active=False, file=file, index=index)
            return page, True
        if page.slot is None:
            return page, False
        missed = page.node == NOWHERE
        if page.lock is not None or page.writeback is not None:
            raise Refused("EBUSY")
        if missed:
            nid = self.place(task, file, index)
            if nid is None:
                return None
            page.read_from_swap(nid)
        self.hw.give_slot(page)
        page.dirty = True
        return page, missed

    def place(self, task: Task | None, file: File, index: int) -> int | None:
        """A frame: of tmpfs by the object's policy, else the task's; of others by the task's, in turn (6.1)."""
        machine = self.hw
        if task is not None:
            machine.bring_up_to_date(task)
        own = task.policy if task else None
        if file.fs == "tmpfs":
            return machine.take_by_policy(file.policies.get(index) or own, task, file.turn(index, machine.modern))
        if own is None or task is None or own.mode not in INTERLEAVING:
            return machine.take_by_policy(own, task, 0)
        return machine.take_in_turn(task, own)

    def do_file_read(self, path: str, text: str | None = None, **options: Any) -> Document:
        """read(2): up to the end of the file."""
        file = self.file(path)
        if self.hw.modern and file.ahead:
            raise Unmodelled("read-ahead")
        span = self.part(file, text)
        return self.through(file, range(span.start, min(span.stop, file.size)), options, write=False)

    def do_file_write(self, path: str, text: str | None = None, **options: Any) -> Document:
        """write(2): pages and buffers get dirty, behind the end the file grows; a journal holds the buffers (9a)."""
        file = self.file(path)
        return self.through(file, self.part(file, text), options, write=True)

    def through(self, file: File, span: range, options: dict[str, Any], write: bool) -> Document:
        """Page after page; what came before a page without memory stays."""
        task = self.reader(options)
        if write and any((page := file.pages.get(k)) and page.lock for k in span):
            raise Refused("EBUSY")
        if any((page := file.pages.get(k)) and page.ring and page.ring.locked for k in span):
            raise Unmodelled("who waits for a buffer")
        if any((page := file.pages.get(k)) and (page.lock or page.writeback) for k in span):
            raise Unmodelled("who waits for a page that is read")
        hit = read = 0
        document: Document = {}
        for index in span:
            found = self.cached(task, file, index)
            if found is None:
                document = {"errno": "ENOMEM"}
                break
            page, missed = found
            read, hit = read + missed, hit + (not missed)
            if write:
                file.size = max(file.size, index + 1)
                if file.disk and page.ring is None:
                    page.ring = Ring()
                page.set_dirty()
                if page.ring and file.journal in JOURNALS:  # reading: `writeback` leaves data alone
                    page.ring.journal = True
        document["_back"] = {"cached": hit, "read": read}
        return document

    def do_file_sync(self, path: str) -> Document:
        """
        fsync(2): dirty pages are written, the journal lets go.

        Readings: ptes are left alone; where a journal knows the data, buffers in use without end are its.
        """
        file = self.file(path)
        if not file.disk:
            raise Unmodelled("sync without a disk")
        if self.hw.modern and any(page.ptes for page in file.pages.values()):
            raise Unmodelled("what today's sync does to ptes")
        waits = [
            page for page in file.pages.values() if page.lock or page.writeback or (page.ring and page.ring.locked)
        ]
        if waits:
            raise Unmodelled("who waits")
        written = 0
        for page in file.pages.values():
            written += page.dirty
            page.dirty = False
            if page.ring:
                page.ring.dirty = page.ring.journal = False
                if page.ring.busy and page.ring.busy.release == NEVER and file.journal in JOURNALS:
                    page.ring.busy = None
        return {"_back": {"written": written}}

    def do_file_truncate(self, path: str, size: str) -> Document:
        """Pages beyond the end leave the cache and all areas, copies too; a referenced one has no file any more."""
        machine, file = self.hw, self.file(path)
        pages = parse_pages(size)
        gone = [page for index, page in sorted(file.pages.items()) if index >= pages]
        if any(page.lock or page.writeback or (page.ring and (page.ring.locked or page.ring.busy)) for page in gone):
            raise Unmodelled("who waits, and what a ring in use leaves")
        file.size = pages
        for mm in {id(task.mm): task.mm for task in machine.tasks.values() if task.mm}.values():
            for vpn, slot in mm.slots.items():
                if slot.area.file is file and vpn + slot.area.delta >= pages:
                    if slot.page and slot.page.file is None and (slot.page.lock or slot.page.writeback):
                        raise Unmodelled("a held copy")
                    machine.drop_pte(mm, vpn)
        orphaned = 0
        for page in gone:
            self.orphan(file, page)
            orphaned += bool(page.pins or page.park)
        cached = sum(1 for page in file.pages.values() if page.node != NOWHERE)
        return {"_back": {"size": pages, "cached": cached, "orphaned": orphaned}}

    def do_file_list(self) -> Document:
        """What of each file is in memory."""
        rows = []
        for path, file in sorted((file.path, file) for file in self.hw.files.values() if not file.nameless):
            there = [page for page in file.pages.values() if page.node != NOWHERE]
            nodes: dict[str, int] = {}
            for page in sorted(there, key=lambda page: page.node):
                nodes[str(page.node)] = nodes.get(str(page.node), 0) + 1
            dirty = sum(1 for page in there if page.dirty)
            rows.append({"file": path, "fs": file.fs, "method": file.method, "size": file.size, "cached": len(there),
                         "dirty": dirty, "nodes": nodes})  # fmt: skip
        return {"_files": rows}

    def do_show_buffers(self) -> Document:
        """The rings, by file and index."""
        rings = {}
        for path, file in self.hw.files.items():
            for index, page in file.pages.items():
                if page.ring is not None:
                    rings[path, index] = (page.node, page.ring.words())
        return {"_rings": rings}

    # ---- faults ----------------------------------------------------------------------------------------------

    def touch_file(self, task: Task, slot: Any, key: tuple[int, int], write: bool) -> str | None:
        """
        An access to a page of a file area where no page is present (6.3).

        Returns:
            `file`, `swapin` where tmpfs has it in swap alone, `bus` beyond the end, `cow` where the caller has to copy,
            None without memory.
        """
        area, index = slot.area, key[1] + slot.area.delta
        if index >= area.file.size:
            return "bus"
        if self.hw.modern and area.file.ahead and not area.random and index not in area.file.pages:
            raise Unmodelled("read-ahead")
        there = area.file.pages.get(index)
        if there is not None and there.lock and (self.hw.modern or area.file.fs == "tmpfs"):
            raise Unmodelled("whether a file fault waits for the lock")
        kind = "swapin" if there is not None and there.node == NOWHERE else "file"
        found = self.cached(task, area.file, index)
        if found is None:
            return None
        if write and not area.shared:
            return "cow"
        slot.page = found[0]
        slot.page.ptes[key] = Pte(True, write, area.shared and area.prot == "rw")
        return kind

    def around(self, mm: Any, vpn: int) -> None:
        """`modern` maps around a read: what is cached of the aligned window of 16 pages (modern-kernel.md 23)."""
        area = mm.slots[vpn].area
        if not self.hw.modern or area.file is None or mm.slots[vpn].page is None or mm.slots[vpn].page.file is None:
            return
        for near in range(vpn - vpn % 16, vpn - vpn % 16 + 16):
            slot = mm.slots.get(near)
            if (
                slot is None
                or slot.area is not area
                or slot.page
                or slot.swapped
                or near + area.delta >= area.file.size
            ):
                continue
            page = area.file.pages.get(near + area.delta)
            if page is not None and page.slot is None and not page.lock:
                slot.page = page
                page.ptes[mm.number, near] = Pte(True, False, area.shared and area.prot == "rw")
