"""From SQLite to PostgreSQL with everything under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.store import provenance, workers
from ringback.store.moving import MOVED, CannotMove, Moved, move
from ringback.store.provenance import DatabaseHeld
from ringback.store.schema import metadata
from tests.store.rig import Database, Rig, recall

pytestmark = pytest.mark.enable_socket


async def moved(old: Rig, new: Rig) -> Moved:
    return await move(old.store, new.store, shown_target="there", now_ms=old.clock.ms)


async def contents(rig: Rig) -> dict[str, list[Any]]:
    """Every row of every table but of the one that says where the database is."""
    found: dict[str, list[Any]] = {}
    for table in metadata.sorted_tables:
        keys = ", ".join(column.name for column in table.primary_key.columns)
        if table.name != "provenance":
            async with rig.store.read() as tx:
                rows = await tx.execute(table.select().order_by(text(keys)))
                found[table.name] = [tuple(row) for row in rows]
    return found


def test_everything_arrives_and_goes_on(file_database: Database, postgres_database: Database) -> None:
    async def main() -> None:
        async with file_database.opened() as old, postgres_database.opened() as new:
            await old.furnish()
            parent = await old.new_task(6, flow=recall(RecallType.FAILED, rounds=2, intents=["101"]))
            later = await old.new_task(2, send_in_ms=60_000, started=False)
            up, busy, *_ = await old.lease(4)
            await old.answer(up.call_id)
            await old.end(busy.call_id, outcome=Outcome.BUSY)
            before = await contents(old)
            counts = (await moved(old, new)).rows
            assert await contents(new) == before
            assert counts == {name: len(rows) for name, rows in before.items()} | {"provenance": 1}
            # The old one dials nobody any more.
            with pytest.raises(DatabaseHeld, match="moved to there"):
                await old.lease_batch()
            # The new one goes on: what the dead worker held is settled, the rest is dialled.
            new.clock = old.clock
            new.worker = await new.new_worker()
            assert new.worker > old.worker
            async with new.store.read() as tx:
                (dead,) = await workers.others(tx, new.worker)
            assert dead.id == old.worker
            leased = await new.lease(2)
            assert {lease.task_id for lease in leased} == {parent}
            for number in (
                up.call_id,
                *(one.id for one in await new.rows("SELECT id FROM call WHERE state = 'dialling'")),
            ):
                new.lease_nos.setdefault(number, old.lease_nos.get(number, 0))
            await new.end(*[lease.call_id for lease in leased])
            await new.end(*[one for one in old.lease_nos if one != busy.call_id], worker=old.worker)
            assert (await new.task(parent)).state == "finished"
            child = await new.start_next_node()
            assert child is not None
            assert child > later
            assert (await new.task(child)).total == 1
            await new.check_counters()

    asyncio.run(main())


def test_it_can_be_tried_again(file_database: Database, postgres_database: Database) -> None:
    async def main() -> None:
        async with file_database.opened() as old, postgres_database.opened() as new:
            await old.furnish()
            await old.new_task(3)
            await new.new_account("somebody")
            with pytest.raises(CannotMove, match="not empty: it has rows in account"):
                await moved(old, new)
            async with old.store.read() as tx:
                assert (await provenance.why_held(tx)).startswith(f"the database is held: {MOVED}there")
            await new.run_sql("DELETE FROM application")
            await new.run_sql("DELETE FROM account")
            await moved(old, new)
            async with new.store.read() as tx:
                assert await provenance.why_held(tx) == ""
            with pytest.raises(CannotMove, match="moved to there"):
                await move(old.store, new.store, shown_target="elsewhere", now_ms=old.clock.ms)

    asyncio.run(main())


def test_a_database_that_was_held_is_held_there_too(file_database: Database, postgres_database: Database) -> None:
    async def main() -> None:
        async with file_database.opened() as old, postgres_database.opened() as new:
            await old.furnish()
            async with old.store.write() as tx:
                await provenance.hold(tx, "it was held by hand", old.clock.ms)
            await moved(old, new)
            async with new.store.read() as tx:
                assert "held by hand" in await provenance.why_held(tx)

    asyncio.run(main())
