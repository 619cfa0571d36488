"""The nodes of the telephony engine: what the dialler reports of them, and which of them the operator drains.

The dialler writes everything but ``draining``; that column is the operator's. Both happen in one transaction of the
dialler, so a report that is later than a change has taken note of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, insert, select, update

from ringback.model.engine_node import SeenNode, why_no_line
from ringback.store.schema_engine import engine_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.model.engine_node import NodeState
    from ringback.store.database import Tx

#: What a report says of a node, beside its name and engine.
_REPORTED = ("trouble", "live_calls", "lines", "weight", "placed")


async def to_drain(tx: Tx, engine: str) -> frozenset[str]:
    """The names of the nodes that shall take no new calls. A change of it waits for the end of this transaction."""
    rows = (
        await tx.execute(
            select(engine_node.c.name, engine_node.c.draining).where(engine_node.c.engine == engine).with_for_update()
        )
    ).all()
    return frozenset(row.name for row in rows if row.draining)


async def report(tx: Tx, engine: str, states: Sequence[NodeState], now_ms: int) -> None:
    """The dialler sees these nodes now. Nodes that are not among them are forgotten, and so is their draining.

    There is one dialler, so whatever its settings do not name is no node any more.
    """
    await tx.execute(
        delete(engine_node).where(
            (engine_node.c.engine != engine) | engine_node.c.name.not_in([s.name for s in states])
        )
    )
    for state in states:
        seen = {name: getattr(state, name) for name in _REPORTED} | {"seen_at": now_ms}
        updated = await tx.execute(update(engine_node).where(engine_node.c.name == state.name).values(seen))
        if updated.rowcount == 0:
            await tx.execute(insert(engine_node).values(name=state.name, engine=engine, **seen))


async def everyone(tx: Tx) -> list[SeenNode]:
    """Every node, by name."""
    rows = await tx.execute(select(engine_node).order_by(engine_node.c.name))
    return [msgspec.convert(row, SeenNode, from_attributes=True) for row in rows]


async def by_name(tx: Tx, name: str) -> SeenNode | None:
    """The node of that name."""
    row = (await tx.execute(select(engine_node).where(engine_node.c.name == name))).one_or_none()
    return None if row is None else msgspec.convert(row, SeenNode, from_attributes=True)


async def set_draining(tx: Tx, name: str, *, on: bool) -> SeenNode | None:
    """Let a node take no new calls, or take them again. Returns it as last reported; ``None``: there is none."""
    await tx.execute(update(engine_node).where(engine_node.c.name == name).values(draining=on))
    return await by_name(tx, name)


async def why_none(tx: Tx, engine: str, now_ms: int) -> str:
    """Why the engine takes no call, as far as its nodes tell; empty when one does, or when it has no nodes."""
    rows = await tx.execute(select(engine_node).where(engine_node.c.engine == engine).order_by(engine_node.c.name))
    nodes = [msgspec.convert(row, SeenNode, from_attributes=True) for row in rows]
    if nodes and all(node.is_stale(now_ms) for node in nodes):
        return "no dialler runs"
    return why_no_line(nodes)
