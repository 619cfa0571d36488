"""Workers that share a database: their heartbeats, fences and leases; limits and fair turns of accounts."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: Rows that are written again and again: room on their pages lets PostgreSQL change them in place.
HOT = ("task", "lane", "trunk", "breaker", "worker", "account", "engine_node")


def upgrade() -> None:
    op.add_column("worker", sa.Column("name", sa.String(length=64), server_default="", nullable=False))
    op.add_column("worker", sa.Column("beats", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("worker", sa.Column("seen_at", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("worker", sa.Column("idle", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("worker", sa.Column("lease_no", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("worker", sa.Column("fenced_at", sa.BigInteger(), nullable=True))
    op.add_column("worker", sa.Column("fenced_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.create_index(
        "ix_worker_open",
        "worker",
        ["engine"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.add_column("call", sa.Column("lease_no", sa.BigInteger(), nullable=True))
    at_least_one = sa.CheckConstraint("lines > 0", name=op.f("ck_account_lines"))
    op.add_column("account", sa.Column("lines", sa.Integer(), at_least_one, nullable=True))
    op.add_column("account", sa.Column("served_us", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index(
        "ix_task_active",
        "task",
        ["account_id"],
        unique=False,
        sqlite_where=sa.text("active > 0"),
        postgresql_where=sa.text("active > 0"),
    )
    # Each worker reports its own nodes. What the last one before this version saw is reported again in two seconds.
    op.drop_table("engine_node")
    op.create_table(
        "engine_node",
        sa.Column("worker_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=261), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("live_calls", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("placed", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "live_calls >= 0 AND lines > 0 AND weight > 0 AND placed >= 0", name=op.f("ck_engine_node_counts")
        ),
        sa.PrimaryKeyConstraint("worker_id", "name", name=op.f("pk_engine_node")),
    )
    op.create_table(
        "draining_node",
        sa.Column("name", sa.String(length=261), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_draining_node")),
    )
    if op.get_bind().dialect.name == "postgresql":
        # It would look the task up for each of 200,000 numbers, and no task is ever deleted.
        op.drop_constraint("fk_call_task_id", "call")
        for table in HOT:
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
