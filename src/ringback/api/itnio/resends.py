"""``group/call/resend`` and ``resend/ai``: a finished task called again by hand, with other settings if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.flow_requests import unknown_template
from ringback.api.itnio.money import check_funds
from ringback.api.itnio.recall_flows import check_texts
from ringback.api.itnio.task_settings import caller_id, check_caller_id, checked, limits_of, send_at
from ringback.api.itnio.voice_fields import ResendAgentIn
from ringback.model.audience import Audience, RecallType, audience_of
from ringback.model.task import Limits, TaskKind, TaskSpec
from ringback.store import resending, templates
from ringback.store.accounts import NameTaken
from ringback.store.database import News
from ringback.store.recalled import in_audience
from ringback.store.resending import NotFinished, NothingLeft
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.api.itnio.fields import TaskSettingsIn
    from ringback.api.itnio.voice_fields import VoiceTaskIn
    from ringback.store.database import Tx
    from ringback.store.tasks import Task


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return post_route(door, "/group/call/resend/ai", ResendAgentIn, resend_agent, answers=int)


async def resend_agent(call: Call, asked: ResendAgentIn) -> Success:
    """A new task over the numbers of a finished one: all of them, or those that failed. ``data`` is its id.

    Calling periods that are left out are those of the finished task.
    """
    audience = audience_asked(asked.resendType)
    async with call.door.store.write() as tx:
        previous = await finished_task(tx, call, asked.keyId)
        if await templates.usable(tx, call.account.id, asked.scriptId) is None:
            raise unknown_template("scriptId", asked.scriptId)
        spec = spec_like(call, previous, asked.taskName, asked, template_id=asked.scriptId, kind=TaskKind.AGENT)
        task_id = await store_resent(tx, call, previous, audience, spec, field="scriptId")
    call.door.store.announce(News.WORK)
    return Success(task_id)


def audience_asked(resend_type: int) -> Audience:
    """Who is called again. Raises :class:`VendorError` (-22)."""
    try:
        return audience_of(RecallType(resend_type))
    except ValueError:
        raise bad("resendType", f"must be 0 (all) or 1 (failed), got {resend_type}") from None


async def finished_task(tx: Tx, call: Call, task_id: int) -> Task:
    """The finished task to call again. Raises :class:`VendorError` (-24, -21)."""
    try:
        return await resending.finished(tx, call.account.id, task_id)
    except TaskNotFound as error:
        raise VendorError(Code.NOT_FOUND, f"keyId: {error}") from None
    except NotFinished as error:
        raise VendorError(Code.VALIDATION, f"keyId: {error}") from None


def spec_like(
    call: Call, previous: Task, name: str, asked: TaskSettingsIn | VoiceTaskIn, *, template_id: int, kind: TaskKind
) -> TaskSpec:
    """The new task. Raises :class:`VendorError` (-22)."""
    return checked(
        TaskSpec(
            name=name.strip(),
            template_id=template_id,
            application_id=previous.application_id,
            caller_id=previous.caller_id if asked.displayNum is None else caller_id(asked.displayNum),
            send_at=send_at(call, asked),
            limits=_limits(previous, asked),
            kind=kind,
        )
    )


def _limits(previous: Task, asked: TaskSettingsIn | VoiceTaskIn) -> Limits:
    limits = limits_of(asked)
    if asked.allowSendTime is None:
        # Who leaves them out must not call people at night who were not called at night before.
        limits = msgspec.structs.replace(limits, windows=previous.limits.windows)
    return msgspec.structs.replace(limits, lines=previous.limits.lines)


async def store_resent(tx: Tx, call: Call, previous: Task, audience: Audience, spec: TaskSpec, *, field: str) -> int:
    """Store the new task. ``field`` names the member that says what it plays. Returns its id.

    Raises :class:`VendorError` (-10, -20, -22, -26, -34), and then nothing may be committed.
    """
    await check_funds(tx, call)
    try:
        task_id = await resending.resend(tx, previous, in_audience(audience), spec, now_ms=call.now_ms)
    except NothingLeft as error:
        raise VendorError(Code.NOTHING_LEFT, f"keyId: {error}; start a new group call") from None
    except NameTaken as error:
        raise VendorError(Code.EXISTS, str(error)) from None
    stored = await templates.get(tx, spec.template_id)
    assert stored is not None, "it was looked up in this transaction"
    await check_texts(tx, task_id, frozenset(stored.template.text_variables()), field=field)
    await check_caller_id(tx, call, task_id)
    return task_id
