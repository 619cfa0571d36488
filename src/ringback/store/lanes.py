"""Lanes: the queued numbers of a task by time zone and route, so that a lease can take those that may go now.

A lease counts the numbers of a lane without reading them; so all of a lane are alike in when and where they may go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, exists, func, insert, literal, select, update

from ringback.model.states import CallState
from ringback.store.schema import call, lane

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


async def fill(tx: Tx, task_ids: Collection[int]) -> None:
    """One lane per time zone and route of the queued numbers of each new task."""
    await tx.execute(
        insert(lane).from_select(
            ["task_id", "zone", "route_prefix", "queued"],
            select(call.c.task_id, call.c.zone, call.c.route_prefix, func.count())
            .where(call.c.task_id.in_(task_ids), call.c.state == CallState.QUEUED)
            .group_by(call.c.task_id, call.c.zone, call.c.route_prefix),
        )
    )


async def recount(tx: Tx, task_id: int) -> None:
    """Count the queued numbers of each lane anew, after some have changed their lane or left the queue."""
    queued = and_(_in_lane(), call.c.state == CallState.QUEUED)
    first = select(func.min(call.c.id)).where(queued).scalar_subquery()
    await tx.execute(
        update(lane)
        .where(lane.c.task_id == task_id)
        .values(
            queued=select(func.count()).where(queued).scalar_subquery(),
            # Numbers from other lanes may lie before the cursor.
            cursor=func.coalesce(first - 1, lane.c.cursor),
        )
    )


async def refill(tx: Tx, task_id: int) -> None:
    """The same after numbers may have moved to lanes that do not exist yet."""
    has_lane = exists().where(_in_lane())
    await tx.execute(
        insert(lane).from_select(
            ["task_id", "zone", "route_prefix", "queued"],
            select(call.c.task_id, call.c.zone, call.c.route_prefix, literal(0))
            .where(call.c.task_id == task_id, call.c.state == CallState.QUEUED, ~has_lane)
            .group_by(call.c.task_id, call.c.zone, call.c.route_prefix),
        )
    )
    await recount(tx, task_id)


async def give_back(tx: Tx, task_id: int, zone: str, route_prefix: str, ids: Collection[int]) -> None:
    """Numbers are in the lane again. The cursor goes back behind the first of them, or no lease would see them."""
    first = min(ids)
    changed = await tx.execute(
        update(lane)
        .where(lane.c.task_id == task_id, lane.c.zone == zone, lane.c.route_prefix == route_prefix)
        .values(
            queued=lane.c.queued + len(ids),
            cursor=case((lane.c.cursor < first - 1, lane.c.cursor), else_=first - 1),
        )
    )
    if changed.rowcount == 0:
        values = {"task_id": task_id, "zone": zone, "route_prefix": route_prefix}
        await tx.execute(insert(lane).values(**values, queued=len(ids), cursor=first - 1))


def _in_lane() -> Any:
    return and_(
        call.c.task_id == lane.c.task_id, call.c.zone == lane.c.zone, call.c.route_prefix == lane.c.route_prefix
    )
