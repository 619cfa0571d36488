"""A task as it is asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from ringback.api.v1.fields import Id, Instant, NumberIn, WindowIn, moment, moment_or_none, windows_of, windows_shown
from ringback.api.v1.flow_fields import FlowIn
from ringback.model.billing import money_text
from ringback.model.states import TaskState
from ringback.model.task import DEFAULT_CALL_SECONDS, DEFAULT_RING_SECONDS, MAX_NUMBERS, Limits
from ringback.model.windows import MAX_WINDOWS
from ringback.store.accounts import DEFAULT_APP_ID
from ringback.store.tasks import Task


class LimitsIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What holds for every call of a task and of its rounds. ``lines``: calls at once, null for as many as the trunks
    carry. ``windows``: when callees may be called, in their own time zone; empty for always.
    """

    ring_seconds: Annotated[int, msgspec.Meta(ge=5, le=120)] = DEFAULT_RING_SECONDS
    call_seconds: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = DEFAULT_CALL_SECONDS
    lines: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    windows: list[WindowIn] = []
    record: bool = False


class NewTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A task to make. ``flow``: how its numbers are called again. ``takes_more``: numbers may join later, and it does
    not finish until it is closed.
    """

    name: Annotated[str, msgspec.Meta(min_length=2, max_length=64, examples=["reminder"])]
    template_id: Id
    numbers: Annotated[list[NumberIn], msgspec.Meta(max_length=MAX_NUMBERS)] = []
    application: Annotated[str, msgspec.Meta(max_length=64)] = DEFAULT_APP_ID
    caller_id: Annotated[str, msgspec.Meta(pattern="^[0-9]{0,20}$")] = ""
    start_at: Instant | None = None
    limits: LimitsIn = msgspec.field(default_factory=LimitsIn)
    takes_more: bool = False
    flow: FlowIn | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a task: ``total`` is the sum of the others."""

    total: int
    queued: int
    active: int
    answered: int
    failed: int
    skipped: int
    cancelled: int


class TaskOut(msgspec.Struct, frozen=True, kw_only=True):
    """A task. ``waiting``: why one that is not over gets no line at this moment, else null. ``cost``: in the account's
    currency, as text.
    """

    id: int
    name: str
    state: TaskState
    reason: str
    waiting: str | None
    application: str
    template_id: int
    caller_id: str
    limits: LimitsIn
    counts: Counts
    flow_id: int | None
    talk_seconds: float
    charged_seconds: int
    cost: str
    created_at: datetime
    start_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskListed(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a list."""

    id: int
    name: str
    state: TaskState
    application: str
    template_id: int
    counts: Counts
    created_at: datetime
    finished_at: datetime | None


class TaskMade(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. ``repeated``: numbers that were there more than once, and are dialled once."""

    id: int
    flow_id: int | None
    numbers: int
    repeated: list[str]


def limits_asked(asked: LimitsIn) -> Limits:
    """The limits of a request. Raises :class:`~.problems.Problem`."""
    return Limits(
        ring_seconds=asked.ring_seconds,
        call_seconds=asked.call_seconds,
        lines=asked.lines,
        windows=windows_of(asked.windows, "limits.windows", MAX_WINDOWS),
        record=asked.record,
    )


def counts_of(task: Task) -> Counts:
    """The numbers of a task."""
    return Counts(
        total=task.total,
        queued=task.queued,
        active=task.active,
        answered=task.answered,
        failed=task.failed,
        skipped=task.skipped,
        cancelled=task.cancelled,
    )


def task_listed(task: Task) -> TaskListed:
    """A task in a list."""
    return TaskListed(
        id=task.id,
        name=task.name,
        state=task.state,
        application=task.app_id,
        template_id=task.template_id,
        counts=counts_of(task),
        created_at=moment(task.created_at),
        finished_at=moment_or_none(task.finished_at),
    )


def task_shown(task: Task, *, waiting: str | None, flow_id: int | None) -> TaskOut:
    """A task as it is answered."""
    return TaskOut(
        id=task.id,
        name=task.name,
        state=task.state,
        reason=task.reason,
        waiting=waiting,
        application=task.app_id,
        template_id=task.template_id,
        caller_id=task.caller_id,
        limits=LimitsIn(
            ring_seconds=task.limits.ring_seconds,
            call_seconds=task.limits.call_seconds,
            lines=task.limits.lines,
            windows=windows_shown(task.limits.windows),
            record=task.limits.record,
        ),
        counts=counts_of(task),
        flow_id=flow_id,
        talk_seconds=task.talk_ms / 1000,
        charged_seconds=task.charged_seconds,
        cost=money_text(task.cost_micros),
        created_at=moment(task.created_at),
        start_at=moment(task.send_at),
        started_at=moment_or_none(task.started_at),
        finished_at=moment_or_none(task.finished_at),
    )
