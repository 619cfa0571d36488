"""Why a number was or was not dialled, in every round of its task: what is asked of the tables.

A handful of statements, each by key: a task of 200,000 numbers is not read. What they mean is found in
:mod:`ringback.model.explanation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import or_, select

from ringback.model import explanation, redial_explanation
from ringback.model.explanation import CallExplanation, Explanation, Node
from ringback.model.job import JobSpec, JobState
from ringback.model.states import CallState, FlowState, TaskState
from ringback.model.task import TaskKind
from ringback.store import flows, provenance, records, tasks, waits
from ringback.store.records import CallRecord
from ringback.store.schema import call, flow, node, task
from ringback.store.schema_engine import worker
from ringback.store.schema_jobs import job, job_round, redial
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ringback.store.database import Tx


class NumberNotFound(Exception):
    """Neither the task nor any that belongs with it has that number."""


async def number(tx: Tx, account_id: int | None, task_id: int, callee: str, *, engine: str, now_us: int) -> Explanation:
    """Everything that became of a number, and why; what is queued waits as things are at ``now_us`` on ``engine``.

    ``task_id`` names the whole chain: a task with or without a flow, a round of a flow, or a round of a job.
    ``account_id``: only when the task is that account's; ``None`` for any.

    Raises :class:`~ringback.store.tasks.TaskNotFound`, :class:`NumberNotFound`.
    """
    asked = await tasks.get(tx, task_id, account_id=account_id)
    if asked is None:
        raise TaskNotFound(f"there is no task {task_id}")
    search = _Search(tx, callee, engine=engine, now_us=now_us)
    found = await (search.of_job(task_id) if asked.kind is TaskKind.JOB else search.of_flow(task_id))
    if all(one.call is None for one in found.rounds):
        raise NumberNotFound(f"task {task_id} does not have the number {callee}")
    return found


class _Task(msgspec.Struct, frozen=True):
    """What is known of a round's task, and of the number's call in it."""

    state: TaskState
    call: CallExplanation | None


class _Search:
    """Reads what became of one number."""

    def __init__(self, tx: Tx, callee: str, *, engine: str, now_us: int) -> None:
        self._tx = tx
        self._callee = callee
        self._engine = engine
        self._now_us = now_us

    async def of_flow(self, task_id: int) -> Explanation:
        of_node = select(node.c.flow_id).where(node.c.task_id == task_id).scalar_subquery()
        flow_id = await self._tx.scalar(
            select(flow.c.id).where(or_(flow.c.parent_task_id == task_id, flow.c.id == of_node))
        )
        detail = None if flow_id is None else await flows.detail(self._tx, flow_id)
        parent_id = task_id if detail is None else detail.parent_task_id
        nodes = [] if detail is None else detail.nodes
        known = await self._tasks([parent_id, *(one.task_id for one in nodes if one.task_id is not None)])
        held = await provenance.why_held(self._tx) if any(one.due_at is not None for one in nodes) else ""
        rounds = [explanation.first_round(parent_id, known[parent_id].state, known[parent_id].call)]
        for one in nodes:
            of = None if one.task_id is None else known[one.task_id]
            asked = Node(
                id=one.id,
                position=one.position,
                state=one.state,
                audience=one.rule.audience,
                task_id=one.task_id,
                task_state=None if of is None else of.state,
                due_at=one.due_at,
                chose=one.qualified is not None,
                reason=one.reason or (held if one.state is FlowState.PENDING and one.due_at is not None else ""),
            )
            rounds.append(explanation.flow_round(asked, rounds[-1], None if of is None else of.call))
        return Explanation(callee=self._callee, task_id=parent_id, flow_id=flow_id, job_id=None, rounds=rounds)

    async def of_job(self, task_id: int) -> Explanation:
        of_task = select(job_round.c.job_id).where(job_round.c.task_id == task_id).scalar_subquery()
        row = (
            await self._tx.execute(
                select(job.c.id, job.c.state, job.c.spec, job.c.deleted_at).where(job.c.id == of_task)
            )
        ).one()
        task_ids = list(
            await self._tx.scalars(
                select(job_round.c.task_id).where(job_round.c.job_id == row.id).order_by(job_round.c.round)
            )
        )
        known = await self._tasks(task_ids, job_over=_job_over(row))
        asked = redial_explanation.Job(redial=msgspec.json.decode(row.spec, type=JobSpec).redial, over=_job_waits(row))
        rounds = [explanation.first_round(task_ids[0], known[task_ids[0]].state, known[task_ids[0]].call)]
        last = max((at for at, one in enumerate(task_ids) if known[one].call is not None), default=0)
        for one in task_ids[1 : last + 1]:
            of = known[one]
            if of.call is None:
                made = redial_explanation.without(asked, rounds[-1], None, task_id=one, task_state=of.state)
            else:
                made = redial_explanation.redialled(rounds[-1], one, of.state, of.call)
            rounds.append(made)
        latest = rounds[-1].call
        if latest is not None:
            due_at = await self._tx.scalar(select(redial.c.due_at).where(redial.c.call_id == latest.id))
            rounds.append(redial_explanation.without(asked, rounds[-1], due_at))
        return Explanation(callee=self._callee, task_id=task_ids[0], flow_id=None, job_id=row.id, rounds=rounds)

    async def _tasks(self, task_ids: Collection[int], *, job_over: str = "") -> Mapping[int, _Task]:
        """The tasks with the number's calls in them; ``job_over``: why the job that they belong to is over."""
        rows = await self._tx.execute(select(task.c.id, task.c.state).where(task.c.id.in_(task_ids)))
        states = {row.id: TaskState(row.state) for row in rows}
        calls = {row.task_id: row for row in await self._tx.execute(_calls(task_ids, self._callee))}
        known: dict[int, _Task] = {}
        for task_id, state in states.items():
            row = calls.get(task_id)
            known[task_id] = _Task(state, None if row is None else await self._explained(row, state, job_over))
        return known

    async def _explained(self, row: Any, state: TaskState, job_over: str) -> CallExplanation:
        record = msgspec.convert(row, CallRecord, from_attributes=True)
        wait = await self._why_not(record, row.task_id, state, job_over)
        return CallExplanation(
            id=record.id,
            state=record.state,
            outcome=record.outcome,
            started_at=record.started_at,
            answered_at=row.answered_at,
            ended_at=record.ended_at,
            worker_id=row.worker_id,
            worker=row.worker_name or row.engine,
            trunk=record.trunk,
            ring_ms=record.ring_ms,
            talk_ms=record.talk_ms,
            sip_code=record.sip_code,
            q850_cause=record.q850_cause,
            hung_up_by=record.hung_up_by,
            keys=record.keys,
            intent=record.intent,
            reason=record.reason,
            not_dialled=wait.reason,
            not_before=wait.not_before,
        )

    async def _why_not(self, record: CallRecord, task_id: int, state: TaskState, job_over: str) -> waits.Wait:
        """Why a call has not been dialled; an empty reason when it has."""
        if record.state is CallState.QUEUED:
            of = await tasks.get(self._tx, task_id)
            assert of is not None, "a call has a task"
            return await waits.of_number(self._tx, of, record, engine=self._engine, now_us=self._now_us)
        if record.state is CallState.SKIPPED:
            return waits.Wait(record.reason or "")
        if record.state is CallState.CANCELLED:
            if state is not TaskState.CANCELLED:
                return waits.Wait("it was taken out of the task")
            return waits.Wait("the task was cancelled" + (f": {job_over}" if job_over else ""))
        return waits.Wait("")


def _calls(task_ids: Collection[int], callee: str) -> Any:
    return (
        records.QUERY.add_columns(
            call.c.task_id, call.c.answered_at, call.c.worker_id, worker.c.engine, worker.c.name.label("worker_name")
        )
        .join(worker, worker.c.id == call.c.worker_id, isouter=True)
        .where(call.c.task_id.in_(task_ids), call.c.callee == callee)
    )


def _job_over(row: Any) -> str:
    """Why a job calls nobody any more; empty when it may."""
    if row.deleted_at is not None:
        return "the job was deleted"
    return "the job is completed" if row.state == JobState.COMPLETED else ""


def _job_waits(row: Any) -> str:
    """Why a job calls nobody now; empty when it does."""
    return _job_over(row) or ("" if row.state == JobState.RUNNING else f"the job is {row.state.replace('_', ' ')}")
