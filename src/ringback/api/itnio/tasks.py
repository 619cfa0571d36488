"""``group/call``: agent tasks, made, listed, cancelled and looked at."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ringback.api.itnio.door import Call, Success, get_route, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import (
    NumberIn,
    PeriodIn,
    SendAgentIn,
    TaskCancelIn,
    TaskQueryIn,
    check_range,
    local_text,
    local_time,
    page_body,
    paging,
)
from ringback.api.itnio.recall_flows import flow_spec, text_variables, unknown_template
from ringback.model.numbers import parse_callee
from ringback.model.states import TaskState
from ringback.model.task import (
    DEFAULT_CALL_SECONDS,
    DEFAULT_RING_SECONDS,
    MAX_NAMED_PROBLEMS,
    MAX_NUMBERS,
    TEXT_NAMES,
    InvalidTask,
    Limits,
    NumberList,
    TaskSpec,
    build_numbers,
)
from ringback.model.windows import MAX_WINDOWS, Window, parse_window
from ringback.roles.control import cancel_tasks
from ringback.store import accounts, flows, tasks, templates
from ringback.store.accounts import NameTaken
from ringback.store.database import News
from ringback.store.tasks import Task, TaskNotFound, TaskWrongState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.model.flow import FlowSpec

#: Task states as the vendor numbers them.
STATUS = {
    TaskState.WAITING: 0,
    TaskState.CALLING: 1,
    TaskState.FINISHED: 2,
    TaskState.SUBMISSION_FAILED: 3,
    TaskState.CANCELLED: 4,
    TaskState.SUSPENDED: 5,
    TaskState.SUBMITTING: 6,
}
_BY_STATUS = {number: state for state, number in STATUS.items()}
#: The only task type there is here: an AI-agent group call.
AGENT_TASK = 3
#: More numbers than this are checked on another thread, so that dialling goes on meanwhile.
MANY_NUMBERS = 1_000


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    largest = door.settings.max_body_megabytes
    return [
        *post_route(door, "/group/call/send/agent", SendAgentIn, send_agent, max_megabytes=largest),
        *post_route(door, "/group/call/query", TaskQueryIn, query),
        *post_route(door, "/group/call/cancel", TaskCancelIn, cancel),
        *get_route(door, "/group/call/detail", detail),
    ]


async def send_agent(call: Call, asked: SendAgentIn) -> Success:
    """Make a task, and its recall flow when asked for. ``data`` is the task's id."""
    if len(asked.numberInfoList) > MAX_NUMBERS:
        raise bad("numberInfoList", f"holds {len(asked.numberInfoList)} numbers, at most {MAX_NUMBERS}")
    template_id = _template_id(asked)
    async with call.door.store.read() as tx:
        application = await accounts.application_of(tx, call.account.id, asked.appId)
        stored = await templates.usable(tx, call.account.id, template_id)
        flow = None
        needed: frozenset[str] = frozenset()
        if asked.recallFlow is not None:
            flow = await flow_spec(tx, call.account.id, asked.recallFlow, prefix="recallFlow.")
            needed = await text_variables(tx, flow)
    if application is None:
        raise bad("appId", f"there is no application {asked.appId!r}")
    if stored is None:
        raise unknown_template("agentId" if asked.agentId is not None else "scriptId", template_id)
    try:
        spec = _task_spec(call, asked, template_id, application.id).checked()
        # A number must have the texts of every round, for any of them may call it.
        needed |= frozenset(stored.template.text_variables())
        if len(asked.numberInfoList) > MANY_NUMBERS:
            numbers = await asyncio.to_thread(_numbers, asked, needed)
        else:
            numbers = _numbers(asked, needed)
    except InvalidTask as error:
        raise VendorError(Code.PARAMETER, str(error)) from None
    task_id = await _store(call, spec, numbers, flow)
    call.door.store.announce(News.WORK)
    return Success(task_id, await _warning(asked, numbers))


async def _store(call: Call, spec: TaskSpec, numbers: NumberList, flow: FlowSpec | None) -> int:
    async with call.door.store.write() as tx:
        try:
            task_id = await tasks.create(tx, call.account.id, spec, numbers.calls, call.now_ms)
        except NameTaken as error:
            raise VendorError(Code.EXISTS, str(error)) from None
        if flow is not None:
            await flows.create(
                tx, call.account.id, task_id, flow, parent_template_id=spec.template_id, now_ms=call.now_ms
            )
    return task_id


async def query(call: Call, wanted: TaskQueryIn) -> Success:
    """The account's tasks created in a period, newest first.

    With ``taskType`` 3 the records are those of the AI pages; without it, those of the voice pages (``jobId``).
    """
    limit, offset = paging(wanted.current, wanted.size)
    zone = call.account.time_zone
    filters = wanted.params
    of_ai_pages = filters.taskType == AGENT_TASK
    if not of_ai_pages and isinstance(filters.taskType, int):
        raise bad("params.taskType", f"must be {AGENT_TASK} (agent group call), got {filters.taskType}")
    unknown = [number for number in filters.statusList or () if number not in _BY_STATUS]
    if unknown:
        raise bad("params.statusList", f"must hold statuses 0 to 6, got {unknown[0]}")
    start = local_time(filters.strTime, "params.strTime", zone)
    end = local_time(filters.endTime, "params.endTime", zone)
    async with call.door.store.read() as tx:
        total, found = await tasks.page(
            tx,
            call.account.id,
            created_from=start,
            created_to=end + 999,
            states=frozenset(_BY_STATUS[number] for number in filters.statusList or ()),
            application_id=filters.idxAppId,
            name_part=(filters.searchCondition or "").strip(),
            limit=limit,
            offset=offset,
        )
    records = [_listed(task, zone, of_ai_pages=of_ai_pages) for task in found]
    return Success(page_body(total, wanted.current, wanted.size, records))


async def cancel(call: Call, wanted: TaskCancelIn) -> Success:
    """Cancel tasks: all of those named, or none."""
    if not wanted.taskIdList:
        raise bad("taskIdList", "must hold at least one task")
    try:
        await cancel_tasks(call.door.store, call.door.clock, wanted.taskIdList, account_id=call.account.id)
    except (TaskNotFound, TaskWrongState) as error:
        raise bad("taskIdList", str(error)) from None
    return Success()


async def detail(call: Call, key: str) -> Success:
    """One task with its figures."""
    if not (key.isascii() and key.isdecimal() and len(key) <= 18):
        raise bad("id", "must be a task id")
    async with call.door.store.read() as tx:
        task = await tasks.get(tx, int(key), account_id=call.account.id)
    if task is None:
        raise bad("id", f"there is no task {key}")
    zone = call.account.time_zone
    return Success(
        {
            "jobId": task.id,
            "taskName": task.name,
            "displayNum": task.caller_id,
            "text": None,
            "status": STATUS[task.state],
            "rate": _progress(task),
            "numCnt": task.total,
            "chargeLen": 0,
            "success": task.answered,
            "fail": task.failed,
            "toseatNum": 0,
            "successRate": _percent(task.answered, task.called),
            "toseatNumRate": "0",
            "sendTime": local_text(task.send_at, zone),
            "createdTime": local_text(task.created_at, zone),
            "mdfTime": local_text(task.modified_at, zone),
            "finishTime": local_text(task.finished_at, zone),
            "appId": task.app_id,
            "calloutRate": task.limits.callout_rate,
            "callDuration": task.talk_ms // 1000,
            "maxCalls": task.limits.call_seconds,
            "callTotal": task.called,
            "acd": task.talk_ms // 1000 // task.answered if task.answered else 0,
            "scriptId": task.template_id,
        }
    )


def _template_id(asked: SendAgentIn) -> int:
    if asked.agentId is None and asked.scriptId is None:
        raise bad("agentId", "is missing")
    if None not in (asked.agentId, asked.scriptId) and asked.agentId != asked.scriptId:
        raise bad("scriptId", "differs from agentId; give one of them")
    found = asked.agentId if asked.agentId is not None else asked.scriptId
    assert found is not None
    return found


def _task_spec(call: Call, asked: SendAgentIn, template_id: int, application_id: int) -> TaskSpec:
    ring = DEFAULT_RING_SECONDS if asked.maxRingingTime is None else asked.maxRingingTime
    longest = DEFAULT_CALL_SECONDS if asked.maxCalls is None else asked.maxCalls
    callout_rate = 1 if asked.calloutRate is None else asked.calloutRate
    zone = call.account.time_zone
    return TaskSpec(
        name=asked.taskName.strip(),
        template_id=template_id,
        application_id=application_id,
        caller_id="" if asked.displayNum is None else str(asked.displayNum).strip(),
        send_at=local_time(asked.sendTime, "sendTime", zone) if asked.sendTime else None,
        limits=Limits(
            ring_seconds=check_range(ring, "maxRingingTime", 20, 120),
            call_seconds=check_range(longest, "maxCalls", 1, 999),
            windows=_windows(asked.allowSendTime or []),
            record=check_range(asked.enableRecording or 0, "enableRecording", 0, 1) == 1,
            callout_rate=check_range(callout_rate, "calloutRate", 1, 100),
        ),
    )


def _windows(periods: list[PeriodIn]) -> tuple[Window, ...]:
    if len(periods) > MAX_WINDOWS:
        raise bad("allowSendTime", f"has {len(periods)} periods, at most {MAX_WINDOWS}")
    windows = []
    for index, period in enumerate(periods):
        try:
            windows.append(parse_window(period.strTime, period.endTime))
        except ValueError as error:
            raise bad(f"allowSendTime[{index}]", str(error)) from None
    return tuple(windows)


def _numbers(asked: SendAgentIn, needed: frozenset[str]) -> NumberList:
    return build_numbers(_entries(asked.numberInfoList), field="numberInfoList", needed_texts=needed)


def _entries(numbers: list[NumberIn]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for number in numbers:
        texts = {name: value for name in TEXT_NAMES if (value := getattr(number, name)) is not None}
        yield str(number.calleeNumber), texts


async def _warning(asked: SendAgentIn, numbers: NumberList) -> str:
    warnings = []
    repeats = len(numbers.duplicates)
    if repeats:
        places = await asyncio.to_thread(_first_repeats, asked.numberInfoList)
        named = ", ".join(f"numberInfoList[{place}]" for place in places)
        also = f" and {repeats - len(places)} more" if repeats > len(places) else ""
        warnings.append(f"{repeats} repeated numbers are dialled once: {named}{also}")
    return "; ".join(warnings)


def _first_repeats(numbers: list[NumberIn]) -> list[int]:
    """Where the first few repeated numbers stand."""
    seen = set()
    places = []
    for index, number in enumerate(numbers):
        callee = parse_callee(str(number.calleeNumber))
        if callee in seen:
            places.append(index)
            if len(places) == MAX_NAMED_PROBLEMS:
                break
        seen.add(callee)
    return places


def _listed(task: Task, zone: str, *, of_ai_pages: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "taskId" if of_ai_pages else "jobId": task.id,
        "taskName": task.name,
        "status": STATUS[task.state],
        "rate": _progress(task),
        "numCnt": task.total,
        "callNum": task.called,
        "success": task.answered,
        "fail": task.failed,
        "createdTime": local_text(task.created_at, zone),
    }
    if of_ai_pages:
        record["scriptId"] = task.template_id
    return record


def _progress(task: Task) -> str:
    return _percent(task.total - task.queued - task.active, task.total)


def _percent(part: int, whole: int) -> str:
    """A percentage as the vendor prints it: a number in text, no sign."""
    return f"{100 * part / whole:.2f}".rstrip("0").rstrip(".") if whole else "0"
