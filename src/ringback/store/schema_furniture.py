"""The tables of what operators set up: accounts, trunks, applications, templates. Part of the schema."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ringback.store.schema_base import ID, key, metadata

account = Table(
    "account",
    metadata,
    key(),
    Column("name", String(64), nullable=False, unique=True),
    Column("api_key", String(64), nullable=False, unique=True),
    Column("api_secret", String(128), nullable=False),
    Column("time_zone", String(64), nullable=False, server_default="UTC"),
    # Which of the two published envelopes the vendor's door answers with.
    Column("envelope", String(8), nullable=False, server_default="both"),
    # How many calls it may have at once; NULL: as many as its trunks carry.
    Column("lines", Integer, CheckConstraint("lines > 0", name="lines")),
    # Fairness: the latest slot that one of its tasks was given, epoch microseconds.
    Column("served_us", BigInteger, nullable=False, server_default="0"),
    # Networks (CIDR) that may call; an empty list allows every address.
    Column("allowed_networks", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # What it has left, in millionths of its currency; NULL: its calls are not charged to it.
    Column("balance_micros", BigInteger),
    Column("currency", String(3), nullable=False, server_default="USD"),
    CheckConstraint("envelope IN ('both', 'code', 'status')", name="envelope"),
    sqlite_autoincrement=True,
)

trunk = Table(
    "trunk",
    metadata,
    key(),
    Column("name", String(64), nullable=False, unique=True),
    # NULL: every account may use it.
    Column("account_id", ID, ForeignKey("account.id")),
    # The engine that dials through it: a trunk of the sandbox is no use to the SIP engine.
    Column("engine", String(16), nullable=False),
    Column("host", String(255), nullable=False, server_default=""),
    Column("port", Integer, nullable=False, server_default="5060"),
    Column("username", String(64), nullable=False, server_default=""),
    Column("password", String(128), nullable=False, server_default=""),
    Column("calls_per_second", Float, nullable=False),
    Column("channels", Integer, nullable=False),
    Column("busy", Integer, nullable=False, server_default="0"),
    Column("next_slot_us", BigInteger, nullable=False, server_default="0"),
    # Rewriting of the called number: what is taken off its beginning, and what is put in front then.
    Column("strip", String(20), nullable=False, server_default=""),
    Column("prefix", String(20), nullable=False, server_default=""),
    # Which caller ids it may show. NULL: any while it owns none, those it owns otherwise.
    Column("caller_ids", String(8), CheckConstraint("caller_ids IN ('any', 'owned')", name="caller_ids")),
    Column("created_at", BigInteger, nullable=False),
    # What its calls cost; NULL: nothing.
    Column("tariff_id", ID, ForeignKey("tariff.id")),
    # Not only above 0: a slot of such a trunk must be a number that a column can hold.
    CheckConstraint("calls_per_second BETWEEN 0.000001 AND 1000000", name="rate"),
    CheckConstraint("channels > 0", name="channels"),
    # The last line of defence of "lines per trunk": no commit can hold more calls than channels.
    CheckConstraint("busy BETWEEN 0 AND channels", name="busy"),
    sqlite_autoincrement=True,
)

application = Table(
    "application",
    metadata,
    key(),
    Column("account_id", ID, ForeignKey("account.id"), nullable=False),
    Column("app_id", String(64), nullable=False),
    Column("trunk_id", ID, ForeignKey("trunk.id")),
    Column("caller_id", String(20), nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("account_id", "app_id"),
    sqlite_autoincrement=True,
)

template = Table(
    "template",
    metadata,
    key(),
    # NULL: every account may use it.
    Column("account_id", ID, ForeignKey("account.id")),
    Column("name", String(128), nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    # What the agent costs beside the line; NULL: nothing.
    Column("tariff_id", ID, ForeignKey("tariff.id")),
    # The vendor's voice node (JSON) that it was made from; NULL: it is an agent template.
    Column("voice_node", Text),
    # Of the voice node: equal ones of an account share a template.
    Column("digest", String(64)),
    sqlite_autoincrement=True,
)
_FROM_A_NODE = text("digest IS NOT NULL")
Index(
    "uq_template_digest",
    template.c.account_id,
    template.c.digest,
    unique=True,
    sqlite_where=_FROM_A_NODE,
    postgresql_where=_FROM_A_NODE,
)

template_audio = Table(
    "template_audio",
    metadata,
    Column("template_id", ID, ForeignKey("template.id"), primary_key=True),
    Column("file", String(255), primary_key=True),
    Column("pcm", LargeBinary, nullable=False),
)
