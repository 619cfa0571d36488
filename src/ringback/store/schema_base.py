"""What the tables are made with: their registry, how constraints are named, and the type of ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData

#: Every table registers here.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The type of every id.
ID = BigInteger().with_variant(Integer(), "sqlite")


def key() -> Column[Any]:
    """The ``id`` of a table."""
    return Column("id", ID, primary_key=True, autoincrement=True)
