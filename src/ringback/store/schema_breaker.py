"""The table of the circuit breakers. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Integer, String, Table

from ringback.store.schema_base import ID, metadata

breaker = Table(
    "breaker",
    metadata,
    Column("trunk_id", ID, ForeignKey("trunk.id", ondelete="CASCADE"), primary_key=True),
    # The run of failures that no sign of life has ended yet: their weight, their number, what they have in common.
    Column("strikes", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("cause", String(32), nullable=False, server_default=""),
    # NULL: closed.
    Column("opened_at", BigInteger),
    Column("retry_at", BigInteger),
    # The call that tries an open trunk.
    Column("probe_id", ID),
    # How often it opened in a row, and in its life.
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("openings", Integer, nullable=False, server_default="0"),
    Column("closed_at", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("strikes >= failures AND failures >= 0", name="strikes"),
    CheckConstraint("(failures = 0) = (cause = '')", name="cause"),
    CheckConstraint("(opened_at IS NULL) = (retry_at IS NULL)", name="retry_at"),
    CheckConstraint("(opened_at IS NULL) = (tries = 0) AND tries >= 0", name="tries"),
    CheckConstraint("opened_at IS NULL OR (failures > 0 AND openings > 0)", name="opened_for_a_reason"),
    CheckConstraint("probe_id IS NULL OR opened_at IS NOT NULL", name="probe_id"),
)
