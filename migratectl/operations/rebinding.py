"""A task's policy follows the nodes of its cpuset: at once today, and under V9 when the task next needs it."""

from __future__ import annotations

from dataclasses import replace

from migratectl.kernel.cpuset import rebind, rebind_next
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes
from migratectl.storage import tasks
from migratectl.storage.connection import Connection
from migratectl.storage.tasks import Task


def rebound(task: Task, mems: Nodemask, *, modern: bool) -> Task:
    """
    The task with its policy as it is once its allowed nodes are *mems*; nothing is written.

    Source:
        mpol_rebind_task() of mm/mempolicy.c; semantics.md 3.6, B15.
    """
    if task.policy is None:
        return task
    policy = rebind(task.policy, mems, modern=modern)
    il_next = rebind_next(task.il_next, task.policy, policy)
    return replace(task, policy=policy, il_next=il_next, il_weight=task.il_weight if il_next == task.il_next else 0)


def up_to_date(machine: Machine, task: Task) -> Task:
    """
    The task as an allocation or a policy call of its own finds it: V9 rebinds its policy only then.

    Source:
        cpuset_update_task_memory_state() of kernel/cpuset.c; semantics.md 3.6.
    """
    return task if machine.modern else rebound(task, allowed_nodes(machine, task), modern=False)


def keep_policy(conn: Connection, task: Task) -> None:
    """Write a task's policy, and where its interleaving goes on."""
    tasks.set_policy(conn, task.pid, task.policy, task.il_next, task.il_weight)
