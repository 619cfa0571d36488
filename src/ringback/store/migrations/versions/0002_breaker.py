"""The circuit breaker of each trunk."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breaker",
        sa.Column("trunk_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("strikes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cause", sa.String(length=32), server_default="", nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("probe_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("openings", sa.Integer(), server_default="0", nullable=False),
        sa.Column("closed_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("strikes >= failures AND failures >= 0", name=op.f("ck_breaker_strikes")),
        sa.CheckConstraint("(failures = 0) = (cause = '')", name=op.f("ck_breaker_cause")),
        sa.CheckConstraint("(opened_at IS NULL) = (retry_at IS NULL)", name=op.f("ck_breaker_retry_at")),
        sa.CheckConstraint("(opened_at IS NULL) = (tries = 0) AND tries >= 0", name=op.f("ck_breaker_tries")),
        sa.CheckConstraint(
            "opened_at IS NULL OR (failures > 0 AND openings > 0)", name=op.f("ck_breaker_opened_for_a_reason")
        ),
        sa.CheckConstraint("probe_id IS NULL OR opened_at IS NOT NULL", name=op.f("ck_breaker_probe_id")),
        sa.ForeignKeyConstraint(["trunk_id"], ["trunk.id"], name=op.f("fk_breaker_trunk_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("trunk_id", name=op.f("pk_breaker")),
    )
    op.execute("INSERT INTO breaker (trunk_id) SELECT id FROM trunk")
