"""The audit log: who changed what, in the transaction that changed it. It is only ever added to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert, select

from ringback.store.schema_identity import audit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.database import Tx


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. ``before`` and ``after`` are JSON objects of what changed."""

    id: int
    account_id: int | None
    at: int
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None


async def write(
    tx: Tx,
    account_id: int | None,
    now_ms: int,
    *,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry. ``before`` and ``after`` must hold neither secrets nor phone numbers."""
    await tx.execute(
        insert(audit).values(
            account_id=account_id,
            at=now_ms,
            actor=actor,
            action=action,
            subject=subject,
            before=None if before is None else msgspec.json.encode(before).decode(),
            after=None if after is None else msgspec.json.encode(after).decode(),
        )
    )


async def page(tx: Tx, account_id: int, *, before: int | None, limit: int) -> list[Entry]:
    """The account's entries with an id below ``before``, newest first."""
    query = _ENTRIES.where(audit.c.account_id == account_id)
    if before is not None:
        query = query.where(audit.c.id < before)
    rows = await tx.execute(query.order_by(audit.c.id.desc()).limit(limit))
    return [msgspec.convert(row, Entry, from_attributes=True) for row in rows]


_ENTRIES = select(
    audit.c.id,
    audit.c.account_id,
    audit.c.at,
    audit.c.actor,
    audit.c.action,
    audit.c.subject,
    audit.c.before,
    audit.c.after,
)
