"""Many rows in one statement, in the way that is fast on the database at hand.

PostgreSQL takes arrays, and copies rows in; a statement is then the same text whatever their number, and prepared once.
SQLite, which runs in this process, takes a JSON list, or the statement once for each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Text, bindparam, func, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

from ringback.store.dialects import POSTGRESQL, is_postgresql

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Dialect, Table

    from ringback.store.database import Tx


class _Ids(TypeDecorator[Any]):
    """A list of ids as one parameter."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(ARRAY(BigInteger()) if dialect.name == POSTGRESQL else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value if dialect.name == POSTGRESQL else msgspec.json.encode(value).decode()


class _Among(FunctionElement[bool]):
    name = "among"
    type = Boolean()
    inherit_cache = True


@compiles(_Among)
def _in_json(element: Any, compiler: Any, **options: Any) -> str:
    column, ids = element.clauses
    listed, looked_at = compiler.process(ids, **options), compiler.process(column, **options)
    return f"{looked_at} IN (SELECT value FROM json_each({listed}))"  # noqa: S608 - both are compiled, not given


@compiles(_Among, POSTGRESQL)
def _any_of_array(element: Any, compiler: Any, **options: Any) -> str:
    column, ids = element.clauses
    return f"{compiler.process(column, **options)} = ANY ({compiler.process(ids, **options)})"


def among(column: ColumnElement[Any], ids: Collection[int]) -> ColumnElement[bool]:
    """Whether the column holds one of the ids, however many they are."""
    return _Among(column, bindparam(None, list(ids), type_=_Ids()))


async def update_rows(tx: Tx, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of the rows with these ``id``s: each mapping has the id and the same columns."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != "id"]
    if not is_postgresql(tx):
        query = update(table).where(table.c.id == bindparam("id_"))
        query = query.values({name: bindparam(f"{name}_") for name in columns})
        await tx.execute(query, [{f"{name}_": value for name, value in row.items()} for row in rows])
        return
    names = ["id", *columns]
    arrays = [bindparam(f"{name}_", [row[name] for row in rows], type_=ARRAY(table.c[name].type)) for name in names]
    given = func.unnest(*arrays).table_valued(*(table.c[name] for name in names), name="given").render_derived()
    query = update(table).where(table.c.id == given.c.id).values({name: given.c[name] for name in columns})
    await tx.execute(query)


async def insert_plain(tx: Tx, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Store rows as fast as the database takes them. No value is converted, no default filled in here."""
    if is_postgresql(tx):
        connection = await tx.get_raw_connection()
        driver: Any = connection.driver_connection
        await driver.copy_records_to_table(table.name, columns=list(columns), records=rows)
        return
    # The driver's own executemany: building parameter dictionaries would cost more than the inserts.
    marks = ", ".join("?" for _ in columns)
    await tx.exec_driver_sql(f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})", list(rows))  # noqa: S608 - names of our own tables
