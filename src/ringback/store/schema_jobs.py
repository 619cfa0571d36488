"""The tables of jobs: their rounds, and numbers that are to be called again. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ringback.model.job import JOB, JobState
from ringback.store.schema_base import ID, key, metadata

job = Table(
    "job",
    metadata,
    key(),
    Column("account_id", ID, ForeignKey("account.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("state", String(12), nullable=False, server_default=str(JOB.initial)),
    # As it was asked for (JSON): read together, never searched.
    Column("spec", Text, nullable=False),
    # The end of its period, which is in the spec too.
    Column("ends_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    CheckConstraint("state IN ({})".format(", ".join(repr(str(state)) for state in JobState)), name="state"),
    sqlite_autoincrement=True,
)
_THERE = text("deleted_at IS NULL")
Index("uq_job_name", job.c.account_id, job.c.name, unique=True, sqlite_where=_THERE, postgresql_where=_THERE)
_RUNNING = text("state = 'running' AND deleted_at IS NULL")
Index("ix_job_running", job.c.id, sqlite_where=_RUNNING, postgresql_where=_RUNNING)

# The tasks of a job: round 0 has its numbers, round n those that are called for the n-th time again.
job_round = Table(
    "job_round",
    metadata,
    Column("task_id", ID, ForeignKey("task.id"), primary_key=True),
    Column("job_id", ID, ForeignKey("job.id"), nullable=False),
    Column("round", SmallInteger, nullable=False),
    UniqueConstraint("job_id", "round"),
)

# Calls whose numbers go into the next round when their time has come.
redial = Table(
    "redial",
    metadata,
    Column("call_id", ID, primary_key=True),
    Column("job_id", ID, ForeignKey("job.id"), nullable=False),
    # The round that it goes into.
    Column("round", SmallInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
)
Index("ix_redial_due", redial.c.due_at, redial.c.call_id)
Index("ix_redial_job", redial.c.job_id)
