"""Routes: which trunks carry numbers that begin so; and the lanes that follow when routes change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, delete, exists, func, insert, literal, or_, select, update

from ringback.model.numbers import MAX_DIGITS
from ringback.model.routing import RoutePrefixes, checked_prefix, lengths_of
from ringback.model.states import TASK, CallState
from ringback.store import dialects, lanes
from ringback.store.schema import account, call, task, trunk
from ringback.store.schema_routing import route

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


class StoredRoute(msgspec.Struct, frozen=True):
    """A route; ``account`` is the name of its account, or ``None`` when it is shared."""

    prefix: str
    trunk: str
    account: str | None
    priority: int
    weight: int


class RouteRefused(Exception):
    """There is such a route already, or its trunk belongs to an account that is not the route's."""


async def everyone(tx: Tx) -> list[StoredRoute]:
    """All routes: shared ones first, then by account, prefix and priority."""
    rows = await tx.execute(
        select(
            route.c.prefix,
            trunk.c.name.label("trunk"),
            account.c.name.label("account"),
            route.c.priority,
            route.c.weight,
        )
        .join(trunk, trunk.c.id == route.c.trunk_id)
        .join(account, account.c.id == route.c.account_id, isouter=True)
        .order_by(func.coalesce(route.c.account_id, 0), route.c.prefix, route.c.priority, route.c.id)
    )
    return [msgspec.convert(row, StoredRoute, from_attributes=True) for row in rows]


async def add(tx: Tx, *, account_id: int | None, prefix: str, trunk_id: int, priority: int, weight: int) -> None:
    """A new route; the queued numbers that it concerns change their lane.

    Raises :class:`RouteRefused`; ValueError for what is no prefix.
    """
    checked_prefix(prefix)
    await dialects.lock_routes(tx, to_change=True)
    owner = await tx.scalar(select(trunk.c.account_id).where(trunk.c.id == trunk_id))
    if owner not in (None, account_id):
        raise RouteRefused("the trunk belongs to another account" if account_id else "the trunk belongs to one account")
    same = and_(_of(account_id), route.c.prefix == prefix)
    if await tx.scalar(select(exists().where(same, route.c.trunk_id == trunk_id))):
        raise RouteRefused("there is such a route already")
    first = not await tx.scalar(select(exists().where(same)))
    await tx.execute(
        insert(route).values(account_id=account_id, prefix=prefix, trunk_id=trunk_id, priority=priority, weight=weight)
    )
    if first:
        await _lanes_follow(tx, account_id, prefix)


async def remove(tx: Tx, *, account_id: int | None, prefix: str, trunk_id: int) -> bool:
    """Remove a route; the queued numbers that it carried change their lane. False when there is none."""
    await dialects.lock_routes(tx, to_change=True)
    same = and_(_of(account_id), route.c.prefix == prefix)
    gone = await tx.execute(delete(route).where(same, route.c.trunk_id == trunk_id))
    if gone.rowcount and not await tx.scalar(select(exists().where(same))):
        await _lanes_follow(tx, account_id, prefix)
    return gone.rowcount > 0


async def prefixes(tx: Tx, account_id: int) -> RoutePrefixes:
    """The prefixes of the routes that an account may use."""
    return (await prefixes_of(tx, [account_id]))[account_id]


async def prefixes_of(tx: Tx, account_ids: Collection[int]) -> dict[int, RoutePrefixes]:
    """The same for several accounts."""
    rows = await tx.execute(
        select(route.c.account_id, route.c.prefix)
        .where(or_(route.c.account_id.is_(None), route.c.account_id.in_(account_ids)))
        .distinct()
    )
    by_owner: dict[int | None, list[str]] = {}
    for row in rows:
        by_owner.setdefault(row.account_id, []).append(row.prefix)
    return {one: RoutePrefixes(own=by_owner.get(one, ()), shared=by_owner.get(None, ())) for one in account_ids}


def prefix_column(known: RoutePrefixes, account_id: int) -> Any:
    """The route prefix of a call as an expression of its callee: :meth:`RoutePrefixes.of`, in SQL."""
    own = _longest(known.own, route.c.account_id == account_id)
    shared = _longest(known.shared, route.c.account_id.is_(None))
    found = [prefix for prefix in (own, shared) if prefix is not None]
    return func.coalesce(*found, "") if found else literal("")


def _longest(of: Collection[str], owner: Any) -> Any:
    """The longest route prefix of an owner that the callee begins with, else NULL. One index look-up per length."""
    if not of:
        return None
    begins = [func.substr(call.c.callee, 1, length) for length in lengths_of(of)]
    return (
        select(route.c.prefix)
        .where(owner, route.c.prefix.in_(begins))
        .order_by(func.length(route.c.prefix).desc())
        .limit(1)
        .correlate(call)
        .scalar_subquery()
    )


async def _lanes_follow(tx: Tx, account_id: int | None, prefix: str) -> None:
    """Put the queued numbers that begin with a prefix, of an account or all, into the lanes of today's routes."""
    of = [] if account_id is None else [task.c.account_id == account_id]
    rows = await tx.execute(
        select(task.c.id, task.c.account_id)
        .where(task.c.state.not_in(TASK.final_states()), task.c.queued + task.c.active > 0, *of)
        .order_by(task.c.id)
        .with_for_update(key_share=True)
    )
    known: dict[int, RoutePrefixes] = {}
    for row in rows.all():
        if row.account_id not in known:
            known[row.account_id] = await prefixes(tx, row.account_id)
        # The route for all has the mark of no route; only an account's own one stands before others.
        if not prefix and (account_id is None or known[row.account_id].shared <= {""}):
            continue
        begins = [call.c.callee.between(prefix, prefix.ljust(MAX_DIGITS, "9"))] if prefix else []
        changed = await tx.execute(
            update(call)
            .where(call.c.task_id == row.id, call.c.state == CallState.QUEUED, *begins)
            .values(route_prefix=prefix_column(known[row.account_id], row.account_id))
        )
        if changed.rowcount:
            await lanes.refill(tx, row.id)


def _of(account_id: int | None) -> Any:
    return route.c.account_id.is_(None) if account_id is None else route.c.account_id == account_id
