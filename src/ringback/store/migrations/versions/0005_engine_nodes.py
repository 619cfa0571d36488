"""The nodes of the telephony engine, for operators to see and to drain."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engine_node",
        sa.Column("name", sa.String(length=261), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("live_calls", sa.Integer(), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("placed", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "live_calls >= 0 AND lines > 0 AND weight > 0 AND placed >= 0", name=op.f("ck_engine_node_counts")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_engine_node")),
    )
