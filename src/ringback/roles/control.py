"""Pause, resume, cancel: changes that hold from the moment they return.

A call that was leased before the change may still leave for a fraction of a second, so a stop waits until it cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.model.pacing import MICROSECONDS
from ringback.roles.leasing import GRACE_US, HORIZON_US, REACH_US
from ringback.store import jobs, tasks
from ringback.store.database import News

#: No leased call can leave later than this after its lease, seconds.
LONGEST_LEASE_SECONDS = (REACH_US + GRACE_US) / MICROSECONDS + 0.5
#: The same while the database is quick, seconds.
USUAL_LEASE_SECONDS = (HORIZON_US + GRACE_US) / MICROSECONDS + 0.01

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.clock import Clock
    from ringback.store.database import Store


async def pause_task(store: Store, clock: Clock, task_id: int, *, account_id: int | None = None) -> None:
    """Suspend: when this returns, no new call of the task starts.

    Raises :class:`~ringback.store.tasks.TaskNotFound`, :class:`~ringback.store.tasks.TaskWrongState`.
    """
    async with store.write() as tx:
        leaves_until = await tasks.suspend(tx, task_id, clock.now_ms(), account_id=account_id)
    await wait_until(clock, leaves_until)


async def resume_task(
    store: Store, clock: Clock, task_id: int, *, minute_seconds: float = 60.0, account_id: int | None = None
) -> None:
    """Go on after a pause. Raises as :func:`pause_task`. ``minute_seconds`` is the length of a recall minute."""
    async with store.write() as tx:
        await tasks.resume(tx, task_id, clock.now_ms(), minute_seconds=minute_seconds, account_id=account_id)
    store.announce(News.WORK)


async def cancel_tasks(store: Store, clock: Clock, task_ids: Sequence[int], *, account_id: int | None = None) -> None:
    """Cancel all of them or, when one cannot be, none: when this returns, no new call of them starts.

    Raises as :func:`pause_task`.
    """
    leaves_until = 0
    async with store.write() as tx:
        # In the order of ids, as everywhere: two that cancel the same tasks must not wait for each other.
        for task_id in sorted(set(task_ids)):
            leaves_until = max(leaves_until, await tasks.cancel(tx, task_id, clock.now_ms(), account_id=account_id))
    store.announce(News.WORK)
    await wait_until(clock, leaves_until)


async def pause_job(store: Store, clock: Clock, job_id: int, *, account_id: int) -> None:
    """When this returns, no new call of the job starts.

    Raises :class:`~ringback.store.jobs.JobNotFound`, :class:`~ringback.store.jobs.JobWrongState`.
    """
    async with store.write() as tx:
        of = await jobs.get(tx, account_id, job_id, lock=True)
        leaves_until = await jobs.pause(tx, of, clock.now_ms())
    await wait_until(clock, leaves_until)


async def delete_job(store: Store, clock: Clock, job_id: int, *, account_id: int) -> None:
    """Take a job away: when this returns, no new call of it starts. Raises as :func:`pause_job`."""
    async with store.write() as tx:
        of = await jobs.get(tx, account_id, job_id, lock=True)
        leaves_until = await jobs.remove(tx, of, clock.now_ms())
    await wait_until(clock, leaves_until)


async def wait_until(clock: Clock, at_ms: int) -> None:
    """Until no call that was leased can leave after ``at_ms`` any more; at once when that is 0: none is held."""
    if at_ms > 0:
        # Leases keep monotonic time. So a wait longer than any lease needs means that the wall clock was set back
        # since, and a shorter one than a lease usually needs may mean that it was set forward.
        seconds = (at_ms - clock.now_ms()) / 1000
        await clock.sleep(min(max(seconds, USUAL_LEASE_SECONDS), LONGEST_LEASE_SECONDS))
