"""The tables of routing: caller ids, routes, denied prefixes. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from ringback.store.schema_base import ID, key, metadata

# The numbers that a trunk may show, in turn.
caller_id = Table(
    "caller_id",
    metadata,
    Column("trunk_id", ID, ForeignKey("trunk.id"), primary_key=True),
    Column("number", String(20), primary_key=True),
    # Grows with each use: the smallest is the least recently used.
    Column("turn", BigInteger, nullable=False, server_default="0"),
)
Index("ix_caller_id_turn", caller_id.c.trunk_id, caller_id.c.turn)

route = Table(
    "route",
    metadata,
    key(),
    # NULL: shared by the accounts that have no route of their own for a number.
    Column("account_id", ID, ForeignKey("account.id")),
    Column("prefix", String(18), nullable=False),
    Column("trunk_id", ID, ForeignKey("trunk.id"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    UniqueConstraint("account_id", "prefix", "trunk_id"),
    CheckConstraint("priority BETWEEN 0 AND 1000", name="priority"),
    CheckConstraint("weight BETWEEN 1 AND 1000", name="weight"),
    sqlite_autoincrement=True,
)
# Two rows without an account differ for a plain unique constraint.
_SHARED = text("account_id IS NULL")
Index(
    "uq_route_shared",
    route.c.prefix,
    route.c.trunk_id,
    unique=True,
    sqlite_where=_SHARED,
    postgresql_where=_SHARED,
)

denied = Table(
    "denied",
    metadata,
    key(),
    # NULL: denied to everybody.
    Column("account_id", ID, ForeignKey("account.id")),
    Column("prefix", String(18), nullable=False),
    Column("note", String(128), nullable=False, server_default=""),
    UniqueConstraint("account_id", "prefix"),
    CheckConstraint("prefix <> ''", name="prefix"),
    sqlite_autoincrement=True,
)
Index("uq_denied_shared", denied.c.prefix, unique=True, sqlite_where=_SHARED, postgresql_where=_SHARED)
