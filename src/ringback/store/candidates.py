"""Candidates: the trunks that may carry the numbers of a lane, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import exists, select

from ringback.model.queue_views import LaneView
from ringback.model.routing import Choice
from ringback.model.states import CallState
from ringback.store import caller_ids, routes
from ringback.store.schema import application, call, lane, task, trunk
from ringback.store.schema_routing import caller_id, route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ringback.store.database import Tx

NO_TRUNK = "there is no trunk to dial through"


class Asking(msgspec.Struct, frozen=True):
    """A task that wants trunks. ``trunk_id`` is its application's, ``wanted`` its own caller id ('' for none)."""

    task_id: int
    account_id: int
    trunk_id: int | None
    wanted: str


class _Found(msgspec.Struct, frozen=True):
    choices: tuple[Choice, ...]
    problem: str = ""
    #: There are trunks, and each refuses the caller id that is wanted.
    refused: bool = False


async def trunks_of(tx: Tx, engine: str, *, lock: bool = True) -> Sequence[Any]:
    """The trunks of an engine as rows, locked unless told otherwise, oldest first; ``has_pool``: it owns caller ids."""
    has_pool = exists().where(caller_id.c.trunk_id == trunk.c.id).label("has_pool")
    query = select(trunk, has_pool).where(trunk.c.engine == engine).order_by(trunk.c.id)
    return (await tx.execute(query.with_for_update(key_share=True) if lock else query)).all()


def any_caller_id(row: Any) -> bool:
    """Whether a trunk of :func:`trunks_of` may show numbers that it does not own."""
    return row.caller_ids == "any" or (row.caller_ids is None and not row.has_pool)


async def lanes_of(tx: Tx, trunks: Sequence[Any], asking: Sequence[Asking]) -> dict[int, tuple[LaneView, ...]]:
    """The lanes of tasks that have numbers queued, each with its trunks, by task id."""
    found: dict[int, tuple[LaneView, ...]] = {}
    for task_id, lanes in (await _resolve(tx, trunks, asking)).items():
        found[task_id] = tuple(
            LaneView(row.zone, row.queued, row.route_prefix, of.choices, of.problem) for row, of in lanes
        )
    return found


async def caller_id_refused(tx: Tx, task_id: int, *, engine: str) -> str | None:
    """Why a new task can never dial: every trunk that may carry a number of it refuses its caller id. Else ``None``."""
    row = (
        await tx.execute(
            select(task.c.account_id, application.c.trunk_id, task.c.caller_id)
            .join(application, application.c.id == task.c.application_id)
            .where(task.c.id == task_id)
        )
    ).one()
    if not row.caller_id:
        return None
    asking = Asking(task_id, row.account_id, row.trunk_id, row.caller_id)
    lanes = (await _resolve(tx, await trunks_of(tx, engine, lock=False), [asking])).get(task_id, [])
    if lanes and all(of.refused for _, of in lanes):
        return lanes[0][1].problem
    return None


async def _resolve(tx: Tx, trunks: Sequence[Any], asking: Sequence[Asking]) -> dict[int, list[tuple[Any, _Found]]]:
    by_task: dict[int, list[Any]] = {}
    for row in await _lanes(tx, [one.task_id for one in asking]):
        by_task.setdefault(row.task_id, []).append(row)
    routed = await _routed_accounts(tx) if by_task else set()
    rules = await _rules(tx, {row.route_prefix for rows in by_task.values() for row in rows}) if routed else {}
    owners = await _owners(tx, trunks, asking)
    found: dict[int, list[tuple[Any, _Found]]] = {}
    for one in asking:
        visible = {row.id: row for row in trunks if row.account_id in (None, one.account_id)}
        for row in by_task.get(one.task_id, ()):
            of = rules.get((one.account_id, row.route_prefix)) or rules.get((None, row.route_prefix))
            if of is None and one.trunk_id is None and (None in routed or one.account_id in routed):
                at = _Found((), await _gap(tx, one, row))
            else:
                if of is None:
                    of = [Choice(min(visible, default=0) if one.trunk_id is None else one.trunk_id)]
                at = _allowed([choice for choice in of if choice.trunk_id in visible], one.wanted, visible, owners)
            found.setdefault(one.task_id, []).append((row, at))
    return found


def _allowed(choices: Sequence[Choice], wanted: str, visible: dict[int, Any], owners: set[tuple[int, str]]) -> _Found:
    """Those of the trunks that may show the wanted caller id."""
    if not choices:
        return _Found((), NO_TRUNK)
    left = tuple(
        choice
        for choice in choices
        if not wanted or any_caller_id(visible[choice.trunk_id]) or (choice.trunk_id, wanted) in owners
    )
    if left:
        return _Found(left)
    names = ", ".join(visible[choice.trunk_id].name for choice in choices)
    return _Found((), f"caller id {wanted} is not one that trunk {names} owns", refused=True)


async def _lanes(tx: Tx, task_ids: list[int]) -> Iterable[Any]:
    if not task_ids:
        return []
    return await tx.execute(
        select(lane.c.task_id, lane.c.zone, lane.c.route_prefix, lane.c.queued, lane.c.cursor)
        .where(lane.c.task_id.in_(task_ids), lane.c.queued > 0)
        .order_by(lane.c.task_id, lane.c.zone, lane.c.route_prefix)
    )


async def _rules(tx: Tx, prefixes: set[str]) -> dict[tuple[int | None, str], list[Choice]]:
    """The routes with these prefixes, by account (``None`` for shared ones) and prefix."""
    rules: dict[tuple[int | None, str], list[Choice]] = {}
    if prefixes:
        rows = await tx.execute(
            select(route).where(route.c.prefix.in_(sorted(prefixes))).order_by(route.c.priority, route.c.trunk_id)
        )
        for row in rows:
            rules.setdefault((row.account_id, row.prefix), []).append(Choice(row.trunk_id, row.priority, row.weight))
    return rules


async def _owners(tx: Tx, trunks: Sequence[Any], asking: Sequence[Asking]) -> set[tuple[int, str]]:
    wanted = {one.wanted for one in asking if one.wanted}
    if not wanted or all(any_caller_id(row) for row in trunks):
        return set()
    return await caller_ids.owners(tx, wanted)


async def _routed_accounts(tx: Tx) -> set[int | None]:
    """The accounts that have routes of their own; ``None`` among them when there are shared ones."""
    return set(await tx.scalars(select(route.c.account_id).distinct()))


async def _gap(tx: Tx, one: Asking, row: Any) -> str:
    """Where the routes have a gap, told by the next number of the lane."""
    callee = await tx.scalar(
        select(call.c.callee)
        .where(
            call.c.task_id == one.task_id,
            call.c.zone == row.zone,
            call.c.route_prefix == row.route_prefix,
            call.c.state == CallState.QUEUED,
            call.c.id > row.cursor,
        )
        .order_by(call.c.id)
        .limit(1)
    )
    known = await routes.prefixes(tx, one.account_id)
    return f"no route for numbers that begin with {known.without_route(callee or '')}"
