"""Lanes: the queued numbers of a task by time zone, so that a lease can take those whose window is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select

from ringback.model.states import CallState
from ringback.store.schema import call, lane

if TYPE_CHECKING:
    from ringback.store.database import Tx


async def fill(tx: Tx, task_id: int) -> None:
    """One lane per time zone of the new task's queued numbers."""
    await tx.execute(
        insert(lane).from_select(
            ["task_id", "zone", "queued"],
            select(call.c.task_id, call.c.zone, func.count())
            .where(call.c.task_id == task_id, call.c.state == CallState.QUEUED)
            .group_by(call.c.task_id, call.c.zone),
        )
    )
