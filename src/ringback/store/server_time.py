"""The time of the machine that PostgreSQL runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from ringback.store.database import Tx

_NOW = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


async def server_now_us(tx: Tx) -> int:
    """Wall-clock time there, epoch microseconds, at some instant of this question. For PostgreSQL only."""
    return int(await tx.scalar(_NOW) or 0)
