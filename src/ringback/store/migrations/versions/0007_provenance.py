"""Which database this is, so that a restored one is known as such."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    provenance = op.create_table(
        "provenance",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("database_id", sa.String(length=32), nullable=False),
        sa.Column("leases", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=True),
        sa.Column("copied_at", sa.BigInteger(), nullable=True),
        sa.Column("held_since", sa.BigInteger(), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_provenance_one_row")),
        sa.CheckConstraint("leases >= 0", name=op.f("ck_provenance_leases")),
        sa.CheckConstraint("(held_since IS NULL) = (held_reason IS NULL)", name=op.f("ck_provenance_held")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provenance")),
    )
    op.bulk_insert(provenance, [{"id": 1, "database_id": uuid4().hex}])
