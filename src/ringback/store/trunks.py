"""Trunks: where calls go out, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from ringback.store import breakers
from ringback.store.accounts import NameTaken
from ringback.store.schema import application, call, trunk

if TYPE_CHECKING:
    from ringback.store.database import Tx


class Trunk(msgspec.Struct, frozen=True):
    """A SIP route with its limits. ``busy`` is how many calls hold a line of it now."""

    id: int
    name: str
    engine: str
    host: str
    port: int
    username: str
    password: str
    calls_per_second: float
    channels: int
    busy: int

    def __repr__(self) -> str:
        return f"Trunk(id={self.id}, name={self.name!r}, engine={self.engine!r})"


class TrunkInUse(Exception):
    """Calls were made through it, or an application uses it, so it cannot be removed."""


_COLUMNS = select(
    trunk.c.id,
    trunk.c.name,
    trunk.c.engine,
    trunk.c.host,
    trunk.c.port,
    trunk.c.username,
    trunk.c.password,
    trunk.c.calls_per_second,
    trunk.c.channels,
    trunk.c.busy,
)


async def add(
    tx: Tx,
    *,
    name: str,
    engine: str,
    host: str = "",
    port: int = 5060,
    username: str = "",
    password: str = "",
    calls_per_second: float,
    channels: int,
    now_ms: int,
) -> int:
    """A new trunk. Returns its id. Raises :class:`~ringback.store.accounts.NameTaken`."""
    try:
        inserted = await tx.execute(
            insert(trunk)
            .values(
                name=name,
                engine=engine,
                host=host,
                port=port,
                username=username,
                password=password,
                calls_per_second=calls_per_second,
                channels=channels,
                created_at=now_ms,
            )
            .returning(trunk.c.id)
        )
    except IntegrityError as error:
        if "trunk.name" not in str(error.orig) and "uq_trunk" not in str(error.orig):
            raise
        raise NameTaken(f"a trunk with the name {name!r} exists already") from None
    trunk_id = int(inserted.scalar_one())
    await breakers.create(tx, trunk_id)
    return trunk_id


async def everyone(tx: Tx) -> list[Trunk]:
    """All trunks, oldest first."""
    return [
        msgspec.convert(row, Trunk, from_attributes=True) for row in await tx.execute(_COLUMNS.order_by(trunk.c.id))
    ]


async def of_engine(tx: Tx, engine: str) -> list[Trunk]:
    """The trunks that this engine dials through, oldest first."""
    rows = await tx.execute(_COLUMNS.where(trunk.c.engine == engine).order_by(trunk.c.id))
    return [msgspec.convert(row, Trunk, from_attributes=True) for row in rows]


async def change(
    tx: Tx,
    name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    username: str | None = None,
    password: str | None = None,
    calls_per_second: float | None = None,
    channels: int | None = None,
    now_ms: int,
) -> None:
    """Set what is not ``None``. Another way to the carrier (not another limit) closes the trunk's breaker.

    Raises :class:`TrunkInUse` when more calls are up than ``channels`` would allow.
    """
    given = {
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "calls_per_second": calls_per_second,
        "channels": channels,
    }
    values = {column: value for column, value in given.items() if value is not None}
    if not values:
        return
    if any(value is not None for value in (host, port, username, password)):
        await reset(tx, name, now_ms)
    try:
        await tx.execute(update(trunk).where(trunk.c.name == name).values(**values))
    except IntegrityError as error:
        if "ck_trunk_busy" not in str(error.orig):
            raise
        raise TrunkInUse(f"trunk {name!r} has more calls in the air than {channels}; try again later") from None


async def reset(tx: Tx, name: str, now_ms: int) -> bool:
    """Close the trunk's breaker. False when there is no trunk of that name."""
    trunk_id = (await tx.execute(select(trunk.c.id).where(trunk.c.name == name))).scalar_one_or_none()
    if trunk_id is None:
        return False
    await breakers.close(tx, trunk_id, now_ms)
    return True


async def remove(tx: Tx, name: str) -> bool:
    """Remove a trunk. False when there is none of that name. Raises :class:`TrunkInUse`."""
    trunk_id = (await tx.execute(select(trunk.c.id).where(trunk.c.name == name))).scalar_one_or_none()
    if trunk_id is None:
        return False
    used = await tx.scalar(select(exists().where(call.c.trunk_id == trunk_id)))
    if used or await tx.scalar(select(exists().where(application.c.trunk_id == trunk_id))):
        raise TrunkInUse(f"trunk {name!r} has carried calls, and their records name it")
    await tx.execute(delete(trunk).where(trunk.c.id == trunk_id))
    return True
