"""Reports, tariffs and balances, uploaded audio, voice tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column, inline_references=True)


def upgrade() -> None:
    _money()
    _reports()
    _voice()


def _money() -> None:
    op.create_table(
        "tariff",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("rate_micros", sa.BigInteger(), nullable=False),
        sa.Column("first_seconds", sa.Integer(), nullable=False),
        sa.Column("next_seconds", sa.Integer(), nullable=False),
        sa.CheckConstraint("rate_micros BETWEEN 0 AND 1000000000000", name=op.f("ck_tariff_rate")),
        sa.CheckConstraint(
            "first_seconds BETWEEN 1 AND 3600 AND next_seconds BETWEEN 1 AND 3600", name=op.f("ck_tariff_steps")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tariff")),
        sqlite_autoincrement=True,
    )
    _add("account", sa.Column("balance_micros", sa.BigInteger(), nullable=True))
    _add("account", sa.Column("currency", sa.String(length=3), server_default="USD", nullable=False))
    for table in ("trunk", "template"):
        of = sa.ForeignKey("tariff.id", name=op.f(f"fk_{table}_tariff_id"))
        _add(table, sa.Column("tariff_id", _id(), of, nullable=True))
    _add("call", sa.Column("tariff_id", _id(), nullable=True))
    _add("call", sa.Column("agent_tariff_id", _id(), nullable=True))
    _add("task", sa.Column("charged_seconds", sa.BigInteger(), server_default="0", nullable=False))
    _add("task", sa.Column("cost_micros", sa.BigInteger(), server_default="0", nullable=False))


def _reports() -> None:
    op.create_table(
        "report_endpoint",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("application_id", _id(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("form", sa.String(length=8), nullable=False),
        sa.Column("secret", sa.String(length=128), server_default="", nullable=False),
        sa.Column("events", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("courier", sa.String(length=32), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "form IN ('agent', 'single', 'batch', 'events', 'sms')", name=op.f("ck_report_endpoint_form")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_report_endpoint_account_id")),
        sa.ForeignKeyConstraint(["application_id"], ["application.id"], name=op.f("fk_report_endpoint_application_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report_endpoint")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "report",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("endpoint_id", _id(), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("subject_id", _id(), nullable=False),
        sa.Column("flow_key", _id(), nullable=False),
        sa.Column("barrier", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=10), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name=op.f("ck_report_state")),
        sa.CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name=op.f("ck_report_ended_at")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["report_endpoint.id"], name=op.f("fk_report_endpoint_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sqlite_autoincrement=True,
    )
    for name, columns, where in (
        ("ix_report_due", ["endpoint_id", "due_at", "id"], "state = 'pending'"),
        ("ix_report_order", ["endpoint_id", "flow_key", "id"], "state = 'pending'"),
        ("ix_report_barrier", ["endpoint_id", "flow_key", "id"], "state = 'pending' AND barrier"),
        ("ix_report_dead", ["endpoint_id", "id"], "state = 'dead'"),
    ):
        op.create_index(
            name, "report", columns, unique=False, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
        )
    _add("task", sa.Column("report_last", sa.Boolean(), server_default=sa.false(), nullable=False))


def _voice() -> None:
    op.create_table(
        "voice_file",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("file_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("pcm", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_voice_file_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_voice_file")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_voice_file_account_id_name")),
        sa.UniqueConstraint("file_id", name=op.f("uq_voice_file_file_id")),
        sqlite_autoincrement=True,
    )
    kinds = "kind IN ('agent', 'voice', 'code', 'group', 'phone', 'job')"
    kind = sa.CheckConstraint(kinds, name=op.f("ck_task_kind"))
    _add("task", sa.Column("kind", sa.String(length=8), kind, server_default="agent", nullable=False))
    _add("task", sa.Column("called_info", sa.Text(), server_default="", nullable=False))
    open_end = sa.CheckConstraint("state <> 'finished' OR NOT takes_more", name=op.f("ck_task_finished_takes_no_more"))
    _add("task", sa.Column("takes_more", sa.Boolean(), open_end, server_default=sa.false(), nullable=False))
    _add("template", sa.Column("voice_node", sa.Text(), nullable=True))
    _add("template", sa.Column("digest", sa.String(length=64), nullable=True))
    op.create_index(
        "uq_template_digest",
        "template",
        ["account_id", "digest"],
        unique=True,
        sqlite_where=sa.text("digest IS NOT NULL"),
        postgresql_where=sa.text("digest IS NOT NULL"),
    )
    op.create_index(
        "ix_call_ended",
        "call",
        ["ended_at"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NOT NULL"),
        postgresql_where=sa.text("ended_at IS NOT NULL"),
    )
