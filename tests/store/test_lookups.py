"""Lookups by key: right, fresh, and each for itself, whichever way they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ringback.store import accounts, flows, sqlite_reads
from ringback.store.accounts import Account
from ringback.store.lookups import Lookups
from ringback.store.sqlite_reads import Refused, SqliteReads
from tests.store.rig import Database, Rig, recall


class CountedStore:
    """Counts the reading transactions of a store."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.reads = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self.reads += 1
        async with self._rig.store.read() as tx:
            yield tx


class Letters:
    """Looks up capital letters, and breaks when it is asked for a question mark."""

    async def find(self, _tx: Any, keys: list[str]) -> dict[str, str]:
        if "?" in keys:
            raise ValueError("no letter")
        return {key: key.upper() for key in keys if key.isalpha()}


@asynccontextmanager
async def both_ways(rig: Rig, what: Any) -> AsyncIterator[list[Lookups[Any, Any]]]:
    """The lookups by transactions, and on a file those on the event loop."""
    ways = [Lookups(rig.store, what)]
    reads = await sqlite_reads.of(rig.store)
    if reads is not None:
        ways.append(Lookups(rig.store, what))
        ways[1].reads = reads
    try:
        yield ways
    finally:
        if reads is not None:
            reads.close()


def test_everything_is_found_and_nothing_else(database: Database) -> None:
    async def story(rig: Rig) -> None:
        for spec in (recall(rounds=3, intents=["101", "é'\"%"]), recall()):
            await rig.new_task(1, flow=spec)
        async with rig.store.write() as tx:
            await accounts.change(
                tx, rig.account, time_zone="Europe/Berlin", envelope="code", allowed_networks=["10.0.0.0/8", "::1/128"]
            )
        async with both_ways(rig, flows.BY_ID) as ways:
            for by in ways:
                assert [await by.get(key) for key in (1, 2, 3)] == [await rig.flow(1), await rig.flow(2), None]
        async with both_ways(rig, accounts.BY_API_KEY) as ways:
            for by in ways:
                assert await by.get("KEY-ACME") is None
                assert await by.get("key-acme") == Account(
                    rig.account, "acme", "key-acme", "secret", "Europe/Berlin", "code", ("10.0.0.0/8", "::1/128")
                )

    database.run(story)


def test_nothing_is_remembered(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with both_ways(rig, accounts.BY_API_KEY) as ways:
            for number, by in enumerate(ways):
                assert await by.get("key-acme") is not None
                await rig.run_sql("UPDATE account SET api_key = :key", key=f"key{number}")
                assert await by.get("key-acme") is None
                found = await by.get(f"key{number}")
                assert found is not None
                assert found.api_key == f"key{number}"
                await rig.run_sql("UPDATE account SET api_key = 'key-acme'")

    database.run(story)


def test_those_who_ask_together_share_transactions(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        store = CountedStore(rig)
        by: Lookups[str, str] = Lookups(store, Letters())  # type: ignore[arg-type]  # all that it asks of them
        found = await asyncio.gather(*(by.get(key) for key in "abc1abc2"))
        assert found == ["A", "B", "C", None, "A", "B", "C", None]
        # The first may go alone; the others come while it is under way.
        assert store.reads <= 2
        assert await by.get("d") == "D"

    file_database.run(story)


def test_one_that_breaks_breaks_no_other(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        by: Lookups[str, str] = Lookups(rig.store, Letters())  # type: ignore[arg-type]  # all that it asks of it
        found = await asyncio.gather(*(by.get(key) for key in "a?b"), return_exceptions=True)
        assert [str(one) for one in found] == ["A", "no letter", "B"]

    file_database.run(story)


def test_one_who_gives_up_takes_it_from_nobody(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        by: Lookups[str, str] = Lookups(rig.store, Letters())  # type: ignore[arg-type]  # all that it asks of it
        hasty, patient = asyncio.create_task(by.get("a")), asyncio.create_task(by.get("a"))
        await asyncio.sleep(0)
        hasty.cancel()
        assert await patient == "A"
        with pytest.raises(asyncio.CancelledError):
            await hasty

    file_database.run(story)


def test_what_is_refused_at_once_is_asked_for_again(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        by = Lookups(rig.store, accounts.BY_API_KEY)
        reads = await sqlite_reads.of(rig.store)
        assert reads is not None
        reads.close()
        with pytest.raises(Refused):
            accounts.BY_API_KEY.find_now(reads, "key-acme")
        by.reads = reads
        assert await by.get("key-acme") is not None

    file_database.run(story)


def test_it_only_reads(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        reads = SqliteReads(file_database.url.removeprefix("sqlite:///"))
        with pytest.raises(Exception, match="readonly"):
            reads._connection.execute("DELETE FROM account")
        reads.close()
        assert await rig.one("SELECT count(*) FROM account") == 1

    file_database.run(story)


def test_a_database_in_memory_has_no_second_connection() -> None:
    async def story(rig: Rig) -> None:
        assert await sqlite_reads.of(rig.store) is None

    Database("sqlite-memory", "sqlite://").run(story)
