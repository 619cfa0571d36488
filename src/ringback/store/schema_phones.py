"""The tables of SIP phones that register with us. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, UniqueConstraint

from ringback.store.schema_base import ID, key, metadata

phone_group = Table(
    "phone_group",
    metadata,
    key(),
    Column("application_id", ID, ForeignKey("application.id"), nullable=False),
    Column("name", String(32), nullable=False),
    # What callees of its phones are shown; '' for the application's.
    Column("caller_id", String(20), nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("application_id", "name"),
    sqlite_autoincrement=True,
)

phone = Table(
    "phone",
    metadata,
    key(),
    Column("group_id", ID, ForeignKey("phone_group.id"), nullable=False),
    # Of its group, repeated here: names are unique in an application.
    Column("application_id", ID, ForeignKey("application.id"), nullable=False),
    Column("name", String(40), nullable=False),
    # What it registers as; unique everywhere, for a registrar has one realm.
    Column("login", String(32), nullable=False, unique=True),
    # MD5 of login, realm and password: all that digest authentication needs.
    Column("ha1", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Where it is called: the address that its REGISTER came from, and the user that it asked to be called as.
    Column("contact_user", String(64), nullable=False, server_default=""),
    Column("contact_host", String(45), nullable=False, server_default=""),
    Column("contact_port", Integer, nullable=False, server_default="0"),
    # 0: it is not registered.
    Column("registered_until", BigInteger, nullable=False, server_default="0"),
    # The call that it is taken for. That ends at the latest then, whatever becomes of the worker that took it.
    Column("busy_call_id", ID),
    Column("busy_until", BigInteger, nullable=False, server_default="0"),
    # Fairness: the phone that has been idle for longest is taken first.
    Column("used_at", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("application_id", "name"),
    CheckConstraint("registered_until = 0 OR contact_port BETWEEN 1 AND 65535", name="contact"),
    CheckConstraint("(busy_call_id IS NULL) = (busy_until = 0)", name="busy"),
    sqlite_autoincrement=True,
)
Index("ix_phone_group_id", phone.c.group_id)
