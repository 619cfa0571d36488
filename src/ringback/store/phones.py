"""SIP phones and their groups: made, listed, given a new password. Their registrations are in :mod:`.registrations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ringback.store.accounts import NameTaken
from ringback.store.schema import account, application
from ringback.store.schema_phones import phone, phone_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx


class NewPhone(msgspec.Struct, frozen=True):
    """A phone to store. ``login`` is what it registers as; see :func:`ringback.model.phones.ha1`."""

    name: str
    login: str
    ha1: str

    def __repr__(self) -> str:
        return f"NewPhone(name={self.name!r}, login={self.login!r})"


class Phone(msgspec.Struct, frozen=True, kw_only=True):
    """A phone. ``registered_until``: epoch ms, in the past or 0 when it is not registered."""

    id: int
    account: str
    app_id: str
    group_id: int
    group_name: str
    name: str
    login: str
    caller_id: str
    created_at: int
    registered_until: int
    contact_host: str
    contact_port: int

    def is_registered(self, now_ms: int) -> bool:
        """Whether it can be called."""
        return self.registered_until > now_ms


class LoginTaken(Exception):
    """Another phone registers under that name: make up another one."""


async def add_group(
    tx: Tx, application_id: int, *, name: str, caller_id: str, phones: Sequence[NewPhone], now_ms: int
) -> int:
    """A new group with its phones: all or none. Returns its id.

    Raises:
        NameTaken: the application has a group or a phone of that name.
        LoginTaken: a phone of any account has one of the logins.
    """
    try:
        async with tx.begin_nested():
            values = {"application_id": application_id, "name": name, "caller_id": caller_id, "created_at": now_ms}
            made = await tx.execute(insert(phone_group).values(**values).returning(phone_group.c.id))
            group_id = int(made.scalar_one())
    except IntegrityError:
        raise NameTaken(f"there is a group {name!r} in this application already") from None
    try:
        async with tx.begin_nested():
            rows = [
                {
                    "group_id": group_id,
                    "application_id": application_id,
                    "name": one.name,
                    "login": one.login,
                    "ha1": one.ha1,
                    "created_at": now_ms,
                }
                for one in phones
            ]
            await tx.execute(insert(phone).values(rows))
    except IntegrityError as error:
        if "login" in str(error.orig):
            raise LoginTaken from None
        raise NameTaken("there is a phone of that name in this application already") from None
    return group_id


async def count(tx: Tx, application_id: int) -> int:
    """How many phones an application has."""
    return await tx.scalar(select(func.count()).select_from(phone).where(phone.c.application_id == application_id)) or 0


async def page(tx: Tx, account_id: int, *, app_id: str | None, limit: int, offset: int) -> tuple[int, list[Phone]]:
    """The account's phones, of one application or of all, newest first; and how many there are."""
    wanted: list[ColumnElement[bool]] = [application.c.account_id == account_id]
    if app_id is not None:
        wanted.append(application.c.app_id == app_id)
    joined = phone.join(application, phone.c.application_id == application.c.id)
    total = await tx.scalar(select(func.count()).select_from(joined).where(*wanted))
    rows = await tx.execute(_PHONES.where(*wanted).order_by(phone.c.id.desc()).limit(limit).offset(offset))
    return total or 0, [_phone(row) for row in rows]


async def everyone(tx: Tx) -> list[Phone]:
    """All phones of all accounts, oldest first."""
    return [_phone(row) for row in await tx.execute(_PHONES.order_by(phone.c.id))]


async def by_login(tx: Tx, account_id: int, login: str, *, app_id: str) -> Phone | None:
    """The account's phone that registers under that name, when it belongs to that application."""
    if not (login.isascii() and login.isprintable()):
        return None  # what PostgreSQL could not even compare
    wanted = and_(application.c.account_id == account_id, application.c.app_id == app_id, phone.c.login == login)
    row = (await tx.execute(_PHONES.where(wanted))).one_or_none()
    return None if row is None else _phone(row)


async def has_group(tx: Tx, account_id: int, group_id: int) -> bool:
    """Whether the account has that group."""
    joined = phone_group.join(application, phone_group.c.application_id == application.c.id)
    wanted = and_(phone_group.c.id == group_id, application.c.account_id == account_id)
    return (await tx.scalar(select(func.count()).select_from(joined).where(wanted)) or 0) > 0


async def count_in_group(tx: Tx, account_id: int, group_id: int) -> int:
    """How many phones the account's group has; 0 when there is no such one."""
    joined = phone.join(application, phone.c.application_id == application.c.id)
    wanted = and_(phone.c.group_id == group_id, application.c.account_id == account_id)
    return await tx.scalar(select(func.count()).select_from(joined).where(wanted)) or 0


async def reset(tx: Tx, phone_id: int, ha1: str) -> None:
    """Give it a new password. Whoever has registered with the old one must do so again."""
    await tx.execute(update(phone).where(phone.c.id == phone_id).values(ha1=ha1, registered_until=0))


_PHONES = (
    select(
        phone.c.id,
        account.c.name.label("account"),
        application.c.app_id,
        phone.c.group_id,
        phone_group.c.name.label("group_name"),
        phone.c.name,
        phone.c.login,
        phone_group.c.caller_id,
        phone.c.created_at,
        phone.c.registered_until,
        phone.c.contact_host,
        phone.c.contact_port,
    )
    .join(phone_group, phone.c.group_id == phone_group.c.id)
    .join(application, phone.c.application_id == application.c.id)
    .join(account, application.c.account_id == account.c.id)
)


def _phone(row: Any) -> Phone:
    return msgspec.convert(row, Phone, from_attributes=True)
