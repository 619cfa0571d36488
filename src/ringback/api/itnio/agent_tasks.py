"""``group/call/send/agent``: a group call with an agent template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import SendAgentIn
from ringback.api.itnio.flow_requests import flow_asked, unknown_template
from ringback.api.itnio.task_settings import (
    application_of,
    caller_id,
    check_count,
    checked,
    limits_of,
    number_list,
    repeats_warning,
    send_at,
    store_task,
)
from ringback.model.task import TaskSpec
from ringback.store import flows, templates
from ringback.store.database import News

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door

NUMBERS = "numberInfoList"


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    largest = door.settings.max_body_megabytes
    return post_route(door, "/group/call/send/agent", SendAgentIn, send_agent, answers=int, max_megabytes=largest)


async def send_agent(call: Call, asked: SendAgentIn) -> Success:
    """Make a task, and its recall flow when asked for. ``data`` is the task's id."""
    check_count(asked.numberInfoList, NUMBERS)
    template_id = _template_id(asked)
    flow = None if asked.recallFlow is None else await flow_asked(call, asked.recallFlow, prefix="recallFlow.")
    async with call.door.store.read() as tx:
        application = await application_of(tx, call, asked.appId)
        stored = await templates.usable(tx, call.account.id, template_id)
        needed = frozenset() if flow is None else await flow.text_variables(tx, call.account.id)
    if stored is None:
        raise unknown_template("agentId" if asked.agentId is not None else "scriptId", template_id)
    spec = checked(
        TaskSpec(
            name=asked.taskName.strip(),
            template_id=template_id,
            application_id=application.id,
            caller_id=caller_id(asked.displayNum),
            send_at=send_at(call, asked),
            limits=limits_of(asked),
        )
    )
    # A number must have the texts of every round, for any of them may call it.
    needed |= frozenset(stored.template.text_variables())
    numbers = await number_list(asked.numberInfoList, needed, field=NUMBERS)
    async with call.door.store.write() as tx:
        task_id = await store_task(tx, call, spec, numbers)
        if flow is not None:
            rounds = await flow.stored(tx, call)
            await flows.create(
                tx, call.account.id, task_id, rounds, parent_template_id=spec.template_id, now_ms=call.now_ms
            )
    call.door.store.announce(News.WORK)
    return Success(task_id, await repeats_warning(asked.numberInfoList, numbers, field=NUMBERS))


def _template_id(asked: SendAgentIn) -> int:
    if asked.agentId is None and asked.scriptId is None:
        raise bad("agentId", "is missing")
    if None not in (asked.agentId, asked.scriptId) and asked.agentId != asked.scriptId:
        raise bad("scriptId", "differs from agentId; give one of them")
    found = asked.agentId if asked.agentId is not None else asked.scriptId
    assert found is not None
    return found
