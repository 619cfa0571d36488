"""Calls: the numbers of a task and what came of them, their recordings."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import FromQuery, PathParameter, QueryParameter

from ringback.api.v1.door import By, needs
from ringback.api.v1.fields import moment_or_none
from ringback.api.v1.paging import MAX_ID, Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import Kind, not_found
from ringback.api.v1.tasks import TaskId
from ringback.model.api_key import Scope
from ringback.model.outcome import Outcome
from ringback.model.states import CallState
from ringback.store import listings, tasks
from ringback.store.records import CallRecord

CallId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the call.")]


class CallOut(msgspec.Struct, frozen=True, kw_only=True):
    """A call: one number of one task. ``reason``: why it was skipped, or what the far side said."""

    id: int
    number: str
    state: CallState
    outcome: Outcome | None
    sip_code: int | None
    q850_cause: int | None
    ring_seconds: float | None
    talk_seconds: float | None
    hung_up_by: str | None
    keys: str | None
    intent: str | None
    trunk: str | None
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    has_recording: bool


class CallWithTask(CallOut, frozen=True, kw_only=True):
    """A call with the task that it is of."""

    task_id: int


@get("/tasks/{task_id:int}/calls", tags=["calls"], **needs(Scope.CALLS_READ, statuses=(Kind.NOT_FOUND,)))
async def list_calls(
    caller: By,
    task_id: TaskId,
    limit: Limit = 50,
    cursor: Cursor = None,
    call_state: Annotated[CallState | None, QueryParameter(name="state")] = None,
    outcome: FromQuery[Outcome | None] = None,
    intent: Annotated[str | None, QueryParameter(max_length=32)] = None,
    number: Annotated[str | None, QueryParameter(max_length=18, description="One number.")] = None,
) -> Page[CallOut]:
    """The calls of a task, in the order of its numbers."""
    async with caller.store.read() as tx:
        if await tasks.get(tx, task_id, account_id=caller.account_id) is None:
            raise not_found("task", task_id)
        found = await listings.calls_of(
            tx,
            caller.account_id,
            task_id,
            after=behind(cursor) or 0,
            limit=limit + 1,
            state=call_state,
            outcome=outcome,
            intent=intent,
            callee=number,
        )
    return page_of(found, limit, lambda call: call.id, lambda call: CallOut(**_members(call)))


@get("/calls/{call_id:int}", tags=["calls"], **needs(Scope.CALLS_READ, statuses=(Kind.NOT_FOUND,)))
async def get_call(caller: By, call_id: CallId) -> CallWithTask:
    """One call."""
    async with caller.store.read() as tx:
        found = await listings.call_of(tx, caller.account_id, call_id)
    if found is None:
        raise not_found("call", call_id)
    task_id, call = found
    return CallWithTask(task_id=task_id, **_members(call))


@get(
    "/calls/{call_id:int}/recording",
    tags=["calls"],
    media_type="audio/wav",
    **needs(Scope.RECORDINGS_READ, statuses=(Kind.NOT_FOUND,)),
)
async def get_recording(caller: By, call_id: CallId) -> Response[bytes]:
    """The recording of a call, a WAV file of 8 kHz."""
    async with caller.store.read() as tx:
        found = await listings.call_of(tx, caller.account_id, call_id)
    if found is None or found[1].recording is None:
        raise not_found("recording of call", call_id)
    # The path in the row was written by us, never by a caller.
    path = Path(caller.house.settings.recordings) / found[1].recording
    try:
        data = await asyncio.to_thread(path.read_bytes)
    except OSError:
        raise not_found("recording of call", call_id) from None
    return Response(
        data, media_type="audio/wav", headers={"Content-Disposition": f'attachment; filename="call-{call_id}.wav"'}
    )


def _members(call: CallRecord) -> dict[str, Any]:
    return {
        "id": call.id,
        "number": call.callee,
        "state": call.state,
        "outcome": call.outcome,
        "sip_code": call.sip_code,
        "q850_cause": call.q850_cause,
        "ring_seconds": _seconds(call.ring_ms),
        "talk_seconds": _seconds(call.talk_ms),
        "hung_up_by": call.hung_up_by,
        "keys": call.keys,
        "intent": call.intent,
        "trunk": call.trunk,
        "started_at": moment_or_none(call.started_at),
        "ended_at": moment_or_none(call.ended_at),
        "reason": call.reason,
        "has_recording": call.recording is not None,
    }


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
