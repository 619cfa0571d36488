"""Recall flows: listed, shown, edited whole or node by node, cancelled. The vendor's door sees the same flows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter

from ringback.api.v1.conditional import check_unchanged, tagged
from ringback.api.v1.door import By, Caller, needs
from ringback.api.v1.fields import moment
from ringback.api.v1.flow_fields import FlowIn, NodeIn, NodeOut, node_shown, rule_asked, rules_asked
from ringback.api.v1.new_task import variables_of
from ringback.api.v1.paging import MAX_ID, Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import Kind, Problem, invalid, not_found
from ringback.model.api_key import Scope
from ringback.model.states import FlowState
from ringback.store import flow_edits, flows, listings, records, tasks
from ringback.store.database import News, Tx
from ringback.store.flows import CancelBy, FlowDetail, FlowNotFound, FlowWrongState
from ringback.store.listings import FlowRow

FlowId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the flow.")]
NodeId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the node.")]
_CHANGES = (Kind.NOT_FOUND, Kind.CONFLICT, Kind.CHANGED)


class FlowOut(msgspec.Struct, frozen=True, kw_only=True):
    """A flow with its nodes in running order."""

    id: int
    task_id: int
    state: FlowState
    reason: str
    created_at: datetime
    nodes: list[NodeOut]


class FlowListed(msgspec.Struct, frozen=True, kw_only=True):
    """A flow in a list. ``nodes``: how many it has."""

    id: int
    task_id: int
    state: FlowState
    reason: str
    nodes: int
    created_at: datetime


@get("/flows", tags=["flows"], **needs(Scope.FLOWS_READ))
async def list_flows(
    caller: By,
    limit: Limit = 50,
    cursor: Cursor = None,
    flow_state: Annotated[FlowState | None, QueryParameter(name="state")] = None,
    task_id: Annotated[int | None, QueryParameter(ge=1, le=MAX_ID, description="The flow of this task.")] = None,
) -> Page[FlowListed]:
    """The account's flows, newest first."""
    async with caller.store.read() as tx:
        found = await listings.flows_of(
            tx,
            caller.account_id,
            before=behind(cursor),
            limit=limit + 1,
            state=flow_state,
            parent_task_id=task_id,
        )
    return page_of(found, limit, lambda row: row.id, _listed)


@get("/flows/{flow_id:int}", tags=["flows"], **needs(Scope.FLOWS_READ, statuses=(Kind.NOT_FOUND,)))
async def get_flow(caller: By, flow_id: FlowId) -> Response[FlowOut]:
    """One flow with its nodes. Its ETag goes into If-Match of an edit."""
    async with caller.store.read() as tx:
        return tagged(await _shown(tx, caller, flow_id))


@put("/flows/{flow_id:int}", tags=["flows"], **needs(Scope.FLOWS_WRITE, statuses=_CHANGES))
async def edit_flow(
    request: Request[Any, Any, Any], caller: By, flow_id: FlowId, data: JSONBody[FlowIn]
) -> Response[FlowOut]:
    """Replace the nodes of a flow that has not started. Nodes at positions that stay keep their ids."""
    async with caller.store.write() as tx:
        before, template_id = await _read(tx, request, caller, flow_id)
        rules = rules_asked(data, template_id, "nodes")
        named = {f"nodes[{at}].template_id": rule.template_id for at, rule in enumerate(rules)}
        await _check_variables(tx, caller, before.task_id, named)
        try:
            await flow_edits.edit_rounds(
                tx,
                caller.account_id,
                flow_id,
                rules,
                now_ms=caller.now_ms,
                minute_seconds=caller.house.settings.minute_seconds,
            )
        except FlowWrongState as error:
            raise Problem(Kind.CONFLICT, str(error)) from None
        after = await _shown(tx, caller, flow_id)
        await caller.log(tx, "flow.edited", f"flow:{flow_id}", before=_nodes(before), after=_nodes(after))
    caller.store.announce(News.WORK)
    return tagged(after)


@put("/nodes/{node_id:int}", tags=["flows"], **needs(Scope.FLOWS_WRITE, statuses=_CHANGES))
async def edit_node(
    request: Request[Any, Any, Any], caller: By, node_id: NodeId, data: JSONBody[NodeIn]
) -> Response[FlowOut]:
    """Replace one node that has not started, also of a flow that runs. If-Match takes the flow's ETag."""
    async with caller.store.write() as tx:
        flow_id = await _of_node(tx, caller, node_id)
        before, template_id = await _read(tx, request, caller, flow_id)
        rule = rule_asked(data, template_id, "node")
        await _check_variables(tx, caller, before.task_id, {"template_id": rule.template_id})
        try:
            await flow_edits.edit_node(
                tx,
                caller.account_id,
                node_id,
                rule,
                now_ms=caller.now_ms,
                minute_seconds=caller.house.settings.minute_seconds,
            )
        except FlowNotFound:
            raise not_found("node", node_id) from None
        except FlowWrongState as error:
            raise Problem(Kind.CONFLICT, str(error)) from None
        after = await _shown(tx, caller, flow_id)
        await caller.log(tx, "node.edited", f"node:{node_id}", before=_nodes(before), after=_nodes(after))
    caller.store.announce(News.WORK)
    return tagged(after)


@post(
    "/flows/{flow_id:int}/cancel",
    status_code=200,
    tags=["flows"],
    **needs(Scope.FLOWS_WRITE, statuses=(Kind.NOT_FOUND, Kind.CONFLICT)),
)
async def cancel_flow(caller: By, flow_id: FlowId) -> Response[FlowOut]:
    """Cancel a flow that has not started."""
    async with caller.store.write() as tx:
        await _cancel(tx, caller, CancelBy.FLOW, flow_id, "flow")
        await caller.log(tx, "flow.cancelled", f"flow:{flow_id}")
        return tagged(await _shown(tx, caller, flow_id))


@post(
    "/nodes/{node_id:int}/cancel",
    status_code=200,
    tags=["flows"],
    **needs(Scope.FLOWS_WRITE, statuses=(Kind.NOT_FOUND, Kind.CONFLICT)),
)
async def cancel_node(caller: By, node_id: NodeId) -> Response[FlowOut]:
    """Cancel a node that has not started, and all later ones."""
    async with caller.store.write() as tx:
        flow_id = await _of_node(tx, caller, node_id)
        await _cancel(tx, caller, CancelBy.NODE_ONWARD, node_id, "node")
        await caller.log(tx, "node.cancelled", f"node:{node_id}")
        return tagged(await _shown(tx, caller, flow_id))


async def _cancel(tx: Tx, caller: Caller, by: CancelBy, key: int, what: str) -> None:
    try:
        await flows.cancel(tx, caller.account_id, by, key, caller.now_ms)
    except FlowNotFound:
        raise not_found(what, key) from None
    except FlowWrongState as error:
        raise Problem(Kind.CONFLICT, str(error)) from None


async def _shown(tx: Tx, caller: Caller, flow_id: int) -> FlowOut:
    found = await flows.detail(tx, flow_id, account_id=caller.account_id)
    if found is None:
        raise not_found("flow", flow_id)
    return flow_shown(found)


async def _of_node(tx: Tx, caller: Caller, node_id: int) -> int:
    """The flow of a node."""
    found = await flows.of_node(tx, caller.account_id, node_id)
    if found is None:
        raise not_found("node", node_id)
    return found


async def _read(tx: Tx, request: Request[Any, Any, Any], caller: Caller, flow_id: int) -> tuple[FlowOut, int]:
    """The flow before an edit, unless it has changed since it was read, and the template of its task."""
    before = await _shown(tx, caller, flow_id)
    check_unchanged(request, before)
    parent = await tasks.get(tx, before.task_id)
    assert parent is not None, "a flow's task is never deleted"
    return before, parent.template_id


async def _check_variables(tx: Tx, caller: Caller, task_id: int, named: dict[str, int]) -> None:
    """Every number of the task must have what the templates use. Raises :class:`Problem`."""
    for field, template_id in named.items():
        for name in sorted(await variables_of(tx, caller.account_id, {field: template_id})):
            lacking = await records.count_without_text(tx, task_id, name)
            if lacking:
                raise invalid(field, f"the template uses {name}, which {lacking} numbers of the task do not have")


def _nodes(of: FlowOut) -> dict[str, Any]:
    """What the audit log keeps of it."""
    return {"nodes": of.nodes}


def flow_shown(flow: FlowDetail) -> FlowOut:
    """A flow as it is answered."""
    return FlowOut(
        id=flow.id,
        task_id=flow.parent_task_id,
        state=flow.state,
        reason=flow.reason,
        created_at=moment(flow.created_at),
        nodes=[node_shown(node) for node in flow.nodes],
    )


def _listed(row: FlowRow) -> FlowListed:
    return FlowListed(
        id=row.id,
        task_id=row.parent_task_id,
        state=row.state,
        reason=row.reason,
        nodes=row.rounds,
        created_at=moment(row.created_at),
    )
