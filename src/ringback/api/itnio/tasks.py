"""``group/call``: tasks, listed, cancelled and looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.answers import Page, TaskDetailOut, TaskListedOut, page_of
from ringback.api.itnio.door import Call, Success, get_route, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import TaskCancelIn, TaskQueryIn, local_text, local_time, paging, path_id
from ringback.model.states import TaskState
from ringback.model.task import TaskKind
from ringback.roles.control import cancel_tasks
from ringback.store import tasks, templates
from ringback.store.tasks import Task, TaskNotFound, TaskWrongState

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door

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
#: The most tasks that one request cancels.
MAX_CANCELLED = 1_000


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return [
        *post_route(door, "/group/call/query", TaskQueryIn, query, answers=Page[TaskListedOut]),
        *post_route(door, "/group/call/cancel", TaskCancelIn, cancel),
        *get_route(door, "/group/call/detail", detail, answers=TaskDetailOut),
    ]


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
            # Rounds of jobs are shown by the job family only.
            kinds=frozenset({TaskKind.AGENT}) if of_ai_pages else frozenset(TaskKind) - {TaskKind.JOB},
            limit=limit,
            offset=offset,
        )
    records = [_listed(task, zone, of_ai_pages=of_ai_pages) for task in found]
    return Success(page_of(total, wanted.current, wanted.size, records))


async def cancel(call: Call, wanted: TaskCancelIn) -> Success:
    """Cancel tasks: all of those named, or none."""
    if not wanted.taskIdList:
        raise bad("taskIdList", "must hold at least one task")
    if len(wanted.taskIdList) > MAX_CANCELLED:
        raise VendorError(Code.LIMIT, f"taskIdList: holds {len(wanted.taskIdList)} tasks, at most {MAX_CANCELLED}")
    try:
        await cancel_tasks(call.door.store, call.door.clock, wanted.taskIdList, account_id=call.account.id)
    except TaskNotFound as error:
        raise VendorError(Code.NOT_FOUND, f"taskIdList: {error}") from None
    except TaskWrongState as error:
        raise VendorError(Code.TASK_WRONG, f"taskIdList: {error}") from None
    return Success()


async def detail(call: Call, key: str) -> Success:
    """One task with its figures."""
    task_id = path_id(key, "id", "a task id")
    async with call.door.store.read() as tx:
        task = await tasks.get(tx, task_id, account_id=call.account.id)
        if task is None:
            raise bad("id", f"there is no task {key}")
        stored = await templates.get(tx, task.template_id)
        pressed = await tasks.count_with_keys(tx, task.id)
    node = VoiceNodeShown() if stored is None or stored.voice_node is None else _shown(stored.voice_node)
    zone = call.account.time_zone

    def text(at_ms: int | None) -> str | None:
        return None if at_ms is None else local_text(at_ms, zone)

    return Success(
        TaskDetailOut(
            jobId=task.id,
            taskName=task.name,
            displayNum=task.caller_id,
            text=node.text,
            status=STATUS[task.state],
            rate=_progress(task),
            numCnt=task.total,
            chargeLen=task.charged_seconds,
            success=task.answered,
            fail=task.failed,
            toseatNum=0,
            successRate=_percent(task.answered, task.called),
            toseatNumRate="0",
            sendTime=text(task.send_at),
            createdTime=text(task.created_at),
            mdfTime=text(task.modified_at),
            finishTime=text(task.finished_at),
            appId=task.app_id,
            source=node.source,
            voiceFileId=node.voiceFileId,
            calloutRate=task.limits.callout_rate,
            keyFeedbackNum=pressed,
            uploadName=node.uploadName,
            lan=node.lan,
            callDuration=task.talk_ms // 1000,
            maxCalls=task.limits.call_seconds,
            loopCount=node.loopCount,
            callTotal=task.called,
            acd=task.talk_ms // 1000 // task.answered if task.answered else 0,
            scriptId=task.template_id,
        )
    )


class VoiceNodeShown(msgspec.Struct, frozen=True):
    """What is shown of the voice node of a task; an agent task has none."""

    source: int | None = None
    voiceFileId: str | None = None
    uploadName: str | None = None
    text: str | None = None
    lan: str | None = None
    loopCount: int | None = None


def _shown(voice_node: str) -> VoiceNodeShown:
    return msgspec.json.decode(voice_node, type=VoiceNodeShown)


def _listed(task: Task, zone: str, *, of_ai_pages: bool) -> TaskListedOut:
    return TaskListedOut(
        taskName=task.name,
        status=STATUS[task.state],
        rate=_progress(task),
        numCnt=task.total,
        callNum=task.called,
        success=task.answered,
        fail=task.failed,
        createdTime=local_text(task.created_at, zone),
        taskId=task.id if of_ai_pages else msgspec.UNSET,
        jobId=msgspec.UNSET if of_ai_pages else task.id,
        scriptId=task.template_id if of_ai_pages else msgspec.UNSET,
    )


def _progress(task: Task) -> str:
    return _percent(task.total - task.queued - task.active, task.total)


def _percent(part: int, whole: int) -> str:
    """A percentage as the vendor prints it: a number in text, no sign."""
    return f"{100 * part / whole:.2f}".rstrip("0").rstrip(".") if whole else "0"
