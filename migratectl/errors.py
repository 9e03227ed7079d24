"""What can go wrong: a refused call, and a state file that cannot be used. Facts are attributes, texts one line."""

from __future__ import annotations

from typing import ClassVar


class MigratectlError(Exception):
    """Base of all errors that a user can cause; the command line turns each into one line and an exit code."""


class KernelError(MigratectlError):
    """
    A modelled call that was refused: nothing was done, the transaction rolls back.

    Args:
        subject: What the call was about, such as ``pid 4711``.
        reason: One sentence with cause and remedy.
    """

    errno_name: ClassVar[str]

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {self.errno_name}: {reason}")
        self.subject, self.reason = subject, reason


class PermissionDenied(KernelError):
    """EPERM: the caller lacks the right or the capability."""

    errno_name = "EPERM"


class NoSuchFile(KernelError):
    """ENOENT: no object of that name."""

    errno_name = "ENOENT"


class NoSuchProcess(KernelError):
    """ESRCH: no task with that pid."""

    errno_name = "ESRCH"


class OutOfMemory(KernelError):
    """ENOMEM, where nothing was done."""

    errno_name = "ENOMEM"


class AccessDenied(KernelError):
    """EACCES: a cpuset forbids it."""

    errno_name = "EACCES"


class BadAddress(KernelError):
    """EFAULT: no area, or no page, at an address."""

    errno_name = "EFAULT"


class Busy(KernelError):
    """EBUSY: somebody holds it already."""

    errno_name = "EBUSY"


class AlreadyExists(KernelError):
    """EEXIST: the name, pid or address is taken."""

    errno_name = "EEXIST"


class NoSuchDevice(KernelError):
    """ENODEV: no such node."""

    errno_name = "ENODEV"


class InvalidArgument(KernelError):
    """EINVAL."""

    errno_name = "EINVAL"


class NoSpace(KernelError):
    """ENOSPC: a cpuset without CPUs or nodes."""

    errno_name = "ENOSPC"


class InputOutputError(KernelError):
    """EIO: mbind with STRICT found a page on another node."""

    errno_name = "EIO"


class TryAgain(KernelError):
    """A limit is reached."""

    errno_name = "EAGAIN"


class StateFileError(MigratectlError):
    """The state file is missing, not ours, damaged, of a newer version, read-only or without room."""


class StateBusy(MigratectlError):
    """Another process held the state file for longer than the timeout."""


class InputFileError(MigratectlError):
    """A file that was to be read is missing or malformed; names file and line."""
