"""The table of the telephony engine's nodes. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, String, Table, Text, false

from ringback.store.schema_base import metadata

# What the dialler reports every two seconds; ``draining`` alone is the operator's.
engine_node = Table(
    "engine_node",
    metadata,
    # HOST:PORT of the node.
    Column("name", String(261), primary_key=True),
    Column("engine", String(16), nullable=False),
    Column("draining", Boolean, nullable=False, server_default=false()),
    # Why it takes no calls; empty when it does.
    Column("trouble", Text, nullable=False),
    Column("live_calls", Integer, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("placed", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    CheckConstraint("live_calls >= 0 AND lines > 0 AND weight > 0 AND placed >= 0", name="counts"),
)
