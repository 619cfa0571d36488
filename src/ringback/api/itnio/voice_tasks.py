"""``group/call/send`` and ``update``: a group call that plays a file or a text, made, and edited while it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import NumberIn
from ringback.api.itnio.flow_requests import flow_asked
from ringback.api.itnio.recall_flows import check_texts
from ringback.api.itnio.resends import audience_asked, finished_task, spec_like, store_resent
from ringback.api.itnio.task_settings import (
    application_of,
    caller_id,
    check_caller_id,
    check_count,
    checked,
    limits_of,
    number_list,
    repeats_warning,
    send_at,
    store_task,
)
from ringback.api.itnio.voice_fields import ResendVoiceIn, SendVoiceIn, UpdateVoiceIn
from ringback.api.itnio.voice_nodes import prepared
from ringback.api.itnio.voice_seats import seat_asked
from ringback.model.task import TaskKind, TaskSpec
from ringback.store import flows, task_edits
from ringback.store.accounts import NameTaken
from ringback.store.database import News
from ringback.store.task_edits import NotWaiting
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.api.itnio.voice_fields import VoiceTaskIn


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    largest = door.settings.max_body_megabytes
    return [
        *post_route(door, "/group/call/send", SendVoiceIn, send, answers=int, max_megabytes=largest),
        *post_route(door, "/group/call/update", UpdateVoiceIn, update, max_megabytes=largest),
        *post_route(door, "/group/call/resend", ResendVoiceIn, resend, answers=int, max_megabytes=largest),
    ]


async def send(call: Call, asked: SendVoiceIn) -> Success:
    """Make a voice task, and its recall flow when asked for. ``data`` is the task's id."""
    field, listed = numbers_asked(asked)
    if listed is None:
        raise bad("numberInfoList", "is missing")
    check_count(listed, field)
    node = await prepared(call, asked, loop_count=asked.loopCount)
    seat = await seat_asked(call, asked)
    if seat is not None:
        node = msgspec.structs.replace(node, template=seat.joined(node.template))
    flow = None if asked.recallFlow is None else await flow_asked(call, asked.recallFlow, prefix="recallFlow.")
    needed = frozenset(node.template.text_variables())
    async with call.door.store.read() as tx:
        application = await application_of(tx, call, asked.appId)
        needed |= frozenset() if flow is None else await flow.text_variables(tx, call.account.id)
    numbers = await number_list(listed, needed, field=field)
    async with call.door.store.write() as tx:
        spec = _spec(
            call, asked, asked.taskName, template_id=await node.stored(tx, call), application_id=application.id
        )
        if seat is not None:
            lines = seat.lines(spec.limits.callout_rate)
            spec = msgspec.structs.replace(spec, limits=msgspec.structs.replace(spec.limits, lines=lines))
        task_id = await store_task(tx, call, spec, numbers)
        if flow is not None:
            rounds = await flow.stored(tx, call)
            await flows.create(
                tx, call.account.id, task_id, rounds, parent_template_id=spec.template_id, now_ms=call.now_ms
            )
    call.door.store.announce(News.WORK)
    return Success(task_id, await repeats_warning(listed, numbers, field=field))


async def update(call: Call, asked: UpdateVoiceIn) -> Success:
    """Replace the settings of a voice task that waits for its send time, and its numbers when there are new ones."""
    field, listed = numbers_asked(asked)
    node = await prepared(call, asked, loop_count=asked.loopCount)
    needed = frozenset(node.template.text_variables())
    numbers = None if listed is None else await number_list(listed, needed, field=field)
    async with call.door.store.write() as tx:
        spec = _spec(call, asked, asked.taskName, template_id=await node.stored(tx, call), application_id=0)
        try:
            await task_edits.edit(
                tx,
                call.account.id,
                asked.keyId,
                spec,
                numbers=None if numbers is None else numbers.calls,
                now_ms=call.now_ms,
            )
        except TaskNotFound as error:
            raise VendorError(Code.NOT_FOUND, f"keyId: {error}") from None
        except NotWaiting as error:
            raise VendorError(Code.VALIDATION, f"keyId: {error}") from None
        except NameTaken as error:
            raise VendorError(Code.EXISTS, str(error)) from None
        await check_texts(tx, asked.keyId, needed, field="text")
        await check_caller_id(tx, call, asked.keyId)
    call.door.store.announce(News.WORK)
    warning = "" if listed is None or numbers is None else await repeats_warning(listed, numbers, field=field)
    return Success(warning=warning)


async def resend(call: Call, asked: ResendVoiceIn) -> Success:
    """A new voice task over the numbers of a finished one: all of them, or those that failed. ``data`` is its id.

    Calling periods that are left out are those of the finished task.
    """
    audience = audience_asked(asked.resendType)
    node = await prepared(call, asked, loop_count=asked.loopCount)
    async with call.door.store.write() as tx:
        previous = await finished_task(tx, call, asked.keyId)
        template_id = await node.stored(tx, call)
        spec = spec_like(call, previous, asked.taskName, asked, template_id=template_id, kind=TaskKind.VOICE)
        task_id = await store_resent(tx, call, previous, audience, spec, field="text")
    call.door.store.announce(News.WORK)
    return Success(task_id)


def numbers_asked(asked: SendVoiceIn | UpdateVoiceIn) -> tuple[str, Sequence[NumberIn] | None]:
    """The callees, from whichever of the two lists has them, and its name. Raises :class:`VendorError` (-22)."""
    if asked.numberInfoList is not None:
        if asked.numberList:
            raise bad("numberList", "is there beside numberInfoList; give one of them")
        return "numberInfoList", asked.numberInfoList
    if asked.numberList is None:
        return "numberInfoList", None
    return "numberList", [NumberIn(calleeNumber=number) for number in asked.numberList]


def _spec(call: Call, asked: VoiceTaskIn, name: str, *, template_id: int, application_id: int) -> TaskSpec:
    return checked(
        TaskSpec(
            name=name.strip(),
            template_id=template_id,
            application_id=application_id,
            caller_id=caller_id(asked.displayNum),
            send_at=send_at(call, asked),
            limits=limits_of(asked),
            kind=TaskKind.VOICE,
        )
    )
