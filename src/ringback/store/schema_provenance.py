"""The table that says which database this is, and whether it may dial. Part of the schema, and imported by it."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, SmallInteger, String, Table, Text

from ringback.store.schema_base import metadata

# One row, made by the migration.
provenance = Table(
    "provenance",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Made up once, the same in every copy.
    Column("database_id", String(32), nullable=False),
    # Grows with every lease that gives out calls. A settled database leaves the numbers of its lost hours behind.
    Column("leases", BigInteger, nullable=False, server_default="0"),
    # Where the database physically is, as it was when it was last looked at; NULL before that.
    Column("origin", String(255)),
    # When this copy was made, as far as it says so itself.
    Column("copied_at", BigInteger),
    # NULL: calls may be dialled.
    Column("held_since", BigInteger),
    Column("held_reason", Text),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("leases >= 0", name="leases"),
    CheckConstraint("(held_since IS NULL) = (held_reason IS NULL)", name="held"),
)
