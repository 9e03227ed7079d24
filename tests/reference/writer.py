"""What a random script does: which command comes next, and courses of several that chance alone seldom brings."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable

from .base import LOOKING
from .draws import FAR, NEAR, Draws
from .machine import PAGE, Unmodelled

MAX_TASKS = 5
Draw = Callable[[], list[str]]


class Writer(Draws):
    """Draws one script."""

    def command(self) -> list[str]:
        """Any command."""
        kinds: dict[str, tuple[int, Draw]] = {
            "fault": (8, self.fault),
            "migrate": (8, self.migrate_pages),
            "mbind": (8, self.mbind),
            "fork": (3, self.fork),
            "mmap": (3, self.mmap),
            "move": (3, self.move_pages),
            "policy": (3, self.set_mempolicy),
            "get": (2, self.get_mempolicy),
            "mprotect": (2, self.mprotect),
            "madvise": (1, self.madvise),
            "lock": (2, lambda: self.hold("page", "lock")),
            "pin": (2, lambda: self.hold("page", "pin")),
            "writeback": (1, lambda: self.hold("page", "writeback")),
            "park": (1, lambda: self.ranged("page", "park", short=True)),
            "release": (4, lambda: self.release("page", self.one("unlock", "unpin", "unpin", "unpark", "unwriteback"))),
            "mlock": (1, lambda: self.ranged("mlock")),
            "munlock": (1, lambda: self.ranged("munlock")),
            "munmap": (1, lambda: self.ranged("munmap")),
            "run-on": (1, lambda: ["task", "run-on", str(self.pid()), *self.place()]),
            "exit": (1, lambda: ["task", "exit", str(self.pid())]),
            "create": (1, self.task_create),
            "swap on": (1, self.swap_on),
            "swap off": (1, self.swap_off),
            "swap out": (2, self.swap_out),
            "hash": (1, lambda: ["state", "hash"]),
            "cpuset create": (1, self.cpuset_create),
            "cpuset set": (2, self.cpuset_set),
            "cpuset move": (2, self.cpuset_move),
            "cpuset list": (1, lambda: ["cpuset", "list"]),
            "cpuset remove": (1, lambda: ["cpuset", "remove", self.cpuset_name()]),
        }
        if len(self.machine.cpusets) < 2:
            del kinds["cpuset set"], kinds["cpuset move"], kinds["cpuset remove"]
        if self.machine.modern:
            kinds["weigh"] = (1, self.weigh)
        if len(self.machine.tasks) >= MAX_TASKS:
            del kinds["create"], kinds["fork"]
        if len(self.machine.tasks) < 2 and not self.chance(6):
            del kinds["exit"]
        names = [name for name, (weight, _) in kinds.items() for _ in range(weight)]
        return kinds[self.one(*names)][1]()

    # ---- courses ---------------------------------------------------------------------------------------------

    def youngest(self) -> str:
        """The task with the highest pid, after a fork the child."""
        return str(max(self.machine.tasks, default=0))

    def residue(self) -> list[Draw]:
        """Pages that stay in the swap cache, and what becomes of them."""
        pid, hold = self.pid(), self.one("pin", "lock")
        span = self.span(pid, short=True)

        def migrate() -> list[str]:
            return ["migrate-pages", str(pid), "all", self.nodes()]

        return [
            lambda: ["page", hold, str(pid), span],
            migrate,
            self.one(
                lambda: ["page", "writeback", str(pid), span, *self.one([], ["--passes", str(self.number(0, 3))])],
                lambda: ["page", "un" + hold, str(pid)],
                self.fault,
                lambda: ["page", "unpin", str(pid)],
            ),
            self.one(migrate, self.migrate_pages, self.mbind, lambda: ["fault", str(pid), self.span(pid), "--write"]),
            self.one(self.fork, self.fault, lambda: ["madvise", str(pid), span, "dontneed"]),
            lambda: ["page", self.one("unpin", "unlock"), str(pid)],
            migrate,
        ]

    def written_out(self) -> list[Draw]:
        """Pages that get a swap entry, are written to it, and are to move meanwhile."""
        pid = self.pid()
        present = sorted(vpn for vpn, slot in self.slots(pid).items() if slot.page)
        if not present:
            return self.residue()
        first = self.one(*present)
        count = self.number(1, 3) if {first + 1, first + 2} <= set(present) else 1
        span, node = f"{first * PAGE:#x}+{count}p", str(self.number(0, len(self.machine.nodes) - 1))
        passes = self.one([], ["--passes", str(self.number(0, 10))], ["--passes", "1"])

        def migrate() -> list[str]:
            if self.chance(2):
                return ["mbind", str(pid), span, "bind", node, "--move"]
            return ["migrate-pages", str(pid), "all", node]

        return [
            lambda: ["page", "pin", str(pid), span],
            lambda: ["migrate-pages", str(pid), "all", node],
            lambda: ["page", "writeback", str(pid), span, *passes],
            lambda: ["page", "unpin", str(pid)],
            migrate,
            self.one(self.fault, self.fork, lambda: ["page", "unwriteback", str(pid)]),
            migrate,
        ]

    def swapping(self) -> list[Draw]:
        """A family some of whose pages are in swap: what faults, forks, moves and the end of ranges do to its slots."""
        pid = self.pid()
        parent = str(pid)

        def fork() -> list[str]:
            return ["fork", parent, "--pid", str(int(self.youngest()) + 1)]

        def out() -> list[str]:
            if self.machine.modern and self.chance(2):
                return ["madvise", self.one(parent, self.youngest()), self.span(pid, short=self.chance(2)), "pageout"]
            return ["swap", "out", parent, self.span(pid, short=self.chance(2))]

        def touch() -> list[str]:
            who = int(self.one(parent, self.youngest()))
            return ["fault", str(who), self.swapped(who), *self.one([], ["--write"])]

        def drop() -> list[str]:
            who = self.one(parent, self.youngest())
            span = self.swapped(int(who))
            return ["munmap", who, span] if self.chance(2) else ["madvise", who, span, "dontneed"]

        def migrate() -> list[str]:
            return ["migrate-pages", self.one(parent, self.youngest()), "all", self.nodes(), *self.caller()]

        def hold() -> list[str]:
            kind = self.one("lock", "pin", "writeback", "pin")
            words = ["page", kind, parent, self.span(pid, short=True)]
            words += self.one([], ["--passes", str(self.number(0, 10))], ["--passes", "10"])
            return words

        def back() -> list[str]:
            return ["migrate-pages", parent, "all", self.nodes(), "--via-swap"]

        first = self.one([fork, out], [out, fork], [hold, out], [fork, hold, out])
        rest = [self.one(touch, touch, touch, drop, migrate, hold, out, self.swap_off, back) for _ in range(5)]
        return [*first, touch, *rest]

    def files(self) -> list[Draw]:
        """A file in the cache and in areas, held and in use in all ways, and where its pages go."""
        pid = self.pid()

        def touch() -> list[str]:
            who = int(self.one(str(pid), self.youngest()))
            return ["fault", str(who), self.mapped(who), *self.one([], ["--write"])]

        def mmap() -> list[str]:
            words = self.file_map()
            return [words[0], str(pid), *words[2:]] if words[0] == "mmap" else words

        def hold() -> list[str]:
            words = ["page", self.one("lock", "pin", "writeback", "park"), str(pid), self.mapped(pid)]
            return words + (self.one([], ["--passes", str(self.number(0, 10))]) if words[1] != "park" else [])

        def migrate() -> list[str]:
            who = self.one(str(pid), self.youngest())
            return ["migrate-pages", who, "all", self.nodes(), *self.caller()]

        def mbind() -> list[str]:
            mode = self.one("bind", "interleave", "preferred", "default")
            words = ["mbind", str(pid), self.mapped(pid), mode, *([] if mode == "default" else [self.nodes(30)])]
            words += self.one([], ["--move"], ["--move-all"], ["--move", "--strict"], ["--strict"])
            return words

        def drop() -> list[str]:
            who = self.one(str(pid), self.youngest())
            return [self.one("munmap", "madvise"), who, self.mapped(int(who))]

        def more() -> list[str]:
            argv = self.one(
                touch, touch, hold, self.buffers, self.buffers, migrate, migrate, migrate, mbind, mbind, self.fork,
                drop, self.release_file, lambda: ["swap", "out", str(pid), self.mapped(pid)],
                lambda: self.file_use("read"),
                lambda: self.file_use("write"), lambda: self.file_use("sync"), lambda: self.file_use("truncate"),
                lambda: ["mlock", str(pid), self.mapped(pid)], lambda: ["mprotect", str(pid), self.mapped(pid), "r"],
                lambda: ["mprotect", str(pid), self.mapped(pid), "rw"], lambda: ["file", "list"],
                lambda: ["show", "buffers"], self.swap_off,
            )()  # fmt: skip
            return [*argv, "dontneed"] if argv[0] == "madvise" and len(argv) == 3 else argv

        draws = [self.file_create, lambda: self.file_use("write", "read"), mmap]
        if self.machine.modern:
            draws += [lambda: ["madvise", str(pid), self.mapped(pid), "random"]]
        return [*draws, touch, *[more] * self.number(4, 10), lambda: ["file", "list"], lambda: ["show", "buffers"]]

    def objects(self) -> list[Draw]:
        """Tmpfs by the policy of the object, and by that of the task, which the targets of mbind do not know."""
        pid, path = self.pid(), f"/f{len(self.script.lines)}"
        start = NEAR + 3000 + 64 * len(self.script.lines)
        span = f"{start * PAGE:#x}+8p"
        nodes = self.nodes(60)

        def mbind(*words: str) -> list[str]:
            return ["mbind", str(pid), span, *words]

        return [
            lambda: ["file", "create", path, "8p", "--fs", "tmpfs"],
            lambda: ["mmap", str(pid), "8p", "--file", path, "--shared", "--addr", hex(start * PAGE)],
            self.one(lambda: mbind("interleave", "0-1"), lambda: ["set-mempolicy", str(pid), "interleave", nodes]),
            lambda: ["fault", str(pid), f"{(start + 3) * PAGE:#x}+4p", "--write"],
            lambda: ["fault", str(pid), span],
            lambda: ["set-mempolicy", str(pid), "preferred", nodes],
            self.one(lambda: mbind("default", "--move"), lambda: mbind("interleave", nodes, "--move-all")),
            lambda: ["file", "list"],
        ]

    def object_in_cpusets(self) -> list[Draw]:
        """An object that two tasks map, bound by one of them or by both; then one of the two gets other nodes."""
        pid, home = self.pid(), f"/o{len(self.script.lines)}"
        start = NEAR + 3000 + 64 * len(self.script.lines)
        parts = [f"{start * PAGE:#x}+6p", f"{(start + 2) * PAGE:#x}+3p"]
        fork = [lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)]]

        def mbind(who: str) -> list[str]:
            return ["mbind", who, self.one(*parts), self.mode("interleave", "bind", "preferred"), self.nodes(60)]

        early = self.one(False, True)
        one_of = self.one(lambda: str(pid), self.youngest)
        return [
            lambda: ["mmap", str(pid), "6p", "--shm", home[1:], "--addr", hex(start * PAGE)],
            *(fork if early else []),
            lambda: mbind(str(pid)),
            *([] if early else fork),
            *self.one([], [lambda: mbind(self.youngest())]),
            lambda: ["cpuset", "create", home, "--mems", self.nodes(60)],
            lambda: ["cpuset", "move", one_of(), home],
            lambda: ["get-mempolicy", str(pid), hex((start + 3) * PAGE)],
            lambda: ["cpuset", "set", home, "--mems", self.nodes(60)],
            lambda: ["numa-maps", str(pid)],
            lambda: ["fault", self.youngest(), parts[0], "--write"],
        ]

    def rings(self) -> list[Draw]:
        """A disk file beside other pages: buffers locked or busy, pages written on the way, one pinned and cut off."""
        pid, path = self.pid(), f"/f{len(self.script.lines)}"
        start = NEAR + 3000 + 64 * len(self.script.lines)
        span, some = f"{start * PAGE:#x}+6p", f"{(start + self.number(0, 4)) * PAGE:#x}+2p"
        method = self.one([], [], [], ["--method", "none"], ["--method", "none"], ["--method", "fail"])
        kind = self.one("ext2", "ext3") if method else self.one("ext2", "ext2", "ext2", "xfs-buf")
        fault = ["fault", str(pid), span, *self.one([], ["--write"])]
        state = self.one("locked", "locked", "busy", "dirty")
        passes = self.one([], [], ["--passes", str(self.number(0, 10)), *self.late(state)])
        draws = [
            lambda: ["file", "create", path, "6p", "--fs", kind, *method],
            lambda: ["mmap", str(pid), "6p", "--file", path, "--shared", "--addr", hex(start * PAGE)],
            lambda: ["madvise", str(pid), span, "random"],
            lambda: fault,
        ]
        if self.chance(3):
            draws += [lambda: ["page", "pin", str(pid), some], lambda: ["file", "truncate", path, "2p"]]
        elif self.one(False, True):
            draws += [lambda: ["page", "buffers", str(pid), some, "--state", state, *passes]]
        elif kind == "ext3":
            draws += [lambda: ["file", "write", path, "3p"]]  # the journal has its buffers
        return [*draws, lambda: ["migrate-pages", str(pid), "all", self.nodes(60)], lambda: ["file", "list"],
                lambda: ["show", "buffers"], lambda: ["page", "unpin", str(pid)], lambda: fault]  # fmt: skip

    def release_file(self) -> list[str]:
        """All holds of a kind of a task."""
        return ["page", self.one("unlock", "unpin", "unwriteback", "unpark"), str(self.pid())]

    def waiting(self) -> list[Draw]:
        """A page that its family has in swap is in the swap cache, and held: who can have it, who must wait."""
        pid = self.pid()
        present = sorted(vpn for vpn, slot in self.slots(pid).items() if slot.page) or [NEAR]
        span = f"{self.one(*present) * PAGE:#x}+{self.number(1, 3)}p"
        who, kind = self.one(str(pid), "child"), self.one("lock", "lock", "writeback", "pin")

        def one_of(first: bool) -> str:
            return str(pid) if (who == "child") == first else self.youngest()

        def touch() -> list[str]:
            mode = self.one([], ["--write"])
            return ["fault", one_of(False), span if self.chance(2) else self.span(int(one_of(False))), *mode]

        return [
            lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)],
            lambda: ["swap", "out", str(pid), span],
            lambda: ["fault", one_of(True), span],
            lambda: ["page", kind, one_of(True), span],
            touch,
            self.one(
                self.swap_off,
                lambda: ["mlock", one_of(False), span],
                lambda: ["page", "pin", one_of(False), span],
                lambda: ["migrate-pages", one_of(True), "all", self.nodes()],
            ),
            lambda: ["page", "un" + kind, one_of(True)],
            touch,
        ]

    def cramped(self) -> list[Draw]:
        """More pages than a node has room for, some of them held."""
        pid = self.pid()
        free = {node.nid: node.free for node in self.machine.nodes}
        node = str(min(free, key=lambda nid: (free[nid], nid)) if self.chance(2) else self.number(0, len(free) - 1))
        flags = [self.one("--move", "--move-all"), *self.one([], ["--strict"])]
        mode = self.one("bind", "bind", "preferred", "interleave", "interleave")
        if mode == "interleave":  # one of the two may have room when the other has none
            node = ",".join(sorted({node, str(self.number(0, len(free) - 1))}))
        present = sorted(vpn for vpn, slot in self.slots(pid).items() if slot.page) or [NEAR]
        held = f"{self.one(*present[len(present) // 2 :]) * PAGE:#x}+1p"
        return [
            lambda: ["page", self.one("pin", "lock"), str(pid), held, *self.one([], ["--passes", "2"])],
            lambda: ["mbind", str(pid), self.span(pid), mode, node, *flags],
            self.migrate_pages,
        ]

    def family(self) -> list[Draw]:
        """A child that writes some of the pages it got, and a migration of one of the two by root or by its user."""
        pid = self.pid()
        who = self.one(lambda: str(pid), self.youngest)

        def migrate() -> list[str]:
            words = ["migrate-pages", who(), "all", self.nodes(), *self.one([], ["--as", "1"], ["--by", str(pid)])]
            return words if self.chance(2) else self.mbind()

        def write() -> list[str]:
            child = self.youngest()
            return ["fault", child, self.span(int(child), short=self.chance(2)), "--write"]

        return [lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)], write, migrate, self.fault, migrate]

    def held_by_the_parent(self) -> list[Draw]:
        """A hold on a page that only the child maps any more, and how it ends."""
        pid = self.pid()
        span, kind = self.span(pid, short=True), self.one("lock", "park", "pin")
        return [
            lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)],
            lambda: ["page", kind, str(pid), span],
            self.one(lambda: ["munmap", str(pid), span], lambda: ["fault", str(pid), span, "--write"]),
            self.one(lambda: ["task", "exit", str(pid)], lambda: ["page", f"un{kind}", str(pid)]),
            lambda: ["migrate-pages", self.youngest(), "all", self.nodes()],
        ]

    def locked_parent(self) -> list[Draw]:
        """Pages that another task maps in a locked area (B8)."""
        pid = self.pid()

        def migrate() -> list[str]:
            child = self.youngest()
            if self.chance(2):
                return ["migrate-pages", child, "all", self.nodes()]
            mode = str(self.one("bind", "preferred"))
            return ["mbind", child, self.span(int(child)), mode, self.nodes(30), "--move-all", "--strict"]

        return [
            lambda: ["mlock", str(pid), self.span(pid, short=self.chance(2))],
            lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)],
            migrate,
            self.one(self.fault, lambda: ["munlock", str(pid), self.span(pid)], lambda: ["task", "exit", str(pid)]),
            migrate,
        ]

    def rebinding(self) -> list[Draw]:
        """An area with a policy, pages by it, and the policy after it."""
        pid = self.pid()
        span = self.span(pid)

        def mbind(*flags: str) -> list[str]:
            mode = self.one("interleave", "bind", "preferred", "default")
            return ["mbind", str(pid), span, mode, *([] if mode == "default" else [self.nodes(30)]), *flags]

        return [
            mbind,
            lambda: ["fault", str(pid), self.span(pid), "--write"],
            lambda: mbind(self.one("--move", "--move-all"), *self.one([], ["--strict"])),
            self.get_mempolicy,
        ]

    def scattered(self) -> list[Draw]:
        """Pages here and there, then interleaved: those in the set stay, the others go by their own address."""
        pid = self.pid()
        count = len(self.machine.nodes)
        some = ",".join(map(str, sorted(self.rng.sample(range(count), min(count, self.number(2, 3))))))
        flags = [self.one("--move", "--move-all"), *self.one([], ["--strict"])]
        return [
            lambda: ["migrate-pages", str(pid), "all", str(self.number(0, count - 1))],
            self.move_pages,
            lambda: ["mbind", str(pid), self.span(pid, short=True), "preferred", self.nodes(30), "--move-all"],
            lambda: ["mbind", str(pid), self.span(pid), "interleave", some, *flags],
        ]

    def protection(self) -> list[Draw]:
        """An area in pieces, and whole again."""
        pid = self.pid()
        span = self.span(pid, short=self.chance(2))
        change = self.one(
            (["mprotect", str(pid), span, "r"], ["mprotect", str(pid), span, "rw"]),
            (["mlock", str(pid), span], ["munlock", str(pid), span]),
            (["mbind", str(pid), span, "preferred"], ["mbind", str(pid), span, "default"]),
        )
        return [lambda: change[0], self.one(self.fault, self.mbind), lambda: change[1], self.fault, self.fork]

    def holes(self) -> list[Draw]:
        """A range with a hole, and every call that minds."""
        pid = self.pid()
        span = self.span(pid)
        return [
            lambda: ["munmap", str(pid), self.span(pid, short=True)],
            lambda: self.one(
                ["madvise", str(pid), span, "dontneed"],
                ["madvise", str(pid), span, "dontneed"],
                ["mprotect", str(pid), span, "r"],
                ["mbind", str(pid), span, "default", "--move"],
                ["mbind", str(pid), span, "bind", self.nodes(30)],
                ["mlock", str(pid), span],
            ),
        ]

    def joined(self) -> list[Draw]:
        """New areas below and above an old one, read only, that merge with it or not; and a child of the whole."""
        pid = self.pid()
        mm = self.mm(pid)
        if mm is None or not mm.slots:
            return [self.mmap]
        part, _ = self.one(*mm.areas())
        low, high = part.start - self.number(1, 3), part.stop

        def mmap(first: int) -> list[str]:
            return ["mmap", str(pid), f"{part.start - low}p", "--addr", hex(first * PAGE)]

        return [
            lambda: mmap(low),
            lambda: ["fault", str(pid), f"{low * PAGE:#x}+{part.start - low}p"],
            lambda: mmap(high),
            lambda: ["fault", str(pid), f"{high * PAGE:#x}+{part.start - low}p"],
            lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)],
        ]

    def confined(self) -> list[Draw]:
        """A task in a cpuset of some of its nodes, with policies; then the cpuset gets others, or the task does."""
        pid = self.pid()
        home = f"/s{len(self.script.lines)}"
        migrate = self.one([], ["--memory-migrate"], ["--memory-migrate"])

        def policy() -> list[str]:
            return ["set-mempolicy", str(pid), self.mode("interleave", "bind", "preferred"), self.nodes(60)]

        def mems() -> list[str]:
            return ["cpuset", "set", home, "--mems", self.nodes(60)]

        draws = [
            lambda: ["cpuset", "create", home, "--mems", self.nodes(60), *migrate],
            lambda: ["cpuset", "move", str(pid), home],
            lambda: [*policy(), *self.mode_flags()],
            lambda: ["mbind", str(pid), self.span(pid), self.mode("interleave", "bind"), self.nodes(60)],
            self.fault,
            mems,
        ]
        more = self.one([mems], [lambda: ["get-mempolicy", str(pid)], mems], [self.fault])
        other = [lambda: ["cpuset", "create", home + "x", "--mems", self.nodes(60), *migrate],
                 lambda: ["cpuset", "move", str(pid), home + "x"]]  # fmt: skip
        return [*draws, *more, *self.one([], other), self.fault, lambda: ["get-mempolicy", str(pid)],
                lambda: ["cpuset", "list"]]  # fmt: skip

    def threads(self) -> list[Draw]:
        """Two threads of one address space in a cpuset whose pages follow, to nodes that overlap with those before."""
        pid, home = self.pid(), f"/t{len(self.script.lines)}"
        thread = str(int(self.youngest()) + 1)
        count = len(self.machine.nodes)
        low = self.number(0, max(count - 3, 0))
        return [
            lambda: ["task", "create", "--pid", thread, "--thread-of", str(pid), "--node", "0"],
            lambda: ["cpuset", "create", home, "--mems", f"{low},{low + 1}", "--memory-migrate"],
            lambda: ["cpuset", "move", str(pid), home],
            lambda: ["cpuset", "move", thread, home],
            self.fault,
            lambda: ["cpuset", "set", home, "--mems", f"{low + 1},{min(low + 2, count - 1)}"],
            lambda: ["show", "pages", str(pid)],
        ]

    def nested(self) -> list[Draw]:
        """A cpuset below another, and nodes that the upper one may not lose."""
        upper = f"/u{len(self.script.lines)}"
        return [
            lambda: ["cpuset", "create", upper, "--mems", "all"],
            lambda: ["cpuset", "create", f"{upper}/l", "--mems", self.nodes(60)],
            lambda: ["cpuset", "set", upper, "--mems", self.nodes(60)],
            lambda: ["cpuset", "set", f"{upper}/l", "--mems", self.nodes(60)],
            lambda: ["cpuset", "list"],
        ]

    def in_turn(self) -> list[Draw]:
        """What an interleaving policy deals out, by weights where there are any: an area, and page cache in turn."""
        pid, path = str(self.pid()), f"/w{len(self.script.lines)}"
        mode = "weighted-interleave" if self.machine.modern and not self.chance(4) else "interleave"
        return [
            *([self.weigh, self.weigh, self.weigh] if self.machine.modern else []),
            lambda: ["mmap", pid, "12p", "--label", path[1:]],
            lambda: ["mbind", pid, path[1:], mode, self.one("all", self.nodes(60))],
            lambda: ["fault", pid, path[1:], "--write"],
            lambda: ["set-mempolicy", pid, mode, self.nodes(60)],
            lambda: ["file", "create", path, "9p", "--fs", "ext2"],
            lambda: ["file", "write", path, f"{self.number(1, 5)}p", "--by", pid],
            lambda: ["get-mempolicy", pid, "--node"],
            lambda: ["file", "write", path, "4p@5p", "--by", pid],
            lambda: ["file", "list"],
        ]

    def drain(self) -> list[Draw]:
        """A node goes and comes back; what a machine without it does is not modelled in between."""
        nid = str(self.number(0, len(self.machine.nodes) - 1))
        cached = {page.node for file in self.machine.files.values() for page in file.pages.values() if page.node >= 0}
        nid = str(self.one(*sorted(cached))) if cached and self.chance(2) else nid
        return [lambda: ["node", "offline", nid], lambda: ["cpuset", "list"], lambda: ["node", "online", nid]]

    def dry(self) -> list[Draw]:
        """A dry run leaves no trace."""
        return [
            lambda: ["state", "hash"],
            lambda: [*self.one(self.fault, self.migrate_pages, self.mbind, self.fork, self.madvise)(), "--dry-run"],
            lambda: ["state", "hash"],
        ]

    def raced(self) -> list[Draw]:
        """A family some of whose pages are in swap moves, while a task faults on a page of it or calls the kernel."""
        pid = self.pid()
        span = self.span(pid, short=True)

        def race() -> list[str]:
            mover = self.one(str(pid), self.youngest())
            pages = {vpn: slot.page for vpn, slot in self.slots(int(mover)).items() if slot.page}
            if not pages:
                return self.fault()
            vpn = self.one(*sorted(pages))
            racer = str(self.one(*sorted(self.machine.tasks)))
            argv = ["fault", racer, f"{vpn * PAGE:#x}+1p", *self.one([], ["--write"])]
            if self.chance(4):
                argv = self.one(
                    ["munmap", mover, self.span(int(mover), short=True)],
                    ["mprotect", mover, self.span(int(mover), short=True), "r"],
                    ["fork", mover, "--pid", str(int(self.youngest()) + 1)],
                    ["mmap", mover, "3p"],
                )
            target = self.nodes(60)
            return [
                "migrate-pages",
                mover,
                str(pages[vpn].node),
                target,
                "--race",
                f"{self.number(1, 20)}:{shlex.join(argv)}",
            ]

        return [
            lambda: ["fork", str(pid), "--pid", str(int(self.youngest()) + 1)],
            self.one(race, lambda: ["swap", "out", str(pid), span]),
            self.one(race, lambda: ["fault", str(pid), span]),
            race,
            lambda: ["fault", str(pid), span, *self.one([], ["--write"])],
            race,
            race,
        ]

    def course(self) -> list[Draw]:
        """One of them."""
        kinds = [self.residue, self.family, self.family, self.locked_parent, self.rebinding, self.protection]
        kinds += [self.dry, self.holes, self.joined, self.held_by_the_parent, self.scattered, self.scattered]
        kinds += [self.swapping, self.swapping, self.waiting, self.files, self.files, self.files]
        kinds += [self.cramped, self.in_turn] if self.machine.modern else [self.cramped, self.written_out]
        kinds += [self.drain, self.objects, self.rings, self.rings]
        kinds += [
            self.object_in_cpusets,
            self.confined,
            self.confined,
            self.threads,
            self.nested,
            self.in_turn,
            self.drain,
        ]
        kinds += [] if self.machine.modern or self.machine.posted else [self.raced, self.raced]
        chosen: list[Draw] = self.one(*kinds)()
        return chosen

    # ---- the script ------------------------------------------------------------------------------------------

    def add(self, argv: list[str]) -> bool:
        """Run a command in the model and write it down, unless the documents leave its outcome open."""
        machine = self.model.machine
        before = copy.deepcopy(machine) if argv[0] not in LOOKING else machine  # it may have begun
        try:
            document = self.model.run(argv)
        except Unmodelled:
            self.model.machine = before
            return False
        self.script.lines.append(argv)
        self.script.expected.append(document)
        return True

    def look(self, pids: list[int], always: bool = False) -> None:
        """Pages and areas of these tasks and all nodes."""
        for pid in pids:
            if self.mm(pid) is not None:
                self.add(["show", "pages", str(pid)])
                if always or self.chance(2):
                    self.add(["numa-maps", str(pid)])
        self.add(["show", "nodes"])
        if self.machine.swap_areas and (always or self.chance(3)):
            self.add(["show", "swap"])

    def write(self, most: int) -> None:
        """The whole script."""
        while not self.add(self.init()):
            pass
        user = self.one([], [], ["--uid", "1"], ["--uid", "1", "--cap", "ipc_lock"])
        self.add(["task", "create", "--pid", "101", *self.place(), *user])
        if not self.machine.tasks:
            self.add(["task", "create", "--pid", "101"])
        first = self.one([], ["--addr", hex(NEAR * PAGE)], ["--addr", hex(FAR * PAGE)])
        self.add(["mmap", "101", f"{self.number(4, 60)}p", "--label", "heap", *first])
        if self.chance(3):
            self.add(["set-mempolicy", "101", "interleave", self.nodes(20)])
        if self.chance(3):
            self.add(["mbind", "101", self.span(101), self.one("interleave", "bind", "preferred"), self.nodes(20)])
        self.add(["fault", "101", "heap", "--write"])
        for _ in range(self.number(5, most)):
            for draw in self.course() if self.chance(7) else [self.command]:
                argv = draw()
                if self.add(argv):
                    self.look([pid for pid in sorted(self.machine.tasks) if str(pid) in argv[1:4]])
        self.look(sorted(self.machine.tasks), always=True)
        self.add(["check"])
