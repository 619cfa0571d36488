"""The tables of workers and of the telephony engine's nodes. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, String, Table, Text, false, text

from ringback.store.schema_base import ID, key, metadata

# A dialler, from its start to its end. Its id is never used again.
worker = Table(
    "worker",
    metadata,
    key(),
    Column("engine", String(16), nullable=False),
    Column("pid", Integer, nullable=False),
    # What its engine is called where the calls are, so that another worker can ask for them.
    Column("name", String(64), nullable=False, server_default=""),
    Column("started_at", BigInteger, nullable=False),
    # Set when it ended in good order, or when the calls that it left have been settled.
    Column("ended_at", BigInteger),
    # Grows with every sign of life. Others watch whether it grows; no clock is compared.
    Column("beats", BigInteger, nullable=False, server_default="0"),
    # For people only.
    Column("seen_at", BigInteger, nullable=False, server_default="0"),
    # It holds no call, so nobody needs to know whether it lives.
    Column("idle", Boolean, nullable=False, server_default=false()),
    # The number of its latest lease that gave out calls.
    Column("lease_no", BigInteger, nullable=False, server_default="0"),
    # It was taken for dead: it can lease nothing and store nothing any more.
    Column("fenced_at", BigInteger),
    Column("fenced_by", ID),
    sqlite_autoincrement=True,
)
_OPEN = text("ended_at IS NULL")
Index("ix_worker_open", worker.c.engine, sqlite_where=_OPEN, postgresql_where=_OPEN)

# What each worker reports every two seconds.
engine_node = Table(
    "engine_node",
    metadata,
    Column("worker_id", ID, primary_key=True, autoincrement=False),
    # HOST:PORT of the node.
    Column("name", String(261), primary_key=True),
    Column("engine", String(16), nullable=False),
    # Why it takes no calls; empty when it does.
    Column("trouble", Text, nullable=False),
    Column("live_calls", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("placed", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    CheckConstraint("live_calls >= 0 AND lines > 0 AND weight > 0 AND placed >= 0", name="counts"),
)

# The nodes that the operator lets take no new calls.
draining_node = Table("draining_node", metadata, Column("name", String(261), primary_key=True))
