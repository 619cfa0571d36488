"""``recallFlow``: the automatic redial of a task, seen, listed, edited and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.answers import FlowListedOut, Page, RecallDetailOut, RecallNodeOut, page_of
from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import VendorError, bad
from ringback.api.itnio.fields import (
    FlowQueryIn,
    RecallCancelIn,
    RecallDetailIn,
    RecallFlowIn,
    RecallNodeIn,
    RecallUpdateIn,
    local_text,
    local_time,
    paging,
)
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec, InvalidFlow
from ringback.model.states import FlowState
from ringback.store import flow_pages, flows, records, templates
from ringback.store.database import News
from ringback.store.flows import CancelBy, FlowNotFound, FlowWrongState, NodeDetail

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx

#: Flow and node states as the vendor numbers them.
STATUS = {
    FlowState.PENDING: 0,
    FlowState.IN_PROGRESS: 1,
    FlowState.COMPLETED: 2,
    FlowState.CANCELLED: 3,
    FlowState.EXCEPTION: 4,
}


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return [
        *post_route(door, "/recallFlow/queryDetail", RecallDetailIn, query_detail, answers=RecallDetailOut),
        *post_route(door, "/recallFlow/queryPage", FlowQueryIn, query_page, answers=Page[FlowListedOut]),
        *post_route(door, "/recallFlow/update", RecallUpdateIn, update),
        *post_route(door, "/recallFlow/cancel", RecallCancelIn, cancel),
    ]


async def query_detail(call: Call, wanted: RecallDetailIn) -> Success:
    """One flow with its nodes. The paging members mean nothing for one flow; the published answer has them."""
    found = await call.door.flows.get(wanted.keyId)
    if found is None or found.account_id != call.account.id:
        raise bad("keyId", f"there is no recall flow {wanted.keyId}")
    return Success(
        RecallDetailOut(
            keyId=found.id,
            recallInterval=found.interval_minutes,
            recallNum=found.rounds,
            recallType=int(found.recall_type),
            status=STATUS[found.state],
            nodeList=[_node(node) for node in found.nodes],
        )
    )


async def query_page(call: Call, wanted: FlowQueryIn) -> Success:
    """The account's flows created in a period, newest first."""
    limit, offset = paging(wanted.current, wanted.size)
    zone = call.account.time_zone
    start = local_time(wanted.params.strTime, "params.strTime", zone)
    end = local_time(wanted.params.endTime, "params.endTime", zone)
    async with call.door.store.read() as tx:
        total, rows = await flow_pages.page(
            tx,
            call.account.id,
            created_from=start,
            created_to=end + 999,
            parent=(wanted.params.taskName or "").strip(),
            limit=limit,
            offset=offset,
        )
    found = [
        FlowListedOut(
            keyId=row.id,
            taskId=row.parent_task_id,
            taskName=row.task_name,
            createTime=local_text(row.created_at, zone),
            recallType=row.recall_type,
            recallInterval=row.interval_minutes,
            recallNum=row.rounds,
            finishNum=row.finished,
            status=STATUS[row.state],
        )
        for row in rows
    ]
    return Success(page_of(total, wanted.current, wanted.size, found))


async def update(call: Call, wanted: RecallUpdateIn) -> Success:
    """Replace a pending flow's settings."""
    async with call.door.store.write() as tx:
        spec = await flow_spec(tx, call.account.id, wanted, prefix="")
        try:
            await flows.edit(
                tx,
                call.account.id,
                wanted.keyId,
                spec,
                now_ms=call.now_ms,
                minute_seconds=call.door.settings.minute_seconds,
            )
        except (FlowNotFound, FlowWrongState) as error:
            raise bad("keyId", str(error)) from None
        await _check_texts(tx, wanted.keyId, await text_variables(tx, spec))
    call.door.store.announce(News.WORK)
    return Success()


async def cancel(call: Call, wanted: RecallCancelIn) -> Success:
    """Cancel a pending flow by its key or its parent task, or a pending node and all later ones."""
    try:
        by = CancelBy(wanted.type)
    except ValueError:
        raise bad("type", f"must be 1 (flow), 2 (parent task) or 3 (node onward), got {wanted.type}") from None
    async with call.door.store.write() as tx:
        try:
            await flows.cancel(tx, call.account.id, by, wanted.id, call.now_ms)
        except (FlowNotFound, FlowWrongState) as error:
            raise bad("id", str(error)) from None
    return Success()


def _node(node: NodeDetail) -> RecallNodeOut:
    if node.voice_node is None:
        return RecallNodeOut(
            keyId=node.id, taskId=node.task_id, nodeStatus=STATUS[node.state], scriptId=node.template_id
        )
    made_with: dict[str, Any] = msgspec.json.decode(node.voice_node)
    known = {name: made_with[name] for name in RecallNodeOut.__struct_fields__ if name in made_with}
    return RecallNodeOut(keyId=node.id, taskId=node.task_id, nodeStatus=STATUS[node.state], **known)


async def flow_spec(tx: Tx, account_id: int, asked: RecallFlowIn, *, prefix: str) -> FlowSpec:
    """The flow asked for, checked, its templates too. ``prefix`` stands before field names in errors.

    Raises :class:`VendorError` (-22).
    """
    try:
        recall_type = RecallType(asked.recallType)
    except ValueError:
        raise bad(f"{prefix}recallType", f"must be 0 (all) or 1 (failed), got {asked.recallType}") from None
    try:
        spec = FlowSpec(
            recall_type=recall_type,
            interval_minutes=asked.recallInterval,
            rounds=asked.recallNum,
            intents=tuple(dict.fromkeys(str(intent) for intent in asked.recallIntent or ())),
            template_ids=tuple(
                _script(node, f"{prefix}nodeList[{at}]") for at, node in enumerate(asked.nodeList or ())
            ),
        ).checked()
    except InvalidFlow as error:
        raise bad(f"{prefix}{error.field}", str(error).removeprefix(f"{error.field}: ")) from None
    for index, template_id in enumerate(spec.template_ids):
        if await templates.usable(tx, account_id, template_id) is None:
            raise unknown_template(f"{prefix}nodeList[{index}].scriptId", template_id)
    return spec


def _script(node: RecallNodeIn, field: str) -> int:
    if node.scriptId is None:
        raise bad(f"{field}.scriptId", "is missing")
    return node.scriptId


async def text_variables(tx: Tx, spec: FlowSpec) -> frozenset[str]:
    """The text variables that the rounds' own templates use."""
    found: set[str] = set()
    for template_id in dict.fromkeys(spec.template_ids):
        stored = await templates.get(tx, template_id)
        if stored is not None:
            found.update(stored.template.text_variables())
    return frozenset(found)


async def _check_texts(tx: Tx, flow_id: int, needed: frozenset[str]) -> None:
    """Every number of the parent must have the texts that the rounds use. Raises :class:`VendorError` (-22)."""
    found = await flows.detail(tx, flow_id)
    assert found is not None, "it was edited in this transaction"
    for name in sorted(needed):
        lacking = await records.count_without_text(tx, found.parent_task_id, name)
        if lacking:
            raise bad("nodeList", f"a template uses {name}, which {lacking} numbers of the task do not have")


def unknown_template(field: str, template_id: int) -> VendorError:
    """The template does not exist, is retired or belongs to somebody else: all look alike."""
    return bad(field, f"there is no agent template {template_id}")
