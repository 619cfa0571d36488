"""Recall flows as their owner sees and cancels them. Edits: :mod:`.flow_edits`; what makes them run: :mod:`.nodes`.

Every change checks the state in the statement that makes it, on the flow's own row, so a request that races the start
of the first node either wins whole or is refused whole (recall rule 2).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from sqlalchemy import insert, select, update

from ringback.model.audience import RecallType, audience_of
from ringback.model.report import Event
from ringback.model.round_rule import RoundRule, is_narrow, rules_of
from ringback.model.states import FlowState
from ringback.store import outbox
from ringback.store.lookups import ByKey
from ringback.store.schema import flow, node, template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ringback.model.flow import FlowSpec
    from ringback.store.database import Tx


class FlowNotFound(Exception):
    """No such flow, node or parent task in this account."""


class FlowWrongState(Exception):
    """The flow or node is no longer pending."""


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One round. ``left_out`` is a JSON object: why calls of the previous task did not qualify, with counts.

    ``voice_node``: see :func:`ringback.store.templates.add`. ``rule`` is its wait, audience, windows and caller id.
    """

    id: int
    position: int
    state: FlowState
    template_id: int
    rule: RoundRule
    voice_node: str | None
    task_id: int | None
    due_at: int | None
    qualified: int | None
    left_out: str | None
    started_at: int | None
    ended_at: int | None
    reason: str


class FlowDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A flow with its nodes in running order."""

    id: int
    account_id: int
    parent_task_id: int
    state: FlowState
    reason: str
    recall_type: RecallType
    recall_intents: list[str]
    interval_minutes: int
    rounds: int
    created_at: int
    nodes: list[NodeDetail]


async def of_node(tx: Tx, account_id: int, node_id: int) -> int | None:
    """The account's flow that has that node."""
    found: int | None = await tx.scalar(
        select(flow.c.id)
        .join(node, node.c.flow_id == flow.c.id)
        .where(node.c.id == node_id, flow.c.account_id == account_id)
    )
    return found


class CancelBy(IntEnum):
    """What names the thing to cancel (the vendor's ``type``)."""

    FLOW = 1
    PARENT_TASK = 2
    NODE_ONWARD = 3


async def create(
    tx: Tx, account_id: int, parent_task_id: int, spec: FlowSpec, *, parent_template_id: int, now_ms: int
) -> int:
    """Store the flow of a task that has just been stored, with all its nodes. Returns its id."""
    return await create_rounds(
        tx, account_id, parent_task_id, rules_of(spec, parent_template_id), spec=spec, now_ms=now_ms
    )


async def create_rounds(
    tx: Tx, account_id: int, parent_task_id: int, rules: Sequence[RoundRule], *, spec: FlowSpec, now_ms: int
) -> int:
    """The same in full form; ``spec`` is the narrow form of the rules."""
    inserted = await tx.execute(
        insert(flow)
        .values(
            account_id=account_id,
            parent_task_id=parent_task_id,
            created_at=now_ms,
            **spec_values(spec, now_ms),
        )
        .returning(flow.c.id)
    )
    flow_id = int(inserted.scalar_one())
    await add_nodes(tx, flow_id, dict(enumerate(rules, start=1)), spec)
    return flow_id


async def detail(tx: Tx, flow_id: int, *, account_id: int | None = None) -> FlowDetail | None:
    """The flow with its nodes, in one read; with ``account_id`` only when it is that account's."""
    found = (await BY_ID.find(tx, [flow_id])).get(flow_id)
    return None if found is None or account_id not in (None, found.account_id) else found


async def cancel(tx: Tx, account_id: int, by: CancelBy, key: int, now_ms: int) -> None:
    """Cancel a pending flow, or a pending node of any flow and all later ones.

    Raises :class:`FlowNotFound`, :class:`FlowWrongState`.
    """
    if by is CancelBy.NODE_ONWARD:
        await _cancel_from_node(tx, account_id, key, now_ms)
        return
    named = flow.c.id == key if by is CancelBy.FLOW else flow.c.parent_task_id == key
    cancelled = await tx.execute(
        update(flow)
        .where(named, flow.c.account_id == account_id, flow.c.state == FlowState.PENDING)
        .values(state=FlowState.CANCELLED, modified_at=now_ms)
        .returning(flow.c.id)
    )
    flow_id = cancelled.scalar_one_or_none()
    if flow_id is None:
        flow_id = await tx.scalar(select(flow.c.id).where(named, flow.c.account_id == account_id))
        if flow_id is None:
            what = "recall flow" if by is CancelBy.FLOW else "recall flow of task"
            raise FlowNotFound(f"there is no {what} {key}")
        await refuse(tx, account_id, flow_id, "cancelled")
    await close_pending_nodes(tx, flow_id, FlowState.CANCELLED, now_ms)
    await outbox.flows_completed(tx, [flow_id], now_ms)


async def close_pending_nodes(
    tx: Tx, flow_id: int, state: FlowState, now_ms: int, *, from_position: int = 1, reason: str = ""
) -> None:
    """End every node that has not started, from a position on."""
    ended = await tx.execute(
        update(node)
        .where(node.c.flow_id == flow_id, node.c.position >= from_position, node.c.state == FlowState.PENDING)
        .values(state=state, ended_at=now_ms, due_at=None, reason=reason)
        .returning(node.c.id)
    )
    await outbox.nodes_changed(tx, Event.NODE_COMPLETED, sorted(row.id for row in ended), now_ms)


async def close_after_cancel(tx: Tx, flow_id: int, now_ms: int) -> None:
    """End a flow that has no node left to run: Completed when a round was run, else Cancelled (recall rule 9)."""
    states = list(await tx.scalars(select(node.c.state).where(node.c.flow_id == flow_id)))
    if FlowState.PENDING in states or FlowState.IN_PROGRESS in states:
        return
    state = FlowState.COMPLETED if FlowState.COMPLETED in states else FlowState.CANCELLED
    await end(tx, flow_id, state, now_ms)


async def end(tx: Tx, flow_id: int, state: FlowState, now_ms: int, *, reason: str = "") -> None:
    """A flow that is not over yet is over now."""
    ended = await tx.execute(
        update(flow)
        .where(flow.c.id == flow_id, flow.c.state.in_([FlowState.PENDING, FlowState.IN_PROGRESS]))
        .values(state=state, modified_at=now_ms, reason=reason)
    )
    if ended.rowcount:
        await outbox.flows_completed(tx, [flow_id], now_ms)


async def _cancel_from_node(tx: Tx, account_id: int, node_id: int, now_ms: int) -> None:
    of_node = select(node.c.flow_id).where(node.c.id == node_id).scalar_subquery()
    flow_id = await tx.scalar(
        select(flow.c.id).where(flow.c.id == of_node, flow.c.account_id == account_id).with_for_update()
    )
    if flow_id is None:
        raise FlowNotFound(f"there is no node {node_id}")
    cancelled = await tx.scalar(
        update(node)
        .where(node.c.id == node_id, node.c.state == FlowState.PENDING)
        .values(state=FlowState.CANCELLED, ended_at=now_ms, due_at=None)
        .returning(node.c.position)
    )
    if cancelled is None:
        # An edit may have taken the node away while this waited for the flow.
        state = await tx.scalar(select(node.c.state).where(node.c.id == node_id))
        if state is None:
            raise FlowNotFound(f"there is no node {node_id}")
        raise FlowWrongState(f"node {node_id} is {_words(state)}; only a pending node can be cancelled")
    await outbox.nodes_changed(tx, Event.NODE_COMPLETED, [node_id], now_ms)
    await close_pending_nodes(tx, flow_id, FlowState.CANCELLED, now_ms, from_position=cancelled)
    await close_after_cancel(tx, flow_id, now_ms)


async def refuse(tx: Tx, account_id: int, flow_id: int, wish: str) -> NoReturn:
    """Raises :class:`FlowNotFound` or :class:`FlowWrongState`, whichever it is."""
    state = await tx.scalar(select(flow.c.state).where(flow.c.id == flow_id, flow.c.account_id == account_id))
    if state is None:
        raise FlowNotFound(f"there is no recall flow {flow_id}")
    raise FlowWrongState(f"recall flow {flow_id} is {_words(state)}; only a pending one can be {wish}")


def _words(state: str) -> str:
    return state.replace("_", " ")


async def add_nodes(tx: Tx, flow_id: int, rules: Mapping[int, RoundRule], spec: FlowSpec) -> None:
    """Nodes by position; ``spec`` is what the flow says of all of them."""
    if rules:
        await tx.execute(
            insert(node),
            [{"flow_id": flow_id, "position": at, **node_values(rule, spec)} for at, rule in rules.items()],
        )


def node_values(rule: RoundRule, spec: FlowSpec) -> dict[str, Any]:
    """A round's columns: its rule only where the flow does not say it."""
    kept = None if is_narrow(rule, spec) else msgspec.json.encode(rule).decode()
    return {"template_id": rule.template_id, "rule": kept}


def spec_values(spec: FlowSpec, now_ms: int) -> dict[str, Any]:
    """A flow's columns."""
    return {
        "recall_type": int(spec.recall_type),
        "recall_intents": list(spec.intents),
        "interval_minutes": spec.interval_minutes,
        "rounds": spec.rounds,
        "modified_at": now_ms,
    }


def rule_of(row: Any) -> RoundRule:
    """The rule of a row with a node's ``rule`` and ``template_id`` and its flow's narrow columns."""
    if row.rule is not None:
        return msgspec.json.decode(row.rule, type=RoundRule)
    audience = audience_of(RecallType(row.recall_type), row.recall_intents)
    return RoundRule(interval_minutes=row.interval_minutes, audience=audience, template_id=row.template_id)


_DETAIL = (
    select(
        flow.c.id,
        flow.c.account_id,
        flow.c.parent_task_id,
        flow.c.state,
        flow.c.reason,
        flow.c.recall_type,
        flow.c.recall_intents,
        flow.c.interval_minutes,
        flow.c.rounds,
        flow.c.created_at,
        node.c.id.label("node_id"),
        node.c.position,
        node.c.state.label("node_state"),
        node.c.template_id,
        node.c.rule,
        template.c.voice_node,
        node.c.task_id,
        node.c.due_at,
        node.c.qualified,
        node.c.left_out,
        node.c.started_at,
        node.c.ended_at,
        node.c.reason.label("node_reason"),
    )
    .join(node, node.c.flow_id == flow.c.id)
    .join(template, template.c.id == node.c.template_id)
    .order_by(flow.c.id, node.c.position)
)


def _details(rows: Iterable[Any]) -> dict[int, FlowDetail]:
    found: dict[int, FlowDetail] = {}
    for row in rows:
        of = found.get(row.id)
        if of is None:
            of = found[row.id] = FlowDetail(
                id=row.id,
                account_id=row.account_id,
                parent_task_id=row.parent_task_id,
                state=FlowState(row.state),
                reason=row.reason,
                recall_type=RecallType(row.recall_type),
                recall_intents=row.recall_intents,
                interval_minutes=row.interval_minutes,
                rounds=row.rounds,
                created_at=row.created_at,
                nodes=[],
            )
        of.nodes.append(
            NodeDetail(
                id=row.node_id,
                position=row.position,
                state=FlowState(row.node_state),
                template_id=row.template_id,
                rule=rule_of(row),
                voice_node=row.voice_node,
                task_id=row.task_id,
                due_at=row.due_at,
                qualified=row.qualified,
                left_out=row.left_out,
                started_at=row.started_at,
                ended_at=row.ended_at,
                reason=row.node_reason,
            )
        )
    return found


#: Flows with their nodes.
BY_ID: ByKey[int, FlowDetail] = ByKey(_DETAIL, flow.c.id, _details)
