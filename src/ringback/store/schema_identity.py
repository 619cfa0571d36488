"""The tables of who may do what, and of what was done. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Table,
    Text,
)

from ringback.model.api_key import Role
from ringback.store.schema_base import ID, key, metadata

api_key = Table(
    "api_key",
    metadata,
    key(),
    Column("account_id", ID, ForeignKey("account.id"), nullable=False),
    # What stands in the token before its secret.
    Column("key_id", String(16), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("role", String(8), nullable=False),
    # A JSON list. NULL: all scopes of the role, also those that a later version adds.
    Column("scopes", JSON(none_as_null=True)),
    Column("hash", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    CheckConstraint("role IN ({})".format(", ".join(repr(str(role)) for role in Role)), name="role"),
    sqlite_autoincrement=True,
)
Index("ix_api_key_account", api_key.c.account_id, api_key.c.id)

# Answers to requests with an Idempotency-Key.
replay = Table(
    "replay",
    metadata,
    Column("account_id", ID, ForeignKey("account.id"), primary_key=True),
    Column("key", String(128), primary_key=True),
    # SHA-256 of the request.
    Column("digest", String(64), nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("ix_replay_created", replay.c.created_at)

# What was changed, by whom. Rows are never changed; the database refuses it.
audit = Table(
    "audit",
    metadata,
    key(),
    # NULL: what concerns no account, such as a shared trunk.
    Column("account_id", ID, ForeignKey("account.id")),
    Column("at", BigInteger, nullable=False),
    # cli, or key:ID.
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    # What it was done to, as in task:17.
    Column("subject", String(128), nullable=False),
    # JSON objects of what changed; no secret, no phone number.
    Column("before", Text),
    Column("after", Text),
    sqlite_autoincrement=True,
)
Index("ix_audit_account", audit.c.account_id, audit.c.id)
