"""Jobs of the older family, with redial by number."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

MOVES = ",\n  ".join(("'not_started running'", "'paused running'", "'running completed'", "'running paused'"))
#: Refuses state changes that the state machine of jobs does not hold, as it was at this version.
GUARD = {
    "sqlite": f"""CREATE TRIGGER guard_job_state BEFORE UPDATE OF state ON job
WHEN OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN (
  {MOVES}
)
BEGIN SELECT RAISE(ABORT, 'illegal job state change'); END""",
    "postgresql": f"""CREATE TRIGGER guard_job_state BEFORE UPDATE OF state ON job FOR EACH ROW
WHEN (OLD.state <> NEW.state AND OLD.state || ' ' || NEW.state NOT IN ({MOVES}))
EXECUTE FUNCTION refuse_state_change('job')""",
}


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "job",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account_id", _id(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), server_default="not_started", nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('not_started', 'running', 'paused', 'completed')", name=op.f("ck_job_state")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_job_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sqlite_autoincrement=True,
    )
    there = sa.text("deleted_at IS NULL")
    op.create_index(
        "uq_job_name", "job", ["account_id", "name"], unique=True, sqlite_where=there, postgresql_where=there
    )
    running = sa.text("state = 'running' AND deleted_at IS NULL")
    op.create_index("ix_job_running", "job", ["id"], unique=False, sqlite_where=running, postgresql_where=running)
    op.create_table(
        "job_round",
        sa.Column("task_id", _id(), nullable=False),
        sa.Column("job_id", _id(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_job_round_task_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_round_job_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_job_round")),
        sa.UniqueConstraint("job_id", "round", name=op.f("uq_job_round_job_id_round")),
    )
    op.create_table(
        "redial",
        sa.Column("call_id", _id(), nullable=False),
        sa.Column("job_id", _id(), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_redial_job_id")),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_redial")),
    )
    op.create_index("ix_redial_due", "redial", ["due_at", "call_id"])
    op.create_index("ix_redial_job", "redial", ["job_id"])
    op.execute(GUARD[op.get_bind().dialect.name])
