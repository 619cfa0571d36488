"""The migrations on PostgreSQL against the tables as the code knows them: nothing may differ."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Table, text
from sqlalchemy.schema import CreateIndex

from ringback.model.states import StateMachine
from ringback.store.database import StoreUnavailable
from ringback.store.flows import CancelBy
from ringback.store.opening import migrate, open_store
from ringback.store.postgres import IDLE_IN_TRANSACTION_SECONDS
from ringback.store.schema import GUARDED, metadata
from tests.parts.postgres_process import PostgresProcess
from tests.store.rig import Database, Rig, SetClock, recall

pytestmark = pytest.mark.enable_socket


def test_alembic_finds_no_difference(postgres_database: Database) -> None:
    async def story(rig: Rig) -> None:
        def differences(connection: Connection) -> list[object]:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, metadata))

        async with rig.store.read() as tx:
            found = await tx.run_sync(differences)
        # Only SQLite checks this one; see the schema.
        assert [str(one) for one in found if "fk_call_task_id" not in str(one)] == []

    postgres_database.run(story)


def test_checks_and_indexes_are_those_of_the_metadata(postgres_database: Database) -> None:
    async def story(rig: Rig) -> None:
        checks = {
            (row.table, row.name)
            for row in await rig.rows(
                "SELECT conrelid::regclass::text AS table, conname AS name FROM pg_constraint "
                "WHERE contype = 'c' AND conrelid <> 0"
            )
        }
        expected = {
            (table.name, f"ck_{table.name}_{check.name}" if not str(check.name).startswith("ck_") else str(check.name))
            for table in metadata.sorted_tables
            for check in (*table.constraints, *(one for column in table.columns for one in column.constraints))
            if type(check).__name__ == "CheckConstraint"
        }
        assert checks == expected
        rows = await rig.rows("SELECT indexname AS name, indexdef AS sql FROM pg_indexes")
        partial = {row.name: " WHERE " in row.sql for row in rows}
        for table in metadata.sorted_tables:
            for index in table.indexes:
                made = str(CreateIndex(index).compile(dialect=rig.store._writer.dialect))
                assert partial[str(index.name)] == (" WHERE " in made)

    postgres_database.run(story)


def test_the_guards_are_those_of_the_state_machines(postgres_database: Database) -> None:
    async def story(rig: Rig) -> None:
        rows = await rig.rows(
            "SELECT tgrelid::regclass::text AS table, pg_get_triggerdef(oid) AS sql "
            "FROM pg_trigger WHERE NOT tgisinternal"
        )
        found = {row.table: set(re.findall(r"'(\w+ \w+)'", row.sql)) for row in rows}
        assert found.pop("audit") == set(), "nothing of it may be changed"
        assert found == {
            table.name: {f"{before} {after}" for before, after in machine.moves()} for table, machine in GUARDED
        }

    postgres_database.run(story)


@pytest.mark.parametrize(("table", "machine"), GUARDED, ids=lambda one: getattr(one, "name", ""))
def test_a_forbidden_move_is_refused(
    postgres_database: Database, table: Table, machine: StateMachine[Any, Any]
) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(1, flow=recall(), started=False)
        await rig.cancel_flow(CancelBy.PARENT_TASK, task_id)
        await rig.cancel(task_id)
        await rig.run_sql(
            "INSERT INTO job (account_id, name, state, spec, created_at, modified_at) "
            "VALUES (:account, 'j', 'running', '{}', 1, 1)",
            account=rig.account,
        )
        name, first = table.name, str(machine.initial)
        with pytest.raises(Exception, match=f"illegal {name} state change"):
            await rig.run_sql(f"UPDATE {name} SET state = '{first}'")

    postgres_database.run(story)


def test_a_database_of_another_schema_is_refused_with_what_to_do(postgres_server: PostgresProcess) -> None:
    postgres_server.create_database("unmigrated")
    url = postgres_server.url("unmigrated")

    async def refusal() -> str:
        with pytest.raises(StoreUnavailable) as refused:
            await open_store(url, SetClock())
        return str(refused.value)

    async def main() -> None:
        assert "the database is empty; run `ringback migrate`" in await refusal()
        await asyncio.gather(*(migrate(url, SetClock()) for _ in range(3)))
        store = await open_store(url, SetClock())
        async with store.write() as tx:
            await tx.execute(text("UPDATE alembic_version SET version_num = '0004'"))
        await store.close()
        assert "has schema 0004 of an older version" in await refusal()
        assert "testsecret" not in await refusal()

    asyncio.run(main())
    postgres_server.drop_database("unmigrated")


def test_a_server_that_is_not_there_or_refuses_us(postgres_server: PostgresProcess) -> None:
    async def refusal(url: str) -> str:
        with pytest.raises(StoreUnavailable) as refused:
            await open_store(url, SetClock())
        assert "testsecret" not in str(refused.value)
        return str(refused.value)

    async def main() -> None:
        url = postgres_server.url("postgres")
        assert "cannot be used" in await refusal(url.replace(f":{postgres_server.port}/", ":1/"))
        assert "does not exist" in await refusal(postgres_server.url("nowhere"))

    asyncio.run(main())


def test_who_stands_still_in_a_transaction_loses_it(postgres_database: Database) -> None:
    """A frozen process would hold its locks, and everybody would wait for it."""

    async def story(rig: Rig) -> None:
        async with rig.store.read() as tx:
            shown = await tx.scalar(text("SHOW idle_in_transaction_session_timeout"))
            assert shown == f"{IDLE_IN_TRANSACTION_SECONDS:g}s"
            assert await tx.scalar(text("SHOW transaction_read_only")) == "on"
            assert await tx.scalar(text("SHOW transaction_isolation")) == "repeatable read"
        async with rig.store.write() as tx:
            assert await tx.scalar(text("SHOW transaction_isolation")) == "read committed"

    postgres_database.run(story)
