"""``cc/preview/resendTask``: the numbers of a task that is over, called again for people at phones of ours."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.families import CALL_CENTRE
from ringback.api.itnio.fields import Id, check_range
from ringback.api.itnio.money import check_funds
from ringback.api.itnio.task_settings import application_of, check_caller_id, checked
from ringback.model.audience import RecallType, audience_of
from ringback.model.connect_step import Connect
from ringback.model.phones import seat_lines
from ringback.model.states import TaskState
from ringback.model.task import TaskKind, TaskSpec
from ringback.model.template import OnVoicemail, Template
from ringback.store import phones, recalled, resending, tasks, templates
from ringback.store.database import News
from ringback.store.resending import NothingLeft

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx
    from ringback.store.tasks import Task

WRONG_STATE, NO_NUMBERS, NOT_OF_APPLICATION = -41, -42, -74
FAILED, NOT_CALLED, ALL = 1, 2, 3
MAX_GROUPS = 10


class CcResendIn(msgspec.Struct, frozen=True, kw_only=True):
    """``cc/preview/resendTask``."""

    taskId: Id
    resendType: int
    voiceGroupId: list[Id]
    appId: str
    calloutRate: int | None = None
    type: int | None = None


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return post_route(door, "/preview/resendTask", CcResendIn, resend_task, answers=int, family=CALL_CENTRE)


async def resend_task(call: Call, asked: CcResendIn) -> Success:
    """A new task over the numbers of one that is over: those that failed, that were never called, or that were called.

    Who answers is connected with a free phone of the groups, in their order. ``data`` is the new task's id.
    """
    check_range(asked.resendType, "resendType", FAILED, ALL)
    check_range(asked.type or 0, "type", 0, 1)
    callout_rate = check_range(1 if asked.calloutRate is None else asked.calloutRate, "calloutRate", 1, 100)
    groups = list(dict.fromkeys(asked.voiceGroupId))
    if not 1 <= len(groups) <= MAX_GROUPS:
        raise bad("voiceGroupId", f"must hold 1 to {MAX_GROUPS} groups")
    async with call.door.store.write() as tx:
        application = await application_of(tx, call, asked.appId)
        await check_funds(tx, call)
        previous = await _over(tx, call, asked.taskId)
        seats = 0
        for group in groups:
            count = await phones.count_in_group(tx, call.account.id, group)
            if count == 0:
                raise VendorError(NOT_OF_APPLICATION, f"voiceGroupId: there is no group {group} with phones")
            seats += count
        spec = TaskSpec(
            name=f"{previous.name[:40]}-resend-{secrets.token_hex(6)}",
            template_id=await _template(tx, call, groups),
            application_id=application.id,
            caller_id=previous.caller_id,
            limits=msgspec.structs.replace(
                previous.limits, lines=seat_lines(callout_rate, seats), callout_rate=callout_rate
            ),
            kind=TaskKind.VOICE,
        )
        try:
            task_id = await resending.resend(tx, previous, _which(asked.resendType), checked(spec), now_ms=call.now_ms)
        except NothingLeft as error:
            raise VendorError(NO_NUMBERS, f"taskId: {error}") from None
        await check_caller_id(tx, call, task_id)
    call.door.store.announce(News.WORK)
    return Success(task_id)


def _which(resend_type: int) -> recalled.Condition:
    if resend_type == NOT_CALLED:
        return recalled.never_called()
    return recalled.in_audience(audience_of(RecallType.FAILED if resend_type == FAILED else RecallType.ALL))


async def _over(tx: Tx, call: Call, task_id: int) -> Task:
    found = await tasks.get(tx, task_id, account_id=call.account.id)
    if found is None:
        raise VendorError(Code.NOT_FOUND, f"taskId: there is no task {task_id}")
    if found.state not in (TaskState.FINISHED, TaskState.CANCELLED) or found.active:
        raise VendorError(WRONG_STATE, f"taskId: task {task_id} is {found.state}; it must be over")
    return found


async def _template(tx: Tx, call: Call, groups: list[int]) -> int:
    made = Template(
        name="call centre",
        initial_node="start",
        nodes={"start": [Connect(group=group) for group in groups]},
        # Whoever has called hears the machine, and decides.
        on_voicemail=OnVoicemail.CONTINUE,
    )
    node = msgspec.json.encode({"voiceGroupId": groups}).decode()
    return await templates.of_voice_node(tx, node, made, {}, account_id=call.account.id, now_ms=call.now_ms)
