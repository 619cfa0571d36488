"""Where phones can be called at the moment: written by the registrar, read by whoever connects a call with a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import select, update

from ringback.store.schema_phones import phone

if TYPE_CHECKING:
    from ringback.store.database import Tx


class Contact(msgspec.Struct, frozen=True):
    """Where a phone is called: the address that its REGISTER came from (an IP literal), as the user that it named."""

    user: str
    host: str
    port: int


class Registration(msgspec.Struct, frozen=True):
    """A contact and until when it holds, epoch ms."""

    contact: Contact
    until: int


async def ha1_of(tx: Tx, login: str) -> str | None:
    """The digest of the phone's password; ``None`` when there is no such phone."""
    found: str | None = await tx.scalar(select(phone.c.ha1).where(phone.c.login == login))
    return found


async def current(tx: Tx, login: str, now_ms: int) -> Registration | None:
    """The phone's registration, while it has one."""
    row = (
        await tx.execute(_REGISTRATION.where(phone.c.login == login, phone.c.registered_until > now_ms))
    ).one_or_none()
    if row is None:
        return None
    return Registration(Contact(row.contact_user, row.contact_host, row.contact_port), row.registered_until)


async def register(tx: Tx, login: str, contact: Contact, until: int) -> None:
    """Call the phone there from now until ``until``, epoch ms. A phone has one contact: the latest."""
    await tx.execute(
        update(phone)
        .where(phone.c.login == login)
        .values(
            contact_user=contact.user,
            contact_host=contact.host,
            contact_port=contact.port,
            registered_until=until,
        )
    )


async def unregister(tx: Tx, login: str) -> None:
    """The phone cannot be called any more."""
    await tx.execute(update(phone).where(phone.c.login == login).values(registered_until=0))


_REGISTRATION = select(phone.c.contact_user, phone.c.contact_host, phone.c.contact_port, phone.c.registered_until)
