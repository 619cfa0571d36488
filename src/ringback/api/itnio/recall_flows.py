"""``recallFlow``: the automatic redial of a task, seen, listed, edited and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.answers import FlowListedOut, Page, RecallDetailOut, RecallNodeOut, page_of
from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import (
    FlowQueryIn,
    RecallCancelIn,
    RecallDetailIn,
    RecallUpdateIn,
    local_text,
    local_time,
    paging,
)
from ringback.api.itnio.flow_requests import flow_asked
from ringback.model.states import FlowState
from ringback.store import flow_edits, flow_pages, flows, records
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
    asked = await flow_asked(call, wanted, prefix="")
    async with call.door.store.write() as tx:
        needed = await asked.text_variables(tx, call.account.id)
        spec = await asked.stored(tx, call)
        try:
            await flow_edits.edit(
                tx,
                call.account.id,
                wanted.keyId,
                spec,
                now_ms=call.now_ms,
                minute_seconds=call.door.settings.minute_seconds,
            )
        except (FlowNotFound, FlowWrongState) as error:
            raise bad("keyId", str(error)) from None
        found = await flows.detail(tx, wanted.keyId)
        assert found is not None, "it was edited in this transaction"
        await check_texts(tx, found.parent_task_id, needed, field="nodeList")
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


async def check_texts(tx: Tx, task_id: int, needed: frozenset[str], *, field: str) -> None:
    """Every number of the task must have the texts that are used. Raises :class:`VendorError` (-22)."""
    for name in sorted(needed):
        lacking = await records.count_without_text(tx, task_id, name)
        if lacking:
            raise bad(field, f"a template uses {name}, which {lacking} numbers of the task do not have")
