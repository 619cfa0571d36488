"""News between processes on one PostgreSQL: they arrive, also after the connection was lost, and never end anybody."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from ringback.store.database import News
from tests.store.rig import Database, Rig

pytestmark = pytest.mark.enable_socket

PATIENCE = 30.0


def together(database: Database, story) -> None:
    async def main() -> None:
        async with database.opened() as one, database.opened() as other:
            await story(one, other)

    asyncio.run(main())


async def hears(rig: Rig, bell, *news: News, after) -> None:
    """Ring until it is heard: a listener that is connecting again hears nothing yet."""
    async with asyncio.timeout(PATIENCE):
        ringing = asyncio.create_task(bell.wait(None))
        while not ringing.done():
            after(*news)
            await asyncio.wait({ringing}, timeout=0.05)


def test_news_reach_the_other_process_and_only_who_wants_them(postgres_database: Database) -> None:
    async def story(one: Rig, other: Rig) -> None:
        work, lines = other.store.subscribe(News.WORK), other.store.subscribe(News.LINES)
        one.store.announce(News.WORK)
        await hears(other, work, News.WORK, after=lambda *_: None)
        assert not lines._rung.is_set()

    together(postgres_database, story)


def test_a_lost_connection_is_made_again(postgres_database: Database) -> None:
    async def story(one: Rig, other: Rig) -> None:
        bell = other.store.subscribe(News.WORK)
        async with one.store.write() as tx:
            await tx.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ringback news'")
            )
        await hears(other, bell, News.WORK, after=one.store.announce)

    together(postgres_database, story)


def test_whatever_happens_to_it_the_store_closes(postgres_database: Database) -> None:
    async def main() -> None:
        async with postgres_database.opened() as rig:
            wire = rig.store.wire
            connection = wire._connection  # type: ignore[union-attr] - there is one
            connection.terminate()
            wire._running.cancel()  # type: ignore[union-attr] - as above
            rig.store.announce(News.LINES)

    asyncio.run(main())
