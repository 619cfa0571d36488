"""Rounds in full: each with its own wait, audience, windows and caller id."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("node", sa.Column("rule", sa.Text(), nullable=True))
