"""Trunks: where calls go out, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.routing import checked_added, checked_strip
from ringback.store import breakers
from ringback.store.accounts import NameTaken
from ringback.store.schema import account, application, call, trunk
from ringback.store.schema_routing import caller_id, route

if TYPE_CHECKING:
    from ringback.store.database import Tx


class Trunk(msgspec.Struct, frozen=True):
    """A SIP trunk with its limits. ``busy`` is how many calls hold a line of it now.

    ``account`` is the name of the only account that may use it, ``None`` for all. ``strip`` is taken off a called
    number, ``prefix`` put in front then. ``caller_ids``: ``any`` or ``owned``, ``None`` for what follows from its pool.
    """

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
    account_id: int | None
    account: str | None
    strip: str
    prefix: str
    caller_ids: str | None

    def __repr__(self) -> str:
        return f"Trunk(id={self.id}, name={self.name!r}, engine={self.engine!r})"


class TrunkInUse(Exception):
    """Calls, an application or routes hold on to it as it is; the text says what."""


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
    trunk.c.account_id,
    account.c.name.label("account"),
    trunk.c.strip,
    trunk.c.prefix,
    trunk.c.caller_ids,
).join(account, account.c.id == trunk.c.account_id, isouter=True)


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
    account_id: int | None = None,
    strip: str = "",
    prefix: str = "",
    caller_ids: str | None = None,
    now_ms: int,
) -> int:
    """A new trunk. Returns its id.

    Raises :class:`~ringback.store.accounts.NameTaken`; ValueError for a ``strip`` or ``prefix`` that is no number.
    """
    values = {
        "name": name,
        "engine": engine,
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "calls_per_second": calls_per_second,
        "channels": channels,
        "account_id": account_id,
        "strip": checked_strip(strip),
        "prefix": checked_added(prefix),
        "caller_ids": caller_ids,
        "created_at": now_ms,
    }
    try:
        async with tx.begin_nested():
            inserted = await tx.execute(insert(trunk).values(**values).returning(trunk.c.id))
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


async def usable_by(tx: Tx, account_id: int) -> dict[int, str]:
    """The trunks that an account may use: name by id, oldest first."""
    mine = or_(trunk.c.account_id.is_(None), trunk.c.account_id == account_id)
    rows = await tx.execute(select(trunk.c.id, trunk.c.name).where(mine).order_by(trunk.c.id))
    return {row.id: row.name for row in rows}


async def by_name(tx: Tx, name: str) -> Trunk | None:
    """The trunk of that name."""
    row = (await tx.execute(_COLUMNS.where(trunk.c.name == name))).one_or_none()
    return None if row is None else msgspec.convert(row, Trunk, from_attributes=True)


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
    strip: str | None = None,
    prefix: str | None = None,
    now_ms: int,
) -> None:
    """Set what is not ``None``. Another way to the carrier (not another limit) closes the trunk's breaker.

    Raises :class:`TrunkInUse` when more calls are up than ``channels`` would allow; ValueError for a ``strip`` or
    ``prefix`` that is no number.
    """
    given = {
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "calls_per_second": calls_per_second,
        "channels": channels,
        "strip": None if strip is None else checked_strip(strip),
        "prefix": None if prefix is None else checked_added(prefix),
    }
    values = {column: value for column, value in given.items() if value is not None}
    if not values:
        return
    if any(value is not None for value in (host, port, username, password)):
        await reset(tx, name, now_ms)
    try:
        async with tx.begin_nested():
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


async def give_to(tx: Tx, trunk_id: int, account_id: int | None) -> None:
    """Let one account use it, or all (``None``).

    Raises :class:`TrunkInUse` when a route or an application of others names it.
    """
    if account_id is not None:
        routes_of_others = exists().where(
            route.c.trunk_id == trunk_id, func.coalesce(route.c.account_id, 0) != account_id
        )
        if await tx.scalar(select(routes_of_others)):
            raise TrunkInUse("routes of others go through the trunk; remove them first")
        if await tx.scalar(
            select(exists().where(application.c.trunk_id == trunk_id, application.c.account_id != account_id))
        ):
            raise TrunkInUse("applications of others go through the trunk")
    await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(account_id=account_id))


async def allow_caller_ids(tx: Tx, trunk_id: int, rule: str | None) -> None:
    """Which caller ids calls may show: ``any``, ``owned``, or ``None`` for what follows from its pool."""
    await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(caller_ids=rule))


async def remove(tx: Tx, name: str) -> bool:
    """Remove a trunk. False when there is none of that name. Raises :class:`TrunkInUse`."""
    # Locked, so that no lease gives it a call in between.
    of_name = select(trunk.c.id).where(trunk.c.name == name).with_for_update()
    trunk_id = (await tx.execute(of_name)).scalar_one_or_none()
    if trunk_id is None:
        return False
    used = await tx.scalar(select(exists().where(call.c.trunk_id == trunk_id)))
    if used or await tx.scalar(select(exists().where(application.c.trunk_id == trunk_id))):
        raise TrunkInUse(f"trunk {name!r} has carried calls, and their records name it")
    if await tx.scalar(select(exists().where(route.c.trunk_id == trunk_id))):
        raise TrunkInUse(f"routes go through trunk {name!r}; remove them first")
    await tx.execute(delete(caller_id).where(caller_id.c.trunk_id == trunk_id))
    await tx.execute(delete(trunk).where(trunk.c.id == trunk_id))
    return True
