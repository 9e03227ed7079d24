"""A task's policy follows the nodes of its cpuset: at once today, and under V9 when the task next needs it."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from migratectl.kernel.cpuset import rebind, rebind_next
from migratectl.nodemask import Nodemask
from migratectl.operations.machine import Machine, allowed_nodes
from migratectl.storage import tasks
from migratectl.storage.tasks import Task


def rebind_task(conn: Connection, task: Task, mems: Nodemask, *, modern: bool) -> Task:
    """
    The task with its policy as it is once its allowed nodes are *mems*.

    Source:
        mpol_rebind_task() of mm/mempolicy.c; semantics.md 3.6, B15.
    """
    if task.policy is None:
        return task
    policy = rebind(task.policy, mems, modern=modern)
    if policy == task.policy:
        return task
    il_next = rebind_next(task.il_next, task.policy, policy)
    il_weight = task.il_weight if il_next == task.il_next else 0
    tasks.set_policy(conn, task.pid, policy, il_next, il_weight)
    return replace(task, policy=policy, il_next=il_next, il_weight=il_weight)


def up_to_date(conn: Connection, machine: Machine, task: Task) -> Task:
    """
    The task at an allocation or a policy call of its own: V9 rebinds its policy only now.

    Source:
        cpuset_update_task_memory_state() of kernel/cpuset.c; semantics.md 3.6.
    """
    return task if machine.modern else rebind_task(conn, task, allowed_nodes(machine, task), modern=False)
