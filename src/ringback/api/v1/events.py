"""Progress as it happens: server-sent events of a task or a flow, until it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from ringback.api.v1.door import By, Caller, needs
from ringback.api.v1.flows import FlowId, flow_shown
from ringback.api.v1.problems import Kind, Problem, not_found
from ringback.api.v1.task_fields import Counts, counts_of
from ringback.api.v1.tasks import TaskId
from ringback.model.api_key import Scope
from ringback.model.states import FLOW, TASK, FlowState, TaskState
from ringback.store import flows, tasks
from ringback.store.database import Tx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: How often to look. A change is told at most so late.
LOOK_SECONDS = 1.0
#: After so long without a change a comment is sent, so that nothing in between takes the connection for dead.
QUIET_SECONDS = 15.0
#: A stream ends after so long; whoever wants more asks again.
LONGEST_SECONDS = 3_600.0
#: Streams of one account at the same time, in one process.
MOST_STREAMS = 50


class TaskProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task is."""

    id: int
    state: TaskState
    counts: Counts


@get("/tasks/{task_id:int}/events", tags=["tasks"], **needs(Scope.TASKS_READ, statuses=(Kind.NOT_FOUND,)))
async def task_events(caller: By, task_id: TaskId) -> ServerSentEvent:
    """The progress of a task: an event `progress` whenever something has changed, at once first, and `end` when it is
    over.
    """

    async def look(tx: Tx) -> tuple[object, bool] | None:
        task = await tasks.get(tx, task_id, account_id=caller.account_id)
        if task is None:
            return None
        shown = TaskProgress(id=task.id, state=task.state, counts=counts_of(task))
        return shown, task.state in TASK.final_states()

    return await _stream(caller, look, "task", task_id)


@get("/flows/{flow_id:int}/events", tags=["flows"], **needs(Scope.FLOWS_READ, statuses=(Kind.NOT_FOUND,)))
async def flow_events(caller: By, flow_id: FlowId) -> ServerSentEvent:
    """The progress of a flow, as of a task: the flow with its nodes whenever something of it has changed."""

    async def look(tx: Tx) -> tuple[object, bool] | None:
        flow = await flows.detail(tx, flow_id, account_id=caller.account_id)
        return None if flow is None else (flow_shown(flow), FlowState(flow.state) in FLOW.final_states())

    return await _stream(caller, look, "flow", flow_id)


async def _stream(
    caller: Caller, look: Callable[[Tx], Awaitable[tuple[object, bool] | None]], what: str, key: int
) -> ServerSentEvent:
    async with caller.store.read() as tx:
        if await look(tx) is None:
            raise not_found(what, key)
    open_streams = caller.house.streams
    if open_streams[caller.account_id] >= MOST_STREAMS:
        raise Problem(Kind.TOO_MANY, f"the account has {MOST_STREAMS} streams open already")

    async def events() -> AsyncIterator[ServerSentEventMessage]:
        open_streams[caller.account_id] += 1
        try:
            async for event in _changes(caller, look):
                yield event
        finally:
            open_streams[caller.account_id] -= 1

    return ServerSentEvent(events())


async def _changes(
    caller: Caller, look: Callable[[Tx], Awaitable[tuple[object, bool] | None]]
) -> AsyncIterator[ServerSentEventMessage]:
    clock = caller.house.clock
    began = told_at = clock.monotonic()
    told: Any = None
    number = 0
    while clock.monotonic() - began < LONGEST_SECONDS:
        # The key may have been revoked since.
        if not await _still_let_in(caller):
            return
        async with caller.store.read() as tx:
            found = await look(tx)
        if found is None:
            return
        shown, is_over = found
        if shown != told:
            number += 1
            told, told_at = shown, clock.monotonic()
            yield ServerSentEventMessage(
                data=msgspec.json.encode(shown).decode(), event="end" if is_over else "progress", id=number
            )
        elif clock.monotonic() - told_at >= QUIET_SECONDS:
            told_at = clock.monotonic()
            yield ServerSentEventMessage(comment="quiet", data=None)
        if is_over:
            return
        await clock.sleep(LOOK_SECONDS)


async def _still_let_in(caller: Caller) -> bool:
    key = await caller.house.keys.get(caller.key.key_id)
    return key is not None and key.is_valid(caller.now_ms)
