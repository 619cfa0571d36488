"""The nodes of the telephony engine: what each worker reports of them, and which of them the operator drains.

A report and a change of draining lock the same rows, so a report that is later than a change has taken note of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, delete, exists, insert, or_, select, update

from ringback.model.engine_node import STALE_MS, SeenNode, why_no_line
from ringback.store.schema_engine import draining_node, engine_node, worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.model.engine_node import NodeState
    from ringback.store.database import Tx

#: What a report says of a node, beside its name and engine.
_REPORTED = ("trouble", "live_calls", "lines", "weight", "placed")


async def to_drain(tx: Tx, worker_id: int) -> frozenset[str]:
    """The names of the nodes that shall take no new calls. A change of it waits for the end of this transaction."""
    await tx.execute(select(engine_node.c.name).where(engine_node.c.worker_id == worker_id).with_for_update())
    return frozenset(await tx.scalars(select(draining_node.c.name)))


async def report(tx: Tx, worker_id: int, engine: str, states: Sequence[NodeState], now_ms: int) -> None:
    """The worker sees these nodes now. What it does not name any more, and what workers that ended named, is forgotten.

    The draining of a node that nobody names is forgotten too.
    """
    alive = exists().where(worker.c.id == engine_node.c.worker_id, worker.c.ended_at.is_(None))
    gone = and_(engine_node.c.worker_id == worker_id, engine_node.c.name.not_in([state.name for state in states]))
    await tx.execute(delete(engine_node).where(or_(gone, ~alive)))
    for state in states:
        seen = {name: getattr(state, name) for name in _REPORTED} | {"seen_at": now_ms}
        mine = (engine_node.c.worker_id == worker_id, engine_node.c.name == state.name)
        updated = await tx.execute(update(engine_node).where(*mine).values(seen))
        if updated.rowcount == 0:
            await tx.execute(insert(engine_node).values(worker_id=worker_id, name=state.name, engine=engine, **seen))
    await tx.execute(delete(draining_node).where(draining_node.c.name.not_in(select(engine_node.c.name))))


async def everyone(tx: Tx, now_ms: int) -> list[SeenNode]:
    """Every node, by name; one that several workers use as they see it together."""
    return await _seen(tx, now_ms)


async def by_name(tx: Tx, name: str, now_ms: int) -> SeenNode | None:
    """The node of that name."""
    found = await _seen(tx, now_ms, engine_node.c.name == name)
    return found[0] if found else None


async def set_draining(tx: Tx, name: str, now_ms: int, *, on: bool) -> SeenNode | None:
    """Let a node take no new calls, or take them again. Returns it as last reported; ``None``: there is none."""
    rows = await tx.execute(
        select(engine_node.c.worker_id)
        .where(engine_node.c.name == name)
        .order_by(engine_node.c.worker_id)
        .with_for_update()
    )
    if not rows.all():
        return None
    await tx.execute(delete(draining_node).where(draining_node.c.name == name))
    if on:
        await tx.execute(insert(draining_node).values(name=name))
    return await by_name(tx, name, now_ms)


async def why_none(tx: Tx, engine: str, now_ms: int) -> str:
    """Why the engine takes no call, as far as its nodes tell; empty when one does, or when it has no nodes."""
    nodes = await _seen(tx, now_ms, engine_node.c.engine == engine)
    if nodes and all(node.is_stale(now_ms) for node in nodes):
        return "no dialler runs"
    return why_no_line(nodes)


async def _seen(tx: Tx, now_ms: int, *where: Any) -> list[SeenNode]:
    draining = exists().where(draining_node.c.name == engine_node.c.name).label("draining")
    rows = await tx.execute(
        select(engine_node, draining).where(*where).order_by(engine_node.c.name, engine_node.c.worker_id)
    )
    by_node: dict[str, list[SeenNode]] = {}
    for row in rows:
        by_node.setdefault(row.name, []).append(msgspec.convert(row, SeenNode, from_attributes=True))
    return [_together(of_one, now_ms) for of_one in by_node.values()]


def _together(seen: list[SeenNode], now_ms: int) -> SeenNode:
    """A node that several workers use. Of those that report it now, the earliest report tells what all know."""
    fresh = [node for node in seen if now_ms - node.seen_at <= STALE_MS]
    if not fresh:
        return max(seen, key=lambda node: node.seen_at)
    return msgspec.structs.replace(
        fresh[0],
        # It takes calls when one of them can use it.
        trouble="" if any(not node.trouble for node in fresh) else fresh[0].trouble,
        live_calls=sum(node.live_calls for node in fresh),
        lines=sum(node.lines for node in fresh),
        placed=sum(node.placed for node in fresh),
        seen_at=min(node.seen_at for node in fresh),
    )
