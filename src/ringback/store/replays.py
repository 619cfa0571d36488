"""Answers kept for requests that are sent again under the same ``Idempotency-Key``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ringback.store import dialects
from ringback.store.schema_identity import replay

if TYPE_CHECKING:
    from ringback.store.database import Tx

#: How many that have had their time one claim takes away: rows come and go at the same pace.
_FORGOTTEN_AT_ONCE = 10


class Replay(msgspec.Struct, frozen=True):
    """A request that was answered: the ``digest`` of it, the HTTP status, and the JSON of the answer."""

    digest: str
    status: int
    answer: str


async def claim(tx: Tx, account_id: int, key: str, digest: str, now_ms: int, *, keep_ms: int) -> Replay | None:
    """Take the key: ``None`` when it is ours now, and whoever comes with it waits until this transaction has ended.
    Else what came of the request that had it.
    """
    own = (replay.c.account_id == account_id, replay.c.key == key)
    old = select(replay.c.account_id, replay.c.key).where(replay.c.created_at < now_ms - keep_ms)
    await tx.execute(delete(replay).where(*own, replay.c.created_at < now_ms - keep_ms))
    for row in (await tx.execute(old.limit(_FORGOTTEN_AT_ONCE))).all():
        await tx.execute(delete(replay).where(replay.c.account_id == row.account_id, replay.c.key == row.key))
    dialect = postgresql if dialects.is_postgresql(tx) else sqlite
    taken = await tx.execute(
        dialect.insert(replay)
        .values(account_id=account_id, key=key, digest=digest, status=0, answer="", created_at=now_ms)
        .on_conflict_do_nothing()
    )
    if taken.rowcount:
        return None
    found = (await tx.execute(select(replay.c.digest, replay.c.status, replay.c.answer).where(*own))).one()
    return Replay(found.digest, found.status, found.answer)


async def keep(tx: Tx, account_id: int, key: str, status: int, answer: str) -> None:
    """What came of the request that claimed the key, in the transaction that claimed it."""
    await tx.execute(
        update(replay)
        .where(replay.c.account_id == account_id, replay.c.key == key)
        .values(status=status, answer=answer)
    )
