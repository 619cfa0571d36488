"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: Refuse state changes that the state machines do not hold (see the model). Frozen here as they were at this version.
GUARDS = (
    """CREATE TRIGGER guard_task_state BEFORE UPDATE OF state ON task
WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (
  'calling cancelled',
  'calling finished',
  'calling suspended',
  'submitting calling',
  'submitting cancelled',
  'submitting submission_failed',
  'suspended calling',
  'suspended cancelled',
  'waiting cancelled',
  'waiting submitting'
)
BEGIN SELECT RAISE(ABORT, 'illegal task state change'); END""",
    """CREATE TRIGGER guard_call_state BEFORE UPDATE OF state ON call
WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (
  'dialling ended',
  'dialling in_progress',
  'dialling queued',
  'in_progress ended',
  'queued cancelled',
  'queued dialling',
  'queued skipped'
)
BEGIN SELECT RAISE(ABORT, 'illegal call state change'); END""",
    """CREATE TRIGGER guard_flow_state BEFORE UPDATE OF state ON flow
WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (
  'in_progress cancelled',
  'in_progress completed',
  'in_progress exception',
  'pending cancelled',
  'pending completed',
  'pending exception',
  'pending in_progress'
)
BEGIN SELECT RAISE(ABORT, 'illegal flow state change'); END""",
    """CREATE TRIGGER guard_node_state BEFORE UPDATE OF state ON node
WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (
  'in_progress cancelled',
  'in_progress completed',
  'in_progress exception',
  'pending cancelled',
  'pending completed',
  'pending exception',
  'pending in_progress'
)
BEGIN SELECT RAISE(ABORT, 'illegal node state change'); END""",
)

#: What the guards do in PostgreSQL, where a trigger calls a function.
REFUSE = """CREATE FUNCTION refuse_state_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'illegal % state change', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$"""


def _for_postgresql(guard: str) -> str:
    """The same guard: the condition in brackets, a function instead of a statement."""
    head, _, rest = guard.partition("\nWHEN ")
    condition, _, refusal = rest.partition("\nBEGIN ")
    name = refusal.split("illegal ")[1].split(" ")[0]
    return f"{head} FOR EACH ROW\nWHEN ({condition})\nEXECUTE FUNCTION refuse_state_change('{name}')"


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("api_key", sa.String(length=64), nullable=False),
        sa.Column("api_secret", sa.String(length=128), nullable=False),
        sa.Column("time_zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column("envelope", sa.String(length=8), server_default="both", nullable=False),
        sa.Column("allowed_networks", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("envelope IN ('both', 'code', 'status')", name=op.f("ck_account_envelope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("api_key", name=op.f("uq_account_api_key")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "trunk",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), server_default="", nullable=False),
        sa.Column("port", sa.Integer(), server_default="5060", nullable=False),
        sa.Column("username", sa.String(length=64), server_default="", nullable=False),
        sa.Column("password", sa.String(length=128), server_default="", nullable=False),
        sa.Column("calls_per_second", sa.Float(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("busy", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_slot_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("busy BETWEEN 0 AND channels", name=op.f("ck_trunk_busy")),
        sa.CheckConstraint("calls_per_second BETWEEN 0.000001 AND 1000000", name=op.f("ck_trunk_rate")),
        sa.CheckConstraint("channels > 0", name=op.f("ck_trunk_channels")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trunk")),
        sa.UniqueConstraint("name", name=op.f("uq_trunk_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "application",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("app_id", sa.String(length=64), nullable=False),
        sa.Column("trunk_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("caller_id", sa.String(length=20), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_application_account_id")),
        sa.ForeignKeyConstraint(["trunk_id"], ["trunk.id"], name=op.f("fk_application_trunk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_application")),
        sa.UniqueConstraint("account_id", "app_id", name=op.f("uq_application_account_id_app_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "template",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_template_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "task",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("application_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("template_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="waiting", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("caller_id", sa.String(length=20), server_default="", nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.Column("send_at", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("active", sa.Integer(), server_default="0", nullable=False),
        sa.Column("answered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("skipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancelled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("talk_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("served_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("leaves_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'finished') = (finished_at IS NOT NULL)", name=op.f("ck_task_finished_at")),
        sa.CheckConstraint("state <> 'finished' OR (queued = 0 AND active = 0)", name=op.f("ck_task_finished_is_done")),
        sa.CheckConstraint(
            "state IN ('waiting', 'submitting', 'calling', 'suspended', 'finished', 'submission_failed', 'cancelled')",
            name=op.f("ck_task_state"),
        ),
        sa.CheckConstraint(
            "queued >= 0 AND active >= 0 AND queued + active + answered + failed + skipped + cancelled = total",
            name=op.f("ck_task_counters"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_task_account_id")),
        sa.ForeignKeyConstraint(["application_id"], ["application.id"], name=op.f("fk_task_application_id")),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name=op.f("fk_task_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_task_account_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_task_calling",
        "task",
        ["served_us"],
        unique=False,
        sqlite_where=sa.text("state = 'calling'"),
        postgresql_where=sa.text("state = 'calling'"),
    )
    op.create_index("ix_task_listed", "task", ["account_id", "created_at"], unique=False)
    op.create_index(
        "ix_task_waiting",
        "task",
        ["send_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "template_audio",
        sa.Column("template_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file", sa.String(length=255), nullable=False),
        sa.Column("pcm", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name=op.f("fk_template_audio_template_id")),
        sa.PrimaryKeyConstraint("template_id", "file", name=op.f("pk_template_audio")),
    )
    op.create_table(
        "call",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("callee", sa.String(length=18), nullable=False),
        sa.Column("zone", sa.String(length=1024), nullable=False),
        sa.Column("texts", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=20), server_default="queued", nullable=False),
        sa.Column("worker_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("trunk_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("sip_code", sa.SmallInteger(), nullable=True),
        sa.Column("q850_cause", sa.SmallInteger(), nullable=True),
        sa.Column("ring_ms", sa.Integer(), nullable=True),
        sa.Column("talk_ms", sa.Integer(), nullable=True),
        sa.Column("hung_up_by", sa.String(length=10), nullable=True),
        sa.Column("keys", sa.String(length=64), nullable=True),
        sa.Column("intent", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'ended') = (outcome IS NOT NULL)", name=op.f("ck_call_ended_has_outcome")),
        sa.CheckConstraint(
            "(state IN ('dialling', 'in_progress', 'ended')) = (worker_id IS NOT NULL AND trunk_id IS NOT NULL)",
            name=op.f("ck_call_held_by_worker"),
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('answered', 'voicemail', 'busy', 'no_answer', 'rejected', 'unreachable', "
            "'invalid_number', 'congestion', 'failed', 'unknown')",
            name=op.f("ck_call_outcome"),
        ),
        sa.CheckConstraint("state <> 'in_progress' OR answered_at IS NOT NULL", name=op.f("ck_call_answered_at")),
        sa.CheckConstraint("state <> 'skipped' OR reason IS NOT NULL", name=op.f("ck_call_skipped_has_reason")),
        sa.CheckConstraint(
            "state IN ('queued', 'dialling', 'in_progress', 'ended', 'skipped', 'cancelled')",
            name=op.f("ck_call_state"),
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_call_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call")),
        sa.UniqueConstraint("task_id", "callee", name=op.f("uq_call_task_id_callee")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_call_held",
        "call",
        ["worker_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('dialling', 'in_progress')"),
        postgresql_where=sa.text("state IN ('dialling', 'in_progress')"),
    )
    op.create_index(
        "ix_call_queue",
        "call",
        ["task_id", "zone", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "flow",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("parent_task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("recall_type", sa.SmallInteger(), nullable=False),
        sa.Column("recall_intents", sa.JSON(), nullable=False),
        sa.Column("interval_minutes", sa.Integer(), nullable=False),
        sa.Column("rounds", sa.SmallInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'in_progress', 'completed', 'cancelled', 'exception')", name=op.f("ck_flow_state")
        ),
        sa.CheckConstraint("interval_minutes BETWEEN 1 AND 1440", name=op.f("ck_flow_interval_minutes")),
        sa.CheckConstraint("recall_type IN (0, 1)", name=op.f("ck_flow_recall_type")),
        sa.CheckConstraint("rounds BETWEEN 1 AND 10", name=op.f("ck_flow_rounds")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_flow_account_id")),
        sa.ForeignKeyConstraint(["parent_task_id"], ["task.id"], name=op.f("fk_flow_parent_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flow")),
        sa.UniqueConstraint("parent_task_id", name=op.f("uq_flow_parent_task_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_flow_listed", "flow", ["account_id", "created_at"], unique=False)
    op.create_table(
        "lane",
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("zone", sa.String(length=1024), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("cursor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), server_default="0", nullable=False),
        sa.CheckConstraint("queued >= 0", name=op.f("ck_lane_queued")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_lane_task_id")),
        sa.PrimaryKeyConstraint("task_id", "zone", name=op.f("pk_lane")),
    )
    op.create_table(
        "node",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("flow_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("template_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("qualified", sa.Integer(), nullable=True),
        sa.Column("left_out", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state <> 'in_progress' OR task_id IS NOT NULL", name=op.f("ck_node_in_progress_has_task")),
        sa.CheckConstraint("state <> 'pending' OR task_id IS NULL", name=op.f("ck_node_pending_has_no_task")),
        sa.CheckConstraint(
            "state IN ('pending', 'in_progress', 'completed', 'cancelled', 'exception')", name=op.f("ck_node_state")
        ),
        sa.CheckConstraint("position BETWEEN 1 AND 10", name=op.f("ck_node_position")),
        sa.ForeignKeyConstraint(["flow_id"], ["flow.id"], name=op.f("fk_node_flow_id")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_node_task_id")),
        sa.ForeignKeyConstraint(["template_id"], ["template.id"], name=op.f("fk_node_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("flow_id", "position", name=op.f("uq_node_flow_id_position")),
        sa.UniqueConstraint("task_id", name=op.f("uq_node_task_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_node_due",
        "node",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND due_at IS NOT NULL"),
        postgresql_where=sa.text("state = 'pending' AND due_at IS NOT NULL"),
    )
    op.create_index(
        "uq_node_running",
        "node",
        ["flow_id"],
        unique=True,
        sqlite_where=sa.text("state = 'in_progress'"),
        postgresql_where=sa.text("state = 'in_progress'"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(REFUSE)
        for guard in GUARDS:
            op.execute(_for_postgresql(guard))
    else:
        for guard in GUARDS:
            op.execute(guard)
