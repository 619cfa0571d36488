"""The table of tariffs. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Table

from ringback.store.schema_base import key, metadata

# What a minute costs and in which steps it is charged. Never changed: a new price is a new tariff, so that a call keeps
# the one it was made under.
tariff = Table(
    "tariff",
    metadata,
    key(),
    # Of a minute, in millionths of the account's currency.
    Column("rate_micros", BigInteger, nullable=False),
    # "20+20": the first so many seconds are charged whole, and so is every further step.
    Column("first_seconds", Integer, nullable=False),
    Column("next_seconds", Integer, nullable=False),
    CheckConstraint("rate_micros BETWEEN 0 AND 1000000000000", name="rate"),
    CheckConstraint("first_seconds BETWEEN 1 AND 3600 AND next_seconds BETWEEN 1 AND 3600", name="steps"),
    sqlite_autoincrement=True,
)
