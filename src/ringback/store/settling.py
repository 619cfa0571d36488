"""Settling a restored database: what its lost hours dialled, or may have dialled, is not dialled a second time.

The lost hours are those between the making of the copy and the moment at which it was noticed as one. Whatever could
have been dialled then is in question: tasks that were on the way or due, rounds that were due, and rounds that would
have become due if the ones before them had ended at once. A number that was dialled, as far as we are told, ends
``unknown``: the next round may recall it, as after a crash. All of it happens in the transaction of the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, literal, select, true, update

from ringback.model.flow import due_at
from ringback.model.instants import instant
from ringback.model.outcome import Outcome
from ringback.model.routing import rewritten
from ringback.model.states import ON_THE_LINE, CallState, FlowState, TaskState
from ringback.store import calls, dialects, lanes, node_start, outbox, provenance, submission, tasks, workers
from ringback.store.calls import CallResult
from ringback.store.flows import rule_of
from ringback.store.provenance import Lost
from ringback.store.schema import call, flow, node, task, trunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringback.store.database import Tx

#: How far ids go ahead, more than the lost hours can have given out: tasks, calls and rounds of them are known outside,
#: to clients, engines and in the names of recordings, and must not come to mean something else.
ID_GAPS = {"task": 10_000, "flow": 10_000, "node": 100_000, "worker": 10_000, "call": 100_000_000}
#: States of a task whose numbers are, or may come to be, dialled.
_OPEN = (TaskState.WAITING, TaskState.SUBMITTING, TaskState.CALLING, TaskState.SUSPENDED)
_IDS_A_STATEMENT = 10_000


class NotHeld(Exception):
    """The database is not held: there is nothing to settle."""


class NothingMatches(Exception):
    """None of the numbers that were said to be dialled is one that may have been."""


class Settled(msgspec.Struct):
    """What was done, in counts. ``left``: queued numbers of the tasks in question that go on to be dialled."""

    lost: Lost
    tasks: int = 0
    in_the_air: int = 0
    ended: int = 0
    left: int = 0
    rounds: int = 0
    #: Numbers that were said to be dialled, and are in no task in question.
    strangers: int = 0
    #: From where leases count on.
    leases: int = 0


async def nothing_lost(tx: Tx, now_ms: int) -> Settled:
    """Nothing was dialled after the copy was made: go on where it stopped. Raises :class:`NotHeld`."""
    settled = Settled(await _lost(tx))
    settled.leases = await provenance.release(tx, now_ms)
    return settled


async def settle(tx: Tx, dialled: frozenset[str] | None, *, pid: int, now_ms: int, minute_seconds: float) -> Settled:
    """The lost hours dialled these numbers and no others; ``None``: nobody knows, so all that they may have dialled.

    A number counts as dialled when it is listed as it is in its task, or as a trunk writes it, without the plus sign.
    No dialler may run. ``minute_seconds`` is the length of a recall minute.

    Raises :class:`NotHeld`, :class:`NothingMatches`.
    """
    work = _Settling(tx, await _lost(tx), dialled, now_ms, minute_seconds)
    await dialects.leave_ids(tx, ID_GAPS)
    await work.run(pid)
    work.settled.leases = await provenance.release(tx, now_ms)
    return work.settled


async def _lost(tx: Tx) -> Lost:
    if (await provenance.read(tx)).held_since is None:
        raise NotHeld
    return await provenance.lost_hours(tx)


class _Settling:
    def __init__(self, tx: Tx, lost: Lost, dialled: frozenset[str] | None, now_ms: int, minute_seconds: float) -> None:
        self.settled = Settled(lost)
        self._tx = tx
        self._lost = lost
        self._dialled = dialled
        self._met: set[str] = set()
        self._now_ms = now_ms
        self._minute_seconds = minute_seconds
        self._worker_id = 0
        #: How trunks write numbers: what they take off, and what they put in front then.
        self._writings: list[tuple[str, str]] = []
        copied = instant(lost.since)
        told = "was dialled" if dialled is not None else "may have been dialled"
        self._reason = f"it {told} after the restored copy of the database was made ({copied})"

    async def run(self, pid: int) -> None:
        tx, now_ms = self._tx, self._now_ms
        # The hand that holds calls from their taking out of the queue to their end, as each call needs one.
        self._worker_id = await workers.register(tx, engine="settle", pid=pid, now_ms=now_ms)
        await workers.ended(tx, self._worker_id, now_ms)
        self._writings = [
            (row.strip, row.prefix)
            for row in await tx.execute(select(trunk.c.strip, trunk.c.prefix).distinct())
            if row.strip or row.prefix
        ]
        on_the_way = list(await tx.scalars(self._in_question()))
        due = (await tx.execute(self._due())).all()
        await self._end_those_in_the_air()
        for task_id in on_the_way:
            await self._settle_task(task_id, self._lost.since)
        for row in due:
            self.settled.rounds += 1
            new_id = (await node_start.start_due(tx, now_ms, 1, only=row.id)).get(row.id)
            if new_id is not None:
                await self._settle_task(new_id, max(self._lost.since, row.due_at))
        self.settled.strangers = len((self._dialled or frozenset()) - self._met)
        if self._dialled and not self._met:
            raise NothingMatches

    def _in_question(self) -> Any:
        begun = (task.c.state != TaskState.WAITING) | (task.c.send_at <= self._lost.until)
        return select(task.c.id).where(task.c.state.in_(_OPEN), begun).order_by(task.c.id)

    def _due(self) -> Any:
        return (
            select(node.c.id, node.c.due_at)
            .where(node.c.state == FlowState.PENDING, node.c.due_at <= self._lost.until)
            .order_by(node.c.id)
        )

    async def _end_those_in_the_air(self) -> None:
        """What was held when the copy was made had been dialled, and no engine knows of it any more."""
        callees = await self._tx.scalars(select(call.c.callee).where(call.c.state.in_(ON_THE_LINE)))
        for callee in callees:
            self._was_dialled(callee)
        for dead in await workers.others(self._tx, self._worker_id):
            held = await calls.held_by(self._tx, dead.id)
            results = [
                CallResult(
                    call_id=one.call_id,
                    lease_no=one.lease_no,
                    outcome=Outcome.UNKNOWN,
                    ended_at=self._now_ms,
                    answered_at=one.answered_at,
                    reason="it was in the air when the restored copy of the database was made",
                )
                for one in held
            ]
            self.settled.in_the_air += len(results)
            await calls.ended(
                self._tx,
                dead.id,
                results,
                self._now_ms,
                minute_seconds=self._minute_seconds,
                by_settler=True,
            )
            await workers.settled(self._tx, dead.id, self._now_ms)

    async def _settle_task(self, task_id: int, begun_ms: int) -> None:
        """``begun_ms``: since when its numbers may have been dialled without our knowing, epoch ms."""
        tx = self._tx
        if await self._state(task_id) == TaskState.WAITING:
            await submission.submit(tx, [task_id], self._now_ms, minute_seconds=self._minute_seconds)
        if await self._state(task_id) in _OPEN:
            self.settled.tasks += 1
            self.settled.left += await self._end_numbers(task_id)
            await tasks.finish_done(tx, [task_id], self._now_ms, minute_seconds=self._minute_seconds)
        if await self._state(task_id) == TaskState.FINISHED:
            await self._next_round(task_id, begun_ms)

    async def _next_round(self, task_id: int, begun_ms: int) -> None:
        """The task is done, so the round behind it may have run too, if there was time for it."""
        tx = self._tx
        row = (await tx.execute(_following(task_id))).one_or_none()
        if row is None:
            return
        wait_minutes = rule_of(row).interval_minutes
        earliest_ms = due_at(begun_ms, wait_minutes, self._minute_seconds)
        if earliest_ms > self._lost.until:
            return
        self.settled.rounds += 1
        await tx.execute(update(node).where(node.c.id == row.id).values(due_at=self._now_ms))
        new_id = (await node_start.start_due(tx, self._now_ms, 1, only=row.id)).get(row.id)
        if new_id is None:
            return
        self.settled.tasks += 1
        left = await self._end_numbers(new_id)
        if left:
            # The task before may have ended at the end of the lost hours: nobody is recalled early.
            self.settled.left += left
            send_at = due_at(self._now_ms, wait_minutes, self._minute_seconds)
            await tx.execute(update(task).where(task.c.id == new_id).values(send_at=send_at))
            return
        await submission.submit(tx, [new_id], self._now_ms, minute_seconds=self._minute_seconds)
        if await self._state(new_id) == TaskState.FINISHED:
            await self._next_round(new_id, earliest_ms)

    async def _end_numbers(self, task_id: int) -> int:
        """The task's queued numbers that were dialled end. Returns how many stay in the queue.

        A call may end only when it was dialled by somebody, so the settling hand takes it out of the queue first. Its
        trunk is 0: nobody knows through which one it went.
        """
        queued = (call.c.task_id == task_id, call.c.state == CallState.QUEUED)
        count = int(await self._tx.scalar(select(func.count()).select_from(call).where(*queued)) or 0)
        ended = 0
        for chosen in await self._chosen(queued):
            taken = await self._tx.execute(
                update(call)
                .where(*queued, chosen)
                .values(state=CallState.DIALLING, worker_id=self._worker_id, trunk_id=0)
            )
            ended += taken.rowcount
        mine = (call.c.task_id == task_id, call.c.state == CallState.DIALLING, call.c.worker_id == self._worker_id)
        ids = list(await self._tx.scalars(select(call.c.id).where(*mine)))
        await self._tx.execute(
            update(call)
            .where(*mine)
            .values(state=CallState.ENDED, outcome=Outcome.UNKNOWN, ended_at=self._now_ms, keys="", reason=self._reason)
        )
        if ended:
            await self._tx.execute(
                update(task)
                .where(task.c.id == task_id)
                .values(queued=task.c.queued - ended, failed=task.c.failed + ended, modified_at=self._now_ms)
            )
            await lanes.recount(self._tx, task_id)
            await outbox.calls_ended(self._tx, ids, self._now_ms)
        self.settled.ended += ended
        return count - ended

    async def _chosen(self, queued: tuple[Any, ...]) -> list[Any]:
        """Conditions that together choose those of the queued numbers that were dialled."""
        if self._dialled is None:
            return [true()]
        rows = await self._tx.execute(select(call.c.id, call.c.callee).where(*queued).order_by(call.c.id))
        ids = [row.id for row in rows if self._was_dialled(row.callee)]
        return [call.c.id.in_(part) for part in _parts(ids)]

    def _was_dialled(self, callee: str) -> bool:
        if self._dialled is None:
            return True
        found = [written for written in self._written(callee) if written in self._dialled]
        self._met.update(found)
        return bool(found)

    def _written(self, callee: str) -> Iterator[str]:
        yield callee
        for strip, prefix in self._writings:
            try:
                yield rewritten(callee, strip, prefix).removeprefix("+")
            except ValueError:
                continue  # this trunk cannot dial it

    async def _state(self, task_id: int) -> str:
        return str(await self._tx.scalar(select(task.c.state).where(task.c.id == task_id)))


def _following(task_id: int) -> Any:
    """The pending round that comes after a task, with the interval of its flow."""
    before = (
        select(node.c.flow_id, node.c.position)
        .where(node.c.task_id == task_id)
        .union_all(select(flow.c.id, literal(0)).where(flow.c.parent_task_id == task_id))
        .subquery()
    )
    return (
        select(
            node.c.id,
            node.c.rule,
            node.c.template_id,
            flow.c.interval_minutes,
            flow.c.recall_type,
            flow.c.recall_intents,
        )
        .join(before, (before.c.flow_id == node.c.flow_id) & (before.c.position + 1 == node.c.position))
        .join(flow, flow.c.id == node.c.flow_id)
        .where(node.c.state == FlowState.PENDING)
    )


def _parts(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _IDS_A_STATEMENT):
        yield ids[start : start + _IDS_A_STATEMENT]
