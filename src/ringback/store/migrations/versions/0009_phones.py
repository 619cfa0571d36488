"""SIP phones that register with us, in groups."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "phone_group",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("application_id", _id(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("caller_id", sa.String(length=20), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["application_id"], ["application.id"], name=op.f("fk_phone_group_application_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phone_group")),
        sa.UniqueConstraint("application_id", "name", name=op.f("uq_phone_group_application_id_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "phone",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("group_id", _id(), nullable=False),
        sa.Column("application_id", _id(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("login", sa.String(length=32), nullable=False),
        sa.Column("ha1", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("contact_user", sa.String(length=64), server_default="", nullable=False),
        sa.Column("contact_host", sa.String(length=45), server_default="", nullable=False),
        sa.Column("contact_port", sa.Integer(), server_default="0", nullable=False),
        sa.Column("registered_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("busy_call_id", _id(), nullable=True),
        sa.Column("busy_until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("used_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("registered_until = 0 OR contact_port BETWEEN 1 AND 65535", name=op.f("ck_phone_contact")),
        sa.CheckConstraint("(busy_call_id IS NULL) = (busy_until = 0)", name=op.f("ck_phone_busy")),
        sa.ForeignKeyConstraint(["group_id"], ["phone_group.id"], name=op.f("fk_phone_group_id")),
        sa.ForeignKeyConstraint(["application_id"], ["application.id"], name=op.f("fk_phone_application_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_phone")),
        sa.UniqueConstraint("application_id", "name", name=op.f("uq_phone_application_id_name")),
        sa.UniqueConstraint("login", name=op.f("uq_phone_login")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_phone_group_id", "phone", ["group_id"], unique=False)
