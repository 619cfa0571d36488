"""Phones taken for calls: one phone talks on one call at a time, whichever process connects them.

A phone belongs to the call that took it until it is freed, the call has ended, or its longest duration is over. So a
worker that dies with its calls leaves no phone taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, exists, func, not_, or_, select, update

from ringback.model.states import ON_THE_LINE
from ringback.store.registrations import Contact
from ringback.store.schema import application, call, task
from ringback.store.schema_phones import phone, phone_group

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement

    from ringback.store.database import Tx


class NoPhone(Exception):
    """There is none to be taken; the text says why."""


class TakenPhone(msgspec.Struct, frozen=True):
    """A phone that a call has taken, and where to call it."""

    login: str
    contact: Contact


async def take(
    tx: Tx,
    *,
    task_id: int,
    call_id: int,
    now_ms: int,
    until_ms: int,
    group_id: int | None = None,
    login: str = "",
    passed: Collection[str] = (),
    registered_only: bool = True,
) -> TakenPhone:
    """Take the phone of that login, or of a group the one that has been idle for longest, for a call of the task.

    ``passed`` are logins that are not wanted (any more). Of other accounts than the task's there is none.
    ``registered_only`` is false for an engine whose phones need not register.

    Raises :class:`NoPhone`.
    """
    named = f"group {group_id}" if group_id is not None else f"phone {login!r}"
    wanted = phone.c.group_id == group_id if group_id is not None else phone.c.login == login
    of_account = exists().where(
        application.c.id == phone.c.application_id, task.c.id == task_id, task.c.account_id == application.c.account_id
    )
    registered = phone.c.registered_until > now_ms if registered_only else phone.c.id == phone.c.id
    query = (
        select(phone.c.id, phone.c.login, phone.c.contact_user, phone.c.contact_host, phone.c.contact_port)
        .where(wanted, of_account, registered, _free(now_ms), phone.c.login.not_in(list(passed)))
        .order_by(phone.c.used_at, phone.c.id)
        .limit(1)
        .with_for_update(of=phone, skip_locked=True)
    )
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NoPhone(await _why_none(tx, named, and_(wanted, of_account), registered))
    taken = update(phone).where(phone.c.id == row.id)
    await tx.execute(taken.values(busy_call_id=call_id, busy_until=until_ms, used_at=now_ms))
    return TakenPhone(row.login, Contact(row.contact_user or row.login, row.contact_host, row.contact_port))


async def free(tx: Tx, call_id: int, login: str) -> None:
    """The call needs that phone no more."""
    taken = update(phone).where(phone.c.busy_call_id == call_id, phone.c.login == login)
    await tx.execute(taken.values(busy_call_id=None, busy_until=0))


async def callable_in(
    tx: Tx, account_id: int, group_id: int, now_ms: int, *, registered_only: bool = True
) -> int | None:
    """How many phones of the account's group can be called; ``None`` when the account has no such group.

    ``registered_only`` as for :func:`take`.
    """
    known = exists().where(phone_group.c.id == group_id, phone_group.c.application_id == application.c.id)
    if not await tx.scalar(select(exists().where(application.c.account_id == account_id, known))):
        return None
    counted = select(func.count()).where(phone.c.group_id == group_id)
    if registered_only:
        counted = counted.where(phone.c.registered_until > now_ms)
    return int(await tx.scalar(counted) or 0)


def _free(now_ms: int) -> ColumnElement[bool]:
    talks = exists().where(call.c.id == phone.c.busy_call_id, call.c.state.in_(ON_THE_LINE))
    return or_(phone.c.busy_until <= now_ms, not_(talks))


async def _why_none(tx: Tx, named: str, wanted: Any, registered: Any) -> str:
    if not await tx.scalar(select(func.count()).where(wanted)):
        return f"there is no {named}"
    if not await tx.scalar(select(func.count()).where(wanted, registered)):
        return f"{named} is not registered" if named.startswith("phone") else f"no phone of {named} is registered"
    return f"{named} is busy" if named.startswith("phone") else f"no phone of {named} is free"
