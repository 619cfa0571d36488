"""Tasks: made, listed, looked at, paused, resumed, cancelled."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import JSONBody, PathParameter, QueryParameter

from ringback.api.v1.door import By, Caller, needs
from ringback.api.v1.fields import (
    epoch_ms,
    refused,
)
from ringback.api.v1.flow_fields import rules_asked
from ringback.api.v1.new_task import number_list, variables_of
from ringback.api.v1.once import Made, once
from ringback.api.v1.paging import MAX_ID, Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import FieldError, Kind, Problem, invalid, not_found
from ringback.api.v1.task_fields import NewTask, TaskListed, TaskMade, TaskOut, limits_asked, task_listed, task_shown
from ringback.model.api_key import Scope
from ringback.model.round_rule import narrow
from ringback.model.states import TaskState
from ringback.model.task import (
    InvalidTask,
    TaskSpec,
)
from ringback.roles.control import cancel_tasks, pause_task, resume_task
from ringback.store import accounts, candidates, flows, listings, outlook, provenance, tasks
from ringback.store.accounts import NameTaken
from ringback.store.database import News, Tx
from ringback.store.tasks import Task, TaskNotFound, TaskWrongState

TaskId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the task.")]


@post("/tasks", status_code=201, tags=["tasks"], **needs(Scope.TASKS_WRITE, statuses=(Kind.CONFLICT, Kind.KEY_REUSED)))
async def make_task(request: Request[Any, Any, Any], caller: By, data: JSONBody[NewTask]) -> Made[TaskMade]:
    """Make a task over up to 200,000 numbers, with its recall flow when asked for."""
    limits = limits_asked(data.limits)
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
    return page_of(found, limit, lambda task: task.id, task_listed)


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
    return task_shown(
        task, waiting=await _why_waiting(tx, caller, task), flow_id=await listings.flow_of_task(tx, task.id)
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
