"""Trunks of accounts, routes, lanes by route, denied prefixes, rewriting, caller ids."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Never dialled unless an operator allows it. Source: ITU-T, List of ITU-T Recommendation E.164 assigned country codes
#: (Annex to the ITU Operational Bulletin): the codes of satellite networks, of global services and of global premium
#: rate, which belong to no country and are what stolen dialling pays for.
DENIED = (
    ("870", "ITU-T E.164: Inmarsat SNAC, satellite"),
    ("878", "ITU-T E.164: Universal Personal Telecommunications"),
    ("881", "ITU-T E.164: Global Mobile Satellite System"),
    ("882", "ITU-T E.164: international networks"),
    ("883", "ITU-T E.164: international networks"),
    ("979", "ITU-T E.164: International Premium Rate Service"),
)


def _id() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    of_account = sa.Column(
        "account_id", _id(), sa.ForeignKey("account.id", name=op.f("fk_trunk_account_id")), nullable=True
    )
    op.add_column("trunk", of_account, inline_references=True)
    op.add_column("trunk", sa.Column("strip", sa.String(length=20), server_default="", nullable=False))
    op.add_column("trunk", sa.Column("prefix", sa.String(length=20), server_default="", nullable=False))
    allowed = sa.CheckConstraint("caller_ids IN ('any', 'owned')", name=op.f("ck_trunk_caller_ids"))
    op.add_column("trunk", sa.Column("caller_ids", sa.String(length=8), allowed, nullable=True))
    op.create_table(
        "caller_id",
        sa.Column("trunk_id", _id(), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["trunk_id"], ["trunk.id"], name=op.f("fk_caller_id_trunk_id")),
        sa.PrimaryKeyConstraint("trunk_id", "number", name=op.f("pk_caller_id")),
    )
    op.create_index("ix_caller_id_turn", "caller_id", ["trunk_id", "turn"])
    op.create_table(
        "route",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account_id", _id(), nullable=True),
        sa.Column("prefix", sa.String(length=18), nullable=False),
        sa.Column("trunk_id", _id(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.CheckConstraint("priority BETWEEN 0 AND 1000", name=op.f("ck_route_priority")),
        sa.CheckConstraint("weight BETWEEN 1 AND 1000", name=op.f("ck_route_weight")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_route_account_id")),
        sa.ForeignKeyConstraint(["trunk_id"], ["trunk.id"], name=op.f("fk_route_trunk_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_route")),
        sa.UniqueConstraint("account_id", "prefix", "trunk_id", name=op.f("uq_route_account_id_prefix_trunk_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_route_shared",
        "route",
        ["prefix", "trunk_id"],
        unique=True,
        sqlite_where=sa.text("account_id IS NULL"),
        postgresql_where=sa.text("account_id IS NULL"),
    )
    denied = op.create_table(
        "denied",
        sa.Column("id", _id(), autoincrement=True, nullable=False),
        sa.Column("account_id", _id(), nullable=True),
        sa.Column("prefix", sa.String(length=18), nullable=False),
        sa.Column("note", sa.String(length=128), server_default="", nullable=False),
        sa.CheckConstraint("prefix <> ''", name=op.f("ck_denied_prefix")),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name=op.f("fk_denied_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_denied")),
        sa.UniqueConstraint("account_id", "prefix", name=op.f("uq_denied_account_id_prefix")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_denied_shared",
        "denied",
        ["prefix"],
        unique=True,
        sqlite_where=sa.text("account_id IS NULL"),
        postgresql_where=sa.text("account_id IS NULL"),
    )
    op.bulk_insert(denied, [{"prefix": prefix, "note": note} for prefix, note in DENIED])
    op.add_column("call", sa.Column("route_prefix", sa.String(length=18), server_default="", nullable=False))
    op.drop_index("ix_call_queue", "call")
    op.create_index(
        "ix_call_queue",
        "call",
        ["task_id", "zone", "route_prefix", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.add_column("lane", sa.Column("route_prefix", sa.String(length=18), server_default="", nullable=False))
        op.alter_column("lane", "route_prefix", server_default=None)
        op.drop_constraint("pk_lane", "lane")
        op.create_primary_key("pk_lane", "lane", ["task_id", "zone", "route_prefix"])
    else:
        _make_lane_anew()


def _make_lane_anew() -> None:
    """SQLite cannot add a column to a primary key. No other table refers to this one."""
    op.rename_table("lane", "lane_before")
    op.create_table(
        "lane",
        sa.Column("task_id", _id(), nullable=False),
        sa.Column("zone", sa.String(length=1024), nullable=False),
        sa.Column("route_prefix", sa.String(length=18), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("cursor", _id(), server_default="0", nullable=False),
        sa.CheckConstraint("queued >= 0", name=op.f("ck_lane_queued")),
        sa.ForeignKeyConstraint(["task_id"], ["task.id"], name=op.f("fk_lane_task_id")),
        sa.PrimaryKeyConstraint("task_id", "zone", "route_prefix", name=op.f("pk_lane")),
    )
    op.execute(
        "INSERT INTO lane (task_id, zone, route_prefix, queued, cursor) "
        "SELECT task_id, zone, '', queued, cursor FROM lane_before"
    )
    op.drop_table("lane_before")
