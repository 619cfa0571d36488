"""The store whose transactions run inline is the store: the same schema, guards and rollbacks, shared by several."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ringback.store.inline import InlineDatabase, open_inline_store, refusal
from ringback.store.opening import open_store
from ringback.store.refusals import is_passing
from store.rig import Rig, SetClock

_SCHEMA = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"


def test_it_has_the_schema_of_every_store() -> None:
    async def main() -> None:
        inline, usual = open_inline_store(SetClock()), await open_store("sqlite://", SetClock())
        schemas = []
        for store in (inline, usual):
            async with store.read() as tx:
                schemas.append((await tx.execute(text(_SCHEMA))).all())
            await store.close()
        assert schemas[0] == schemas[1]
        assert len(schemas[0]) > 20

    asyncio.run(main())


def test_a_story_of_the_store() -> None:
    async def main() -> None:
        rig = await Rig(open_inline_store(SetClock()), SetClock()).furnish()
        task_id = await rig.new_task(5)
        await rig.run_all(task_id)
        assert (await rig.task(task_id)).answered == 5
        await rig.check_counters()

    asyncio.run(main())


def test_what_raises_is_rolled_back_and_the_guards_hold() -> None:
    async def main() -> None:
        rig = await Rig(open_inline_store(SetClock()), SetClock()).furnish()

        async def halfway() -> None:
            async with rig.store.write() as tx:
                await tx.execute(text("DELETE FROM template"))
                raise ValueError("halfway")

        with pytest.raises(ValueError, match="halfway"):
            await halfway()
        assert await rig.one("SELECT count(*) FROM template") == 1
        with pytest.raises(IntegrityError):
            await rig.run_sql("UPDATE trunk SET busy = channels + 1")
        with pytest.raises(IntegrityError):
            await rig.run_sql("DELETE FROM account")
        assert await rig.one("SELECT count(*) FROM account") == 1

    asyncio.run(main())


def test_stores_share_a_database_and_databases_share_nothing() -> None:
    async def main() -> None:
        shared = InlineDatabase()
        first = await Rig(open_inline_store(SetClock(), shared), SetClock()).furnish()
        second = Rig(open_inline_store(SetClock(), shared), SetClock())
        other = Rig(open_inline_store(SetClock()), SetClock())
        assert [await rig.one("SELECT count(*) FROM account") for rig in (first, second, other)] == [1, 1, 0]
        shared.close()

    asyncio.run(main())


def test_a_transaction_gives_nobody_a_turn() -> None:
    async def main() -> None:
        store = open_inline_store(SetClock())
        turns: list[str] = []
        asyncio.get_running_loop().call_soon(turns.append, "other")
        async with store.write() as tx:
            await tx.execute(text("SELECT 1"))
        assert turns == []

    asyncio.run(main())


def test_a_refusal_passes() -> None:
    assert is_passing(refusal("database is locked"))
