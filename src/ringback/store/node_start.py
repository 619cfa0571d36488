"""How recall nodes start: all that are due at once, in one transaction with a constant number of statements.

Many flows end in the same second when a campaign does, so their next rounds are due together; a transaction each would
make the last ones late. A start counts who is recalled and why the others are not, stores a waiting task a node, and
copies its audience with ``INSERT … SELECT``.

Locks: the flows and their nodes in one statement that passes over what others hold. So conductors share the work, an
edit under way is left alone until the next time, and a start waits for nobody. After that it only inserts, and changes
the rows that it holds.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Label, and_, bindparam, case, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from ringback.model.flow import recall_task_name
from ringback.model.outcome import Outcome
from ringback.model.report import Event
from ringback.model.round_rule import RoundRule
from ringback.model.states import FlowState
from ringback.model.task import Limits
from ringback.store import dialects, lanes, outbox, routes
from ringback.store.flows import rule_of
from ringback.store.recalled import copy_numbers, in_audience
from ringback.store.schema import call, flow, lane, node, task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringback.model.audience import Audience
    from ringback.store.database import Tx

#: A transaction takes no further node when those before it choose from so many calls: others wait for its locks.
CALLS_AT_ONCE = 50_000


class _Round(msgspec.Struct):
    """A node that starts. ``row`` is one of :data:`_CLAIM`; ``task_id`` is given to it when somebody qualifies."""

    row: Any
    rule: RoundRule
    qualified: int = 0
    left_out: Counter[str] = msgspec.field(default_factory=Counter)
    name: str = ""
    task_id: int | None = None


async def start_due(tx: Tx, now_ms: int, limit: int, *, only: int | None = None) -> dict[int, int | None]:
    """Start the nodes that are due, the longest due first; with ``only`` just that one.

    Returns the task of each node that started. ``None`` when nobody qualified: the node, all later ones and the flow
    are then completed. Nodes that are no longer pending, or that somebody else holds, are not in it. Raises when one of
    them cannot start, and then the transaction must not be committed.
    """
    rounds = await _claim(tx, now_ms, limit, only)
    if not rounds:
        return {}
    await _choose(tx, rounds)
    running = [one for one in rounds if one.qualified]
    if running:
        await _make_tasks(tx, running, now_ms)
        await _copy_audiences(tx, running)
        await _fill_lanes(tx, running)
    await _move(tx, rounds, now_ms)
    return {one.row.id: one.task_id for one in rounds}


_parent = task.alias("parent")
_before = node.alias("before")
_previous = task.alias("previous")
#: The task whose calls a round chooses from: the round before, or the parent for the first.
_previous_id = case((node.c.position == 1, flow.c.parent_task_id), else_=_before.c.task_id)
_CLAIM = (
    select(
        node.c.id,
        node.c.flow_id,
        node.c.position,
        node.c.template_id,
        node.c.rule,
        flow.c.interval_minutes,
        flow.c.recall_type,
        flow.c.recall_intents,
        _previous.c.id.label("previous_id"),
        _previous.c.total.label("candidates"),
        _parent.c.account_id,
        _parent.c.application_id,
        _parent.c.name,
        _parent.c.caller_id,
        _parent.c.limits,
        _parent.c.kind,
        _parent.c.called_info,
        _parent.c.report_last,
    )
    .join(flow, flow.c.id == node.c.flow_id)
    .join(_parent, _parent.c.id == flow.c.parent_task_id)
    .join(_before, and_(_before.c.flow_id == flow.c.id, _before.c.position == node.c.position - 1), isouter=True)
    .join(_previous, _previous.c.id == _previous_id, isouter=True)
    .where(node.c.state == FlowState.PENDING, node.c.due_at <= bindparam("now_ms"))
    .order_by(node.c.due_at, node.c.id)
    .with_for_update(of=[flow, node], skip_locked=True)
)


async def _claim(tx: Tx, now_ms: int, limit: int, only: int | None) -> list[_Round]:
    query = _CLAIM.limit(limit) if only is None else _CLAIM.where(node.c.id == only)
    rounds: list[_Round] = []
    candidates = 0
    for row in (await tx.execute(query, {"now_ms": now_ms})).all():
        assert row.previous_id is not None, "a node is due only after the one before it has run"
        candidates += row.candidates
        if rounds and candidates > CALLS_AT_ONCE:
            break
        rounds.append(_Round(row, rule_of(row)))
    return rounds


async def _choose(tx: Tx, rounds: Iterable[_Round]) -> None:
    """Count who qualifies for each round, and by outcome or state why the others do not."""
    by_previous = {one.row.previous_id: one for one in rounds}
    ends = [call.c.task_id, call.c.state, call.c.outcome, call.c.intent]
    # How long calls lasted is told apart only where it matters: each length would be a group of its own.
    by_length = [one for one in rounds if one.rule.audience.talk_bounds_ms != (None, None)]
    mine = [and_(call.c.task_id == one.row.previous_id, in_audience(one.rule.audience)) for one in by_length]
    grouped = [*ends, case((or_(*mine), 1), else_=0).label("chosen")] if mine else ends
    asked_so = {one.row.id for one in by_length}
    found = await tx.execute(
        select(*grouped, func.count().label("calls"))
        .where(call.c.task_id.in_(list(by_previous)))
        .group_by(*[text("chosen") if isinstance(part, Label) else part for part in grouped])
    )
    for row in found:
        one = by_previous[row.task_id]
        if row.outcome is None:
            qualifies = False
        elif one.row.id in asked_so:
            qualifies = row.chosen == 1
        else:
            qualifies = one.rule.audience.includes(Outcome(row.outcome), row.intent)
        if qualifies:
            one.qualified += row.calls
        else:
            one.left_out[row.outcome or row.state] += row.calls


async def _make_tasks(tx: Tx, rounds: Sequence[_Round], now_ms: int) -> None:
    """The rounds' tasks: the parent's application, caller id and limits, the node's template, a name of their own."""
    taken: set[tuple[int, str]] = set()
    for one in rounds:
        _name(one, taken)
    unnamed = await _insert_tasks(tx, rounds, now_ms)
    while unnamed:
        # Somebody has these names already, or stored a task at this very moment.
        for one in unnamed:
            taken |= await _taken(tx, one)
            _name(one, taken)
        unnamed = await _insert_tasks(tx, unnamed, now_ms)


def _name(one: _Round, taken: set[tuple[int, str]]) -> None:
    of = one.row.account_id
    one.name = recall_task_name(one.row.name, one.row.position, lambda name: (of, name) in taken)
    taken.add((of, one.name))


async def _taken(tx: Tx, one: _Round) -> set[tuple[int, str]]:
    """The names of the account's tasks that look like that round's."""
    # Whatever the counter behind it: this much of the parent's name is never cut off.
    like = task.c.name.startswith(one.row.name[:40], autoescape=True)
    of = one.row.account_id
    return {(of, name) for name in await tx.scalars(select(task.c.name).where(task.c.account_id == of, like))}


async def _insert_tasks(tx: Tx, rounds: Sequence[_Round], now_ms: int) -> list[_Round]:
    """Store the tasks whose names are free. Returns the rounds of the others."""
    dialect = postgresql if dialects.is_postgresql(tx) else sqlite
    inserted = await tx.execute(
        dialect.insert(task)
        .on_conflict_do_nothing(index_elements=["account_id", "name"])
        .returning(task.c.id, task.c.account_id, task.c.name),
        [
            {
                "account_id": one.row.account_id,
                "application_id": one.row.application_id,
                "name": one.name,
                "template_id": one.row.template_id,
                "caller_id": one.row.caller_id if one.rule.caller_id is None else one.rule.caller_id,
                "limits": _limits(one),
                "kind": one.row.kind,
                "called_info": one.row.called_info,
                "report_last": one.row.report_last,
                "send_at": now_ms,
                "total": one.qualified,
                "queued": one.qualified,
                "created_at": now_ms,
                "modified_at": now_ms,
            }
            # In one order everywhere, so that two who want the same names wait for each other in one direction only.
            for one in sorted(rounds, key=lambda one: (one.row.account_id, one.name))
        ],
    )
    ids = {(row.account_id, row.name): row.id for row in inserted}
    for one in rounds:
        one.task_id = ids.get((one.row.account_id, one.name))
    return [one for one in rounds if one.task_id is None]


def _limits(one: _Round) -> str:
    """The parent's limits, with the round's own windows."""
    limits: str = one.row.limits
    if one.rule.windows is None:
        return limits
    of_parent = msgspec.json.decode(limits, type=Limits)
    return msgspec.json.encode(msgspec.structs.replace(of_parent, windows=one.rule.windows)).decode()


async def _copy_audiences(tx: Tx, rounds: Sequence[_Round]) -> None:
    """The calls of the new tasks, in the order of the previous ones. Routes may have changed since then."""
    await dialects.lock_routes(tx, to_change=False)
    prefixes = await routes.prefixes_of(tx, {one.row.account_id for one in rounds})
    groups: dict[tuple[Audience, int | None], list[_Round]] = {}
    for one in rounds:
        # Shared routes are the same for all accounts that have none of their own.
        own = one.row.account_id if prefixes[one.row.account_id].own else None
        groups.setdefault((one.rule.audience, own), []).append(one)
    for (audience, _), alike in groups.items():
        account_id = alike[0].row.account_id
        pairs = [(one.task_id, one.row.previous_id) for one in alike if one.task_id is not None]
        await copy_numbers(tx, pairs, in_audience(audience), prefixes[account_id], account_id)


async def _fill_lanes(tx: Tx, rounds: Sequence[_Round]) -> None:
    expected = {one.task_id: one.qualified for one in rounds if one.task_id is not None}
    await lanes.fill(tx, expected)
    queued = await tx.execute(
        select(lane.c.task_id, func.sum(lane.c.queued).label("queued"))
        .where(lane.c.task_id.in_(expected))
        .group_by(lane.c.task_id)
    )
    assert {row.task_id: row.queued for row in queued} == expected, "the audience in SQL is not that of the model"


async def _move(tx: Tx, rounds: Sequence[_Round], now_ms: int) -> None:
    """Nodes and flows go on; where nobody is left they are over."""
    told = update(node).where(node.c.id == bindparam("started"))
    told = told.values(qualified=bindparam("qualified"), left_out=bindparam("left_out"))
    running = [one for one in rounds if one.task_id is not None]
    over = [one for one in rounds if one.task_id is None]
    if running:
        await tx.execute(
            told.values(state=FlowState.IN_PROGRESS, task_id=bindparam("task_id"), started_at=now_ms),
            [{"task_id": one.task_id, **_told(one)} for one in running],
        )
        await _move_flows(tx, running, FlowState.IN_PROGRESS, now_ms)
        await outbox.nodes_changed(tx, Event.NODE_STARTED, [one.row.id for one in running], now_ms)
    if over:
        await tx.execute(told, [_told(one) for one in over])
        # What is still pending comes after the rounds that have run.
        ended = await tx.execute(
            update(node)
            .where(node.c.flow_id.in_([one.row.flow_id for one in over]), node.c.state == FlowState.PENDING)
            .values(state=FlowState.COMPLETED, ended_at=now_ms, due_at=None, reason="nobody was left to recall")
            .returning(node.c.id)
        )
        await outbox.nodes_changed(tx, Event.NODE_COMPLETED, sorted(row.id for row in ended), now_ms)
        await _move_flows(tx, over, FlowState.COMPLETED, now_ms)
        await outbox.flows_completed(tx, [one.row.flow_id for one in over], now_ms)


def _told(one: _Round) -> dict[str, Any]:
    why_not = msgspec.json.encode(dict(sorted(one.left_out.items()))).decode()
    return {"started": one.row.id, "qualified": one.qualified, "left_out": why_not}


async def _move_flows(tx: Tx, rounds: Sequence[_Round], state: FlowState, now_ms: int) -> None:
    await tx.execute(
        update(flow)
        .where(flow.c.id.in_([one.row.flow_id for one in rounds]))
        .values(state=state, modified_at=now_ms, reason="")
    )
