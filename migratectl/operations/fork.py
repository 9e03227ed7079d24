"""fork(): a task that shares all private pages with its parent until one of them writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from migratectl.operations.machine import find_task, load_machine
from migratectl.operations.tasks import check_pid, task_row
from migratectl.storage import coalesce, pages, tasks, vmas
from migratectl.storage.connection import Connection
from migratectl.storage.vmas import Vma
from migratectl.uapi import VM


def fork(conn: Connection, pid: int, child: int) -> dict[str, Any]:
    """
    Make a copy of a task.

    The child gets its parent's user, CPU, cpuset, capabilities, policy, areas and labels; a lock in memory does not go
    along. Ptes are copied of areas that ever had an anonymous page, and of huge areas; all others start empty. What is
    private is write-protected in both, so the next write copies.

    Args:
        conn: The connection of the transaction.
        pid: The parent; of a thread the whole address space is copied, of a kernel thread there is none.
        child: Pid of the child.

    Returns:
        The child, as ``task create`` shows a task.

    Raises:
        NoSuchProcess: No such parent.
        AlreadyExists: The child's pid is taken.
        InvalidArgument: The child's pid is out of range.

    Source:
        dup_mmap(), copy_page_range() and copy_one_pte(); semantics.md 6.6.
    """
    machine = load_machine(conn)
    parent = find_task(conn, pid)
    check_pid(conn, child)
    mm = None if parent.mm is None else _copy_mm(conn, parent.mm, modern=machine.modern)
    task = replace(parent, pid=child, tgid=child, mm=mm)
    tasks.insert(conn, task)
    tasks.set_policy(conn, child, parent.policy, parent.il_next, parent.il_weight)
    return task_row(machine, task)


def _copy_mm(conn: Connection, mm: int, *, modern: bool) -> int:
    """A new address space of the same anonymous family: areas, labels, and the ptes that a fork copies."""
    copy = tasks.fork_mm(conn, mm)
    areas = vmas.load(conn, mm)
    vmas.insert_many(conn, [_child_of(vma, copy, number, modern=modern) for number, vma in enumerate(areas, 1)])
    for name, start, end in vmas.labels(conn, mm):
        vmas.add_label(conn, copy, name, start, end)
    copied = [vma for vma in areas if vma.anon_vma or vma.flags & VM.HUGETLB]
    for vma in copied:
        pages.fork_ptes(conn, mm, copy, (vma.start, vma.end), private=not vma.flags & VM.SHARED)
    if vmas.find_zero_mapping(conn, mm) is not None:
        own = vmas.zero_mapping(conn, copy)
        pages.fork_zero_pages(conn, mm, copy, [(vma.start, vma.end) for vma in copied], own)
    coalesce.coalesce(conn, pages.rows_between(conn, mm, 0, areas[-1].end if areas else 0, coalesce.LIMIT + 1))
    return copy


def _child_of(vma: Vma, mm: int, number: int, *, modern: bool) -> Vma:
    """
    The child's area: under V9 it shares its parent's anon_vma, today each gets one of its own.

    Source:
        anon_vma_link() of 2.6.16 and anon_vma_fork() of 6.1, mm/rmap.c.
    """
    child = replace(vma, mm=mm, flags=VM(vma.flags & ~int(VM.LOCKED)))
    return replace(child, anon_vma=number, forked=True) if modern and vma.anon_vma else child
