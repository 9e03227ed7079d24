"""Numbers and flags that a user can see: page flags, policy modes, move flags, errno numbers, limits of the model."""

from __future__ import annotations

import enum
import errno
from typing import Final

MIGRATE_CHUNK_SIZE: Final = 256
"""Targets allocated at a time by migrate_pages_to(); semantics.md 3.1 and B1."""

MAX_NUMNODES: Final = 1024
BITS_PER_LONG: Final = 64
"""Node ids are 0 to 1023; a larger one is EINVAL in every call."""

INDEX_LIMIT: Final = 1 << 32
"""The interleave index of an address is an unsigned 32-bit number (semantics.md 6.1)."""

NEVER: Final = 14
"""Release pass of a hold that no migration outlasts; larger than the last pass of every profile."""


class PG(enum.IntFlag):
    """Page flags that a page run carries; the others of semantics.md 1.2 are columns or derived."""

    DIRTY = 1
    REFERENCED = 2
    UPTODATE = 4
    ACTIVE = 8
    ERROR = 16
    CHECKED = 32
    MAPPEDTODISK = 64
    READAHEAD = 128


class VM(enum.IntFlag):
    """Flags of an area (semantics.md 1.5)."""

    READ = 1
    WRITE = 2
    EXEC = 4
    SHARED = 8
    LOCKED = 16
    IO = 32
    HUGETLB = 64
    PFNMAP = 128
    RESERVED = 256
    STACK = 512
    HEAP = 1024
    RANDOM = 2048


class MF(enum.IntFlag):
    """Flags of mbind(2) and move_pages(2)."""

    STRICT = 1
    MOVE = 2
    MOVE_ALL = 4


class Mode(enum.StrEnum):
    """Policy modes as the command line and get-mempolicy print them."""

    DEFAULT = "default"
    PREFERRED = "preferred"
    BIND = "bind"
    INTERLEAVE = "interleave"
    LOCAL = "local"
    PREFERRED_MANY = "preferred-many"
    WEIGHTED_INTERLEAVE = "weighted-interleave"


class ModeFlag(enum.StrEnum):
    """Mode flags of set_mempolicy(2) and mbind(2); only the modern profile takes them."""

    STATIC = "static-nodes"
    RELATIVE = "relative-nodes"
    BALANCING = "numa-balancing"


class Profile(enum.StrEnum):
    """Which kernel a state file models; semantics.md 4 and 8."""

    V9 = "v9"
    V9_POSTED = "v9-posted"
    MODERN = "modern"

    @property
    def modern(self) -> bool:
        """Whether it is a 6.x kernel."""
        return self is Profile.MODERN

    @property
    def posted(self) -> bool:
        """Whether it is the patches literally as mailed, defects included."""
        return self is Profile.V9_POSTED


CAPABILITIES: Final = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""Names of the capabilities in the order of their numbers, as capabilities(7) lists them."""

ALL_CAPABILITIES: Final = (1 << len(CAPABILITIES)) - 1


def capability(name: str) -> int:
    """The bit of a capability; ``sys_nice`` and ``CAP_SYS_NICE`` are the same. Raises ValueError for no such name."""
    return 1 << CAPABILITIES.index(name.lower().removeprefix("cap_"))


SYS_ADMIN: Final = capability("sys_admin")
SYS_NICE: Final = capability("sys_nice")
SYS_RESOURCE: Final = capability("sys_resource")
SYS_PTRACE: Final = capability("sys_ptrace")
IPC_LOCK: Final = capability("ipc_lock")


MAX_PID: Final = 1 << 22
"""Largest pid of a task: PID_MAX_LIMIT of 64-bit kernels."""

MAX_UID: Final = (1 << 32) - 2
"""Largest user id; the next number means none."""


def errno_number(name: str) -> int:
    """Number of an errno name; EFAULT is 14. Raises AttributeError for an unknown name."""
    return int(getattr(errno, name))
