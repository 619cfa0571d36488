"""The tables of reports: where they go, and the outbox. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
)

from ringback.store.schema_base import ID, key, metadata

report_endpoint = Table(
    "report_endpoint",
    metadata,
    key(),
    Column("account_id", ID, ForeignKey("account.id"), nullable=False),
    # NULL: reports of every application of the account.
    Column("application_id", ID, ForeignKey("application.id")),
    Column("url", Text, nullable=False),
    # Which body it gets: one of the vendor's three pushes, our own events, or a text message to send.
    Column("form", String(8), nullable=False),
    Column("secret", String(128), nullable=False, server_default=""),
    # The events that it wants, each between commas; '' for every one that its form has.
    Column("events", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    # It gets nothing any more; the reason says whether a person or the receiver itself wanted that.
    Column("disabled_at", BigInteger),
    Column("disabled_reason", Text, nullable=False, server_default=""),
    # The courier that serves it alone, and until when unless it says so again.
    Column("courier", String(32)),
    Column("leased_until", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("form IN ('agent', 'single', 'batch', 'events', 'sms')", name="form"),
    sqlite_autoincrement=True,
)

report = Table(
    "report",
    metadata,
    key(),
    Column("endpoint_id", ID, ForeignKey("report_endpoint.id"), nullable=False),
    Column("event", String(32), nullable=False),
    # The call, task, node or flow that it tells of.
    Column("subject_id", ID, nullable=False),
    # The parent task of the flow that it belongs to: order is kept among those of one.
    Column("flow_key", ID, nullable=False),
    # It waits for all before it in its flow, and all after it wait for it.
    Column("barrier", Boolean, nullable=False, server_default=false()),
    # What cannot be read later as it is now; NULL: everything is in the subject's row.
    Column("body", Text),
    Column("state", String(10), nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("last_status", Integer),
    Column("last_error", Text, nullable=False, server_default=""),
    CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="state"),
    CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="ended_at"),
    sqlite_autoincrement=True,
)
_PENDING = text("state = 'pending'")
_BARRIER = text("state = 'pending' AND barrier")
_DEAD = text("state = 'dead'")
Index(
    "ix_report_due",
    report.c.endpoint_id,
    report.c.due_at,
    report.c.id,
    sqlite_where=_PENDING,
    postgresql_where=_PENDING,
)
Index(
    "ix_report_order",
    report.c.endpoint_id,
    report.c.flow_key,
    report.c.id,
    sqlite_where=_PENDING,
    postgresql_where=_PENDING,
)
Index(
    "ix_report_barrier",
    report.c.endpoint_id,
    report.c.flow_key,
    report.c.id,
    sqlite_where=_BARRIER,
    postgresql_where=_BARRIER,
)
Index("ix_report_dead", report.c.endpoint_id, report.c.id, sqlite_where=_DEAD, postgresql_where=_DEAD)
