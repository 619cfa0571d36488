"""Tasks: made, listed, looked at, paused, resumed, cancelled."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from ringback.api.v1.door import By, Caller, needs
from ringback.api.v1.fields import (
    Id,
    Instant,
    NumberIn,
    WindowIn,
    epoch_ms,
    moment,
    moment_or_none,
    refused,
    windows_of,
    windows_shown,
)
from ringback.api.v1.flow_fields import FlowIn, rules_asked
from ringback.api.v1.new_task import number_list, variables_of
from ringback.api.v1.once import Made, once
from ringback.api.v1.paging import Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import FieldError, Kind, Problem, invalid, not_found
from ringback.model.api_key import Scope
from ringback.model.billing import money_text
from ringback.model.round_rule import narrow
from ringback.model.states import TaskState
from ringback.model.task import (
    DEFAULT_CALL_SECONDS,
    DEFAULT_RING_SECONDS,
    MAX_NUMBERS,
    InvalidTask,
    Limits,
    TaskSpec,
)
from ringback.model.windows import MAX_WINDOWS
from ringback.roles.control import cancel_tasks, pause_task, resume_task
from ringback.store import accounts, candidates, flows, listings, outlook, provenance, tasks
from ringback.store.accounts import DEFAULT_APP_ID, NameTaken
from ringback.store.database import News, Tx
from ringback.store.tasks import Task, TaskNotFound, TaskWrongState


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


TaskId = Annotated[int, PathParameter(ge=1, description="Id of the task.")]


@post("/tasks", status_code=201, tags=["tasks"], **needs(Scope.TASKS_WRITE, statuses=(Kind.CONFLICT, Kind.KEY_REUSED)))
async def make_task(request: Request[Any, Any, Any], caller: By, data: JSONBody[NewTask]) -> Made[TaskMade]:
    """Make a task over up to 200,000 numbers, with its recall flow when asked for."""
    limits = _limits(data.limits)
    if not data.numbers and not data.takes_more:
        raise invalid("numbers", "must hold at least one number, unless the task takes more")
    rules = [] if data.flow is None else rules_asked(data.flow, data.template_id, "flow.nodes")
    named = {"template_id": data.template_id}
    named |= {f"flow.nodes[{at}].template_id": rule.template_id for at, rule in enumerate(rules)}
    async with caller.store.read() as tx:
        application = await accounts.application_of(tx, caller.account_id, data.application)
        if application is None:
            raise invalid("application", f"there is no application {data.application!r}")
        needed = await variables_of(tx, caller.account_id, named)
    numbers = await number_list(data.numbers, needed, field="numbers")
    try:
        spec = TaskSpec(
            name=data.name.strip(),
            template_id=data.template_id,
            application_id=application.id,
            caller_id=data.caller_id,
            send_at=None if data.start_at is None else epoch_ms(data.start_at, "start_at"),
            limits=limits,
            takes_more=data.takes_more,
        ).checked()
    except InvalidTask as error:
        raise refused(error) from None

    async def work(tx: Tx) -> TaskMade:
        try:
            task_id = await tasks.create(tx, caller.account_id, spec, numbers.calls, caller.now_ms)
        except NameTaken as error:
            text = str(error).removeprefix("taskName: ")
            raise Problem(Kind.CONFLICT, f"name: {text}", errors=[FieldError("name", text)]) from None
        caller_id_fault = await candidates.caller_id_refused(tx, task_id, engine=caller.house.settings.telephony)
        if caller_id_fault is not None:
            raise invalid("caller_id", caller_id_fault)
        flow_id = None
        if rules:
            flow_id = await flows.create_rounds(
                tx, caller.account_id, task_id, rules, spec=narrow(rules), now_ms=caller.now_ms
            )
        return TaskMade(id=task_id, flow_id=flow_id, numbers=len(numbers.calls), repeated=numbers.duplicates)

    made = await once(request, caller, work, status=201)
    caller.store.announce(News.WORK)
    return made


@get("/tasks", tags=["tasks"], **needs(Scope.TASKS_READ))
async def list_tasks(
    caller: By,
    limit: Limit = 50,
    cursor: Cursor = None,
    task_state: Annotated[TaskState | None, QueryParameter(name="state")] = None,
    application: Annotated[str | None, QueryParameter(max_length=64)] = None,
    name: Annotated[str | None, QueryParameter(max_length=64, description="A part of the name.")] = None,
) -> Page[TaskListed]:
    """The account's tasks, newest first; those of older jobs are not among them."""
    async with caller.store.read() as tx:
        found = await listings.tasks_of(
            tx,
            caller.account_id,
            before=behind(cursor),
            limit=limit + 1,
            state=task_state,
            app_id=application,
            name_part=(name or "").strip(),
        )
    return page_of(found, limit, lambda task: task.id, _listed)


@get("/tasks/{task_id:int}", tags=["tasks"], **needs(Scope.TASKS_READ, statuses=(Kind.NOT_FOUND,)))
async def get_task(caller: By, task_id: TaskId) -> TaskOut:
    """One task with its figures, and why it waits when it does."""
    async with caller.store.read() as tx:
        return await shown(tx, caller, task_id)


@post(
    "/tasks/{task_id:int}/pause",
    status_code=200,
    tags=["tasks"],
    **needs(Scope.TASKS_WRITE, statuses=(Kind.NOT_FOUND, Kind.CONFLICT)),
)
async def pause(caller: By, task_id: TaskId) -> TaskOut:
    """Suspend a task that calls. When the answer comes, no new call of it starts."""
    return await _changed(
        caller, task_id, pause_task(caller.store, caller.house.clock, task_id, account_id=caller.account_id)
    )


@post(
    "/tasks/{task_id:int}/resume",
    status_code=200,
    tags=["tasks"],
    **needs(Scope.TASKS_WRITE, statuses=(Kind.NOT_FOUND, Kind.CONFLICT)),
)
async def resume(caller: By, task_id: TaskId) -> TaskOut:
    """Go on with a suspended task."""
    house = caller.house
    going_on = resume_task(
        caller.store,
        house.clock,
        task_id,
        minute_seconds=house.settings.minute_seconds,
        account_id=caller.account_id,
    )
    return await _changed(caller, task_id, going_on)


@post(
    "/tasks/{task_id:int}/cancel",
    status_code=200,
    tags=["tasks"],
    **needs(Scope.TASKS_WRITE, statuses=(Kind.NOT_FOUND, Kind.CONFLICT)),
)
async def cancel(caller: By, task_id: TaskId) -> TaskOut:
    """Cancel a task. When the answer comes, no new call of it starts; calls in the air end. Its flow is cancelled."""
    return await _changed(
        caller, task_id, cancel_tasks(caller.store, caller.house.clock, [task_id], account_id=caller.account_id)
    )


async def _changed(caller: Caller, task_id: int, change: Any) -> TaskOut:
    try:
        await change
    except TaskNotFound:
        raise not_found("task", task_id) from None
    except TaskWrongState as error:
        raise Problem(Kind.CONFLICT, str(error)) from None
    async with caller.store.read() as tx:
        return await shown(tx, caller, task_id)


async def shown(tx: Tx, caller: Caller, task_id: int) -> TaskOut:
    """The account's task as it is answered. Raises :class:`Problem` when there is none."""
    task = await tasks.get(tx, task_id, account_id=caller.account_id)
    if task is None:
        raise not_found("task", task_id)
    return TaskOut(
        id=task.id,
        name=task.name,
        state=task.state,
        reason=task.reason,
        waiting=await _why_waiting(tx, caller, task),
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
        counts=_counts(task),
        flow_id=await listings.flow_of_task(tx, task.id),
        talk_seconds=task.talk_ms / 1000,
        charged_seconds=task.charged_seconds,
        cost=money_text(task.cost_micros),
        created_at=moment(task.created_at),
        start_at=moment(task.send_at),
        started_at=moment_or_none(task.started_at),
        finished_at=moment_or_none(task.finished_at),
    )


async def _why_waiting(tx: Tx, caller: Caller, task: Task) -> str | None:
    held = await provenance.why_held(tx)
    if task.state is TaskState.CALLING and task.queued:
        waiting = await outlook.waiting_reasons(
            tx, engine=caller.house.settings.telephony, now_us=caller.house.clock.now_us()
        )
        return waiting.get(task.id) or held or None
    if task.state is TaskState.WAITING:
        return held or "its start has not come"
    return "it is paused" if task.state is TaskState.SUSPENDED else None


def _limits(asked: LimitsIn) -> Limits:
    return Limits(
        ring_seconds=asked.ring_seconds,
        call_seconds=asked.call_seconds,
        lines=asked.lines,
        windows=windows_of(asked.windows, "limits.windows", MAX_WINDOWS),
        record=asked.record,
    )


def _counts(task: Task) -> Counts:
    return Counts(
        total=task.total,
        queued=task.queued,
        active=task.active,
        answered=task.answered,
        failed=task.failed,
        skipped=task.skipped,
        cancelled=task.cancelled,
    )


def _listed(task: Task) -> TaskListed:
    return TaskListed(
        id=task.id,
        name=task.name,
        state=task.state,
        application=task.app_id,
        template_id=task.template_id,
        counts=_counts(task),
        created_at=moment(task.created_at),
        finished_at=moment_or_none(task.finished_at),
    )
