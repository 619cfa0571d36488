"""Accounts and their applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ringback.store.lookups import ByKey
from ringback.store.schema import account, application

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.store.database import Tx

#: The application that every account starts with.
DEFAULT_APP_ID = "default"
ENVELOPES = ("both", "code", "status")


class NameTaken(Exception):
    """Something with that name exists already; the text names it."""


class Account(msgspec.Struct, frozen=True):
    """A tenant. ``allowed_networks`` are CIDR texts, empty for any address; ``lines`` its most calls at once.

    ``balance_micros`` is what it has left, in millionths of ``currency``; ``None``: its calls are not charged to it.
    """

    id: int
    name: str
    api_key: str
    api_secret: str
    time_zone: str
    envelope: str
    allowed_networks: tuple[str, ...]
    lines: int | None = None
    balance_micros: int | None = None
    currency: str = "USD"

    def __repr__(self) -> str:
        return f"Account(id={self.id}, name={self.name!r})"


class Application(msgspec.Struct, frozen=True):
    """Groups tasks of an account; ``trunk_id`` ``None`` means the first trunk there is."""

    id: int
    app_id: str
    trunk_id: int | None
    caller_id: str


async def create(
    tx: Tx,
    *,
    name: str,
    api_key: str,
    api_secret: str,
    time_zone: str,
    envelope: str,
    allowed_networks: Sequence[str],
    now_ms: int,
) -> int:
    """A new account with its first application. Returns its id. Raises :class:`NameTaken`."""
    values = {
        "name": name,
        "api_key": api_key,
        "api_secret": api_secret,
        "time_zone": time_zone,
        "envelope": envelope,
        "allowed_networks": list(allowed_networks),
        "created_at": now_ms,
    }
    try:
        async with tx.begin_nested():
            inserted = await tx.execute(insert(account).values(**values).returning(account.c.id))
    except IntegrityError as error:
        taken = "API key" if "api_key" in str(error.orig) else f"name {name!r}"
        raise NameTaken(f"an account with this {taken} exists already") from None
    account_id = int(inserted.scalar_one())
    await tx.execute(
        insert(application).values(account_id=account_id, app_id=DEFAULT_APP_ID, caller_id="", created_at=now_ms)
    )
    return account_id


async def by_key(tx: Tx, api_key: str) -> Account | None:
    """The account with that API key."""
    return (await BY_API_KEY.find(tx, [api_key])).get(api_key)


async def by_name(tx: Tx, name: str) -> Account | None:
    """The account with that name."""
    found = (await tx.execute(_ACCOUNTS.where(account.c.name == name))).one_or_none()
    return None if found is None else _account(found)


async def everyone(tx: Tx) -> list[Account]:
    """All accounts, oldest first."""
    rows = await tx.execute(_ACCOUNTS.order_by(account.c.id))
    return [_account(row) for row in rows]


async def change(
    tx: Tx, account_id: int, *, time_zone: str | None, envelope: str | None, allowed_networks: Sequence[str] | None
) -> None:
    """Set what is not ``None``."""
    values: dict[str, object] = {}
    if time_zone is not None:
        values["time_zone"] = time_zone
    if envelope is not None:
        values["envelope"] = envelope
    if allowed_networks is not None:
        values["allowed_networks"] = list(allowed_networks)
    if values:
        await tx.execute(update(account).where(account.c.id == account_id).values(**values))


async def limit(tx: Tx, account_id: int, lines: int | None) -> None:
    """Let it have so many calls at once at most; ``None``: as many as its trunks carry. Calls in the air go on."""
    await tx.execute(update(account).where(account.c.id == account_id).values(lines=lines))


async def set_balance(tx: Tx, account_id: int, micros: int | None) -> None:
    """What it has left, in millionths; ``None``: its calls are not charged to it."""
    await tx.execute(update(account).where(account.c.id == account_id).values(balance_micros=micros))


async def add_to_balance(tx: Tx, account_id: int, micros: int) -> None:
    """A payment, or with less than 0 a correction; an account without a balance gets one."""
    before = func.coalesce(account.c.balance_micros, 0)
    await tx.execute(update(account).where(account.c.id == account_id).values(balance_micros=before + micros))


async def set_currency(tx: Tx, account_id: int, currency: str) -> None:
    """What its money is called; no amount is converted."""
    await tx.execute(update(account).where(account.c.id == account_id).values(currency=currency))


async def application_of(tx: Tx, account_id: int, app_id: str) -> Application | None:
    """The account's application with that ``appId``."""
    row = (
        await tx.execute(
            select(application.c.id, application.c.app_id, application.c.trunk_id, application.c.caller_id).where(
                application.c.account_id == account_id, application.c.app_id == app_id
            )
        )
    ).one_or_none()
    return None if row is None else msgspec.convert(row, Application, from_attributes=True)


_ACCOUNTS = select(
    account.c.id,
    account.c.name,
    account.c.api_key,
    account.c.api_secret,
    account.c.time_zone,
    account.c.envelope,
    account.c.allowed_networks,
    account.c.lines,
    account.c.balance_micros,
    account.c.currency,
)


def _account(row: object) -> Account:
    return msgspec.convert(row, Account, from_attributes=True)


#: Accounts by their API key.
BY_API_KEY: ByKey[str, Account] = ByKey(
    _ACCOUNTS, account.c.api_key, lambda rows: {row.api_key: _account(row) for row in rows}
)
