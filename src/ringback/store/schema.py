"""The tables. Instants are epoch milliseconds UTC (``…_at``); states and outcomes are the words of the model.

What a state forbids is forbidden here too: CHECKs inside a row, triggers between two states of a row (generated from
the state machines), unique indexes between rows. ``UNIQUE (task_id, callee)`` is the first half of "at most once".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from ringback.model.job import JOB
from ringback.model.outcome import Outcome
from ringback.model.states import CALL, FLOW, NODE, TASK, StateMachine
from ringback.model.task import TaskKind
from ringback.store import (
    schema_base,
    schema_breaker,
    schema_engine,
    schema_files,
    schema_furniture,
    schema_identity,
    schema_jobs,
    schema_money,
    schema_phones,
    schema_provenance,
    schema_reports,
    schema_routing,
)

if TYPE_CHECKING:
    from enum import StrEnum


metadata = schema_base.metadata
account = schema_furniture.account
trunk = schema_furniture.trunk
application = schema_furniture.application
template = schema_furniture.template
template_audio = schema_furniture.template_audio
_ID = schema_base.ID
_key = schema_base.key


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def _state_column(machine: StateMachine[Any, Any]) -> Column[Any]:
    return Column("state", String(20), nullable=False, server_default=str(machine.initial))


task = Table(
    "task",
    metadata,
    _key(),
    Column("account_id", _ID, ForeignKey("account.id"), nullable=False),
    Column("application_id", _ID, ForeignKey("application.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("template_id", _ID, ForeignKey("template.id"), nullable=False),
    _state_column(TASK),
    Column("reason", Text, nullable=False, server_default=""),
    Column("caller_id", String(20), nullable=False, server_default=""),
    # Limits (ring and call seconds, lines, windows …) as one JSON value: read together, never searched.
    Column("limits", Text, nullable=False),
    Column("send_at", BigInteger, nullable=False),
    Column("total", Integer, nullable=False),
    Column("queued", Integer, nullable=False),
    Column("active", Integer, nullable=False, server_default="0"),
    Column("answered", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Column("cancelled", Integer, nullable=False, server_default="0"),
    Column("talk_ms", BigInteger, nullable=False, server_default="0"),
    # Fairness: the latest slot that this task was given, epoch microseconds.
    Column("served_us", BigInteger, nullable=False, server_default="0"),
    # The latest instant at which a leased call of this task may still leave: a stop waits for it.
    Column("leaves_until", BigInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column(
        "kind",
        String(8),
        CheckConstraint(_one_of("kind", TaskKind), name="kind"),
        nullable=False,
        server_default="agent",
    ),
    # What the caller wants to be told again with every result.
    Column("called_info", Text, nullable=False, server_default=""),
    # More numbers may come: it does not finish while it has none left.
    Column(
        "takes_more",
        Boolean,
        CheckConstraint("state <> 'finished' OR NOT takes_more", name="finished_takes_no_more"),
        nullable=False,
        server_default=false(),
    ),
    # Of a number that is recalled, only the last result is reported.
    Column("report_last", Boolean, nullable=False, server_default=false()),
    Column("charged_seconds", BigInteger, nullable=False, server_default="0"),
    Column("cost_micros", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("account_id", "name"),
    CheckConstraint(
        "queued >= 0 AND active >= 0 AND queued + active + answered + failed + skipped + cancelled = total",
        name="counters",
    ),
    CheckConstraint("state <> 'finished' OR (queued = 0 AND active = 0)", name="finished_is_done"),
    CheckConstraint("(state = 'finished') = (finished_at IS NOT NULL)", name="finished_at"),
    CheckConstraint(_one_of("state", type(TASK.initial)), name="state"),
    sqlite_autoincrement=True,
)
_WAITING = text("state = 'waiting'")
_CALLING = text("state = 'calling'")
_ACTIVE = text("active > 0")
Index("ix_task_waiting", task.c.send_at, sqlite_where=_WAITING, postgresql_where=_WAITING)
Index("ix_task_calling", task.c.served_us, sqlite_where=_CALLING, postgresql_where=_CALLING)
Index("ix_task_active", task.c.account_id, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)
Index("ix_task_listed", task.c.account_id, task.c.created_at)

lane = Table(
    "lane",
    metadata,
    Column("task_id", _ID, ForeignKey("task.id"), primary_key=True),
    # The time zones that these numbers share; '' when unknown.
    Column("zone", String(1024), primary_key=True),
    # The prefix of the routes that carry them; '' also when there is none.
    Column("route_prefix", String(18), primary_key=True),
    Column("queued", Integer, nullable=False),
    # Every number of the lane up to this call id has left the queue.
    Column("cursor", _ID, nullable=False, server_default="0"),
    CheckConstraint("queued >= 0", name="queued"),
)

call = Table(
    "call",
    metadata,
    _key(),
    Column("task_id", _ID, nullable=False),
    Column("callee", String(18), nullable=False),
    Column("zone", String(1024), nullable=False),
    Column("texts", Text),
    _state_column(CALL),
    Column("worker_id", _ID),
    Column("trunk_id", _ID),
    # Which of its worker's leases it left the queue with: what comes of an earlier one is no longer its result.
    Column("lease_no", BigInteger),
    Column("started_at", BigInteger),
    Column("answered_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("outcome", String(16)),
    Column("sip_code", SmallInteger),
    Column("q850_cause", SmallInteger),
    Column("ring_ms", Integer),
    Column("talk_ms", Integer),
    Column("hung_up_by", String(10)),
    Column("keys", String(64)),
    Column("intent", String(32)),
    Column("reason", Text),
    # Path of the recording inside the folder of recordings.
    Column("recording", String(64)),
    # Up to date while the call may still be dialled.
    Column("route_prefix", String(18), nullable=False, server_default=""),
    # The prices it was made under: of its trunk, and of its template. NULL: nothing was charged.
    Column("tariff_id", _ID),
    Column("agent_tariff_id", _ID),
    # In PostgreSQL it would look the task up for each of 200,000 numbers, and no task is ever deleted.
    ForeignKeyConstraint(["task_id"], ["task.id"]).ddl_if(dialect="sqlite"),
    UniqueConstraint("task_id", "callee"),
    CheckConstraint(_one_of("state", type(CALL.initial)), name="state"),
    CheckConstraint("outcome IS NULL OR " + _one_of("outcome", Outcome), name="outcome"),
    CheckConstraint("(state = 'ended') = (outcome IS NOT NULL)", name="ended_has_outcome"),
    CheckConstraint(
        "(state IN ('dialling', 'in_progress', 'ended')) = (worker_id IS NOT NULL AND trunk_id IS NOT NULL)",
        name="held_by_worker",
    ),
    CheckConstraint("state <> 'in_progress' OR answered_at IS NOT NULL", name="answered_at"),
    CheckConstraint("state <> 'skipped' OR reason IS NOT NULL", name="skipped_has_reason"),
    sqlite_autoincrement=True,
)
_QUEUED = text("state = 'queued'")
_HELD = text("state IN ('dialling', 'in_progress')")
Index(
    "ix_call_queue",
    call.c.task_id,
    call.c.zone,
    call.c.route_prefix,
    call.c.id,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
Index("ix_call_held", call.c.worker_id, sqlite_where=_HELD, postgresql_where=_HELD)
# Records are asked for by period.
_ENDED = text("ended_at IS NOT NULL")
Index("ix_call_ended", call.c.ended_at, sqlite_where=_ENDED, postgresql_where=_ENDED)

flow = Table(
    "flow",
    metadata,
    _key(),
    Column("account_id", _ID, ForeignKey("account.id"), nullable=False),
    Column("parent_task_id", _ID, ForeignKey("task.id"), nullable=False, unique=True),
    _state_column(FLOW),
    Column("reason", Text, nullable=False, server_default=""),
    Column("recall_type", SmallInteger, nullable=False),
    Column("recall_intents", JSON, nullable=False),
    Column("interval_minutes", Integer, nullable=False),
    Column("rounds", SmallInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    CheckConstraint("recall_type IN (0, 1)", name="recall_type"),
    CheckConstraint("interval_minutes BETWEEN 1 AND 1440", name="interval_minutes"),
    CheckConstraint("rounds BETWEEN 1 AND 10", name="rounds"),
    CheckConstraint(_one_of("state", type(FLOW.initial)), name="state"),
    sqlite_autoincrement=True,
)
Index("ix_flow_listed", flow.c.account_id, flow.c.created_at)

node = Table(
    "node",
    metadata,
    _key(),
    Column("flow_id", _ID, ForeignKey("flow.id"), nullable=False),
    # From 1, in running order.
    Column("position", SmallInteger, nullable=False),
    _state_column(NODE),
    Column("reason", Text, nullable=False, server_default=""),
    Column("template_id", _ID, ForeignKey("template.id"), nullable=False),
    # The round in full (JSON). NULL: as the flow says of all rounds.
    Column("rule", Text),
    # NULL until the previous task has finished; then when the node may start at the earliest.
    Column("due_at", BigInteger),
    Column("task_id", _ID, ForeignKey("task.id"), unique=True),
    # Filled when it starts: how many calls of the previous task qualified, and why the others did not (JSON counts).
    Column("qualified", Integer),
    Column("left_out", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    UniqueConstraint("flow_id", "position"),
    CheckConstraint("position BETWEEN 1 AND 10", name="position"),
    CheckConstraint("state <> 'pending' OR task_id IS NULL", name="pending_has_no_task"),
    CheckConstraint("state <> 'in_progress' OR task_id IS NOT NULL", name="in_progress_has_task"),
    CheckConstraint(_one_of("state", type(NODE.initial)), name="state"),
    sqlite_autoincrement=True,
)
_PENDING = text("state = 'pending' AND due_at IS NOT NULL")
Index("ix_node_due", node.c.due_at, sqlite_where=_PENDING, postgresql_where=_PENDING)
# A flow runs one round at a time.
_RUNNING = text("state = 'in_progress'")
Index("uq_node_running", node.c.flow_id, unique=True, sqlite_where=_RUNNING, postgresql_where=_RUNNING)

#: The tables of other modules, so that whoever has this one has them all.
ELSEWHERE: tuple[Table, ...] = (
    schema_breaker.breaker,
    schema_routing.caller_id,
    schema_routing.route,
    schema_routing.denied,
    schema_engine.worker,
    schema_engine.engine_node,
    schema_engine.draining_node,
    schema_provenance.provenance,
    schema_reports.report_endpoint,
    schema_reports.report,
    schema_jobs.job,
    schema_jobs.job_round,
    schema_jobs.redial,
    schema_money.tariff,
    schema_files.voice_file,
    schema_phones.phone_group,
    schema_phones.phone,
    schema_identity.api_key,
    schema_identity.replay,
    schema_identity.audit,
)

#: Tables whose state column is guarded by a trigger, with the machine that says what is allowed.
GUARDED: tuple[tuple[Table, StateMachine[Any, Any]], ...] = (
    (task, TASK),
    (call, CALL),
    (flow, FLOW),
    (node, NODE),
    (schema_jobs.job, JOB),
)


def sqlite_state_guard(table: Table, machine: StateMachine[Any, Any]) -> str:
    """The trigger that refuses a state change which the machine does not hold, for SQLite."""
    moves = ",\n  ".join(f"'{before} {after}'" for before, after in sorted(machine.moves()))
    return (
        f"CREATE TRIGGER guard_{table.name}_state BEFORE UPDATE OF state ON {table.name}\n"
        f"WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (\n  {moves}\n)\n"
        f"BEGIN SELECT RAISE(ABORT, 'illegal {machine.name} state change'); END"
    )
