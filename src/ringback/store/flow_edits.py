"""Edits of recall flows, in the vendor's narrow form and in full.

Positions that stay keep their node, and so its key. A cancelled node never comes back: where the new settings want its
round again, there is a new node. Both forms write the same rows, so each sees what the other did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_, select, update

from ringback.model.flow import due_at
from ringback.model.round_rule import RoundRule, narrow, narrowed, rules_of
from ringback.model.states import FlowState
from ringback.store.flows import FlowNotFound, FlowWrongState, add_nodes, node_values, refuse, rule_of, spec_values
from ringback.store.schema import flow, node, task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringback.model.flow import FlowSpec
    from ringback.store.database import Tx


async def edit(tx: Tx, account_id: int, flow_id: int, spec: FlowSpec, *, now_ms: int, minute_seconds: float) -> None:
    """Replace a pending flow's settings in the narrow form. What it cannot see of a round that stays (its windows, its
    caller id) stays too.

    Raises :class:`~ringback.store.flows.FlowNotFound`, :class:`~ringback.store.flows.FlowWrongState`.
    """
    parent_task_id = await _claim(tx, account_id, flow_id, spec, now_ms)
    parent_template_id = (await tx.execute(select(task.c.template_id).where(task.c.id == parent_task_id))).scalar_one()
    before = await _rules(tx, flow_id)
    rules = dict(enumerate(rules_of(spec, parent_template_id), start=1))
    for position, rule in before.items():
        if position in rules:
            rules[position] = narrowed(rule, spec, rules[position].template_id)
    await _replace(tx, flow_id, parent_task_id, rules, spec=spec, minute_seconds=minute_seconds)


async def edit_rounds(
    tx: Tx, account_id: int, flow_id: int, rules: Sequence[RoundRule], *, now_ms: int, minute_seconds: float
) -> None:
    """Replace a pending flow's rounds in full. Raises as :func:`edit`."""
    spec = narrow(rules)
    parent_task_id = await _claim(tx, account_id, flow_id, spec, now_ms)
    await _replace(
        tx, flow_id, parent_task_id, dict(enumerate(rules, start=1)), spec=spec, minute_seconds=minute_seconds
    )


async def edit_node(
    tx: Tx, account_id: int, node_id: int, rule: RoundRule, *, now_ms: int, minute_seconds: float
) -> None:
    """Replace one round that has not started, also of a flow that runs. Raises as :func:`edit`."""
    of_node = select(node.c.flow_id).where(node.c.id == node_id).scalar_subquery()
    of = (
        await tx.execute(
            select(flow.c.id, flow.c.parent_task_id)
            .where(flow.c.id == of_node, flow.c.account_id == account_id)
            .with_for_update()
        )
    ).one_or_none()
    if of is None:
        raise FlowNotFound(f"there is no node {node_id}")
    rules = await _rules(tx, of.id)
    row = (
        await tx.execute(select(node.c.position, node.c.state, node.c.due_at).where(node.c.id == node_id))
    ).one_or_none()
    if row is None:
        raise FlowNotFound(f"there is no node {node_id}")
    if row.state != FlowState.PENDING:
        raise FlowWrongState(f"node {node_id} is {row.state.replace('_', ' ')}; only a pending one can be edited")
    rules[row.position] = rule
    in_order = [rules[position] for position in sorted(rules)]
    spec = narrow(in_order)
    await tx.execute(update(flow).where(flow.c.id == of.id).values(**spec_values(spec, now_ms)))
    for position, one in rules.items():
        # What the flow says of all has changed, perhaps, and with it what each must say for itself.
        await tx.execute(
            update(node).where(node.c.flow_id == of.id, node.c.position == position).values(**node_values(one, spec))
        )
    if row.due_at is not None:
        await _make_due(tx, of.id, of.parent_task_id, row.position, rule=rule, minute_seconds=minute_seconds)


async def _claim(tx: Tx, account_id: int, flow_id: int, spec: FlowSpec, now_ms: int) -> int:
    """The new settings, if the flow is pending. Returns its parent task."""
    changed = await tx.execute(
        update(flow)
        .where(flow.c.id == flow_id, flow.c.account_id == account_id, flow.c.state == FlowState.PENDING)
        .values(**spec_values(spec, now_ms))
        .returning(flow.c.parent_task_id)
    )
    parent_task_id: int | None = changed.scalar_one_or_none()
    if parent_task_id is None:
        await refuse(tx, account_id, flow_id, "edited")
    return parent_task_id


async def _rules(tx: Tx, flow_id: int) -> dict[int, RoundRule]:
    """The flow's rounds by position."""
    columns = (flow.c.interval_minutes, flow.c.recall_type, flow.c.recall_intents)
    rows = await tx.execute(
        select(node.c.position, node.c.rule, node.c.template_id, *columns)
        .join(flow, flow.c.id == node.c.flow_id)
        .where(node.c.flow_id == flow_id)
        .order_by(node.c.position)
    )
    return {row.position: rule_of(row) for row in rows}


async def _replace(
    tx: Tx,
    flow_id: int,
    parent_task_id: int,
    rules: Mapping[int, RoundRule],
    *,
    spec: FlowSpec,
    minute_seconds: float,
) -> None:
    gone = or_(node.c.position > len(rules), node.c.state != FlowState.PENDING)
    await tx.execute(delete(node).where(node.c.flow_id == flow_id, gone))
    kept = list(await tx.scalars(select(node.c.position).where(node.c.flow_id == flow_id)))
    for position in kept:
        await tx.execute(
            update(node)
            .where(node.c.flow_id == flow_id, node.c.position == position)
            .values(**node_values(rules[position], spec))
        )
    await add_nodes(tx, flow_id, {at: rule for at, rule in rules.items() if at not in kept}, spec)
    await _make_due(tx, flow_id, parent_task_id, 1, rule=rules[1], minute_seconds=minute_seconds)


async def _make_due(
    tx: Tx, flow_id: int, parent_task_id: int, position: int, *, rule: RoundRule, minute_seconds: float
) -> None:
    """The round's due time, counted anew from the end of the task before it, when that has ended."""
    before = select(node.c.task_id).where(node.c.flow_id == flow_id, node.c.position == position - 1)
    task_id = parent_task_id if position == 1 else await tx.scalar(before)
    finished_at = await tx.scalar(select(task.c.finished_at).where(task.c.id == task_id))
    if finished_at is not None:
        await tx.execute(
            update(node)
            .where(node.c.flow_id == flow_id, node.c.position == position)
            .values(due_at=due_at(finished_at, rule.interval_minutes, minute_seconds))
        )
