"""The table of uploaded audio. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, String, Table, UniqueConstraint

from ringback.store.schema_base import ID, key, metadata

voice_file = Table(
    "voice_file",
    metadata,
    key(),
    Column("account_id", ID, ForeignKey("account.id"), nullable=False),
    # What clients know it by.
    Column("file_id", String(64), nullable=False, unique=True),
    Column("name", String(32), nullable=False),
    # 8 kHz 16-bit mono, as the telephony port takes it.
    Column("pcm", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("account_id", "name"),
    sqlite_autoincrement=True,
)
