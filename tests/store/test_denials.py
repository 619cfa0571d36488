"""Denied prefixes: such numbers are skipped at submission, in rounds, at once, and at the very last look."""

from __future__ import annotations

import asyncio
import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.model.routing import Denied, denied_reason
from ringback.store import denials, routes, tasks, trunks
from tests.store.rig import Database, Rig, recall

SATELLITE, BERLIN = "881612345678", "493012345600"


async def skipped(rig: Rig, task_id: int) -> dict[str, str]:
    rows = await rig.rows("SELECT callee, reason FROM call WHERE task_id = :id AND state = 'skipped'", id=task_id)
    return {row.callee: row.reason for row in rows}


async def deny(rig: Rig, prefix: str, account_id: int | None = None) -> bool:
    """As the command does it."""
    async with rig.store.write() as tx:
        added = await denials.add(tx, account_id, prefix)
        concerned = await denials.tasks_on_the_way(tx, account_id)
        for task_id in concerned:
            await denials.skip_denied(tx, [task_id])
        await tasks.finish_done(tx, concerned, rig.clock.ms, minute_seconds=60)
        return added


def test_satellites_and_premium_services_are_denied_from_the_start(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.read() as tx:
            found = await denials.everyone(tx)
        assert [one.prefix for one in found] == ["870", "878", "881", "882", "883", "979"]
        assert all(one.account is None and one.note.startswith("ITU-T E.164") for one in found)
        migration = importlib.import_module("ringback.store.migrations.versions.0003_routes")
        assert [prefix for prefix, _ in migration.DENIED] == [one.prefix for one in found]

    database.run(story)


def test_a_denied_number_is_skipped_on_submission(database: Database) -> None:
    async def story(rig: Rig) -> None:
        hidden = "00" + SATELLITE
        task_id = await rig.new_task([SATELLITE, BERLIN, hidden, "88212345678"])
        assert await skipped(rig, task_id) == {
            SATELLITE: "numbers that begin with 881 are denied",
            hidden: "numbers that begin with 00881 are denied",
            "88212345678": "numbers that begin with 882 are denied",
        }
        assert [lease.callee for lease in await rig.lease(1)] == [BERLIN]

    database.run(story)


def test_a_task_of_denied_numbers_only_is_finished(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task([SATELLITE])
        found = await rig.task(task_id)
        assert (found.state, found.skipped) == ("finished", 1)

    database.run(story)


def test_deny_goes_before_every_route(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            for prefix in ("", "881", "8816"):
                await routes.add(tx, account_id=None, prefix=prefix, trunk_id=rig.trunk, priority=0, weight=1)
        task_id = await rig.new_task([SATELLITE, BERLIN])
        assert list(await skipped(rig, task_id)) == [SATELLITE]

    database.run(story)


def test_denying_skips_what_is_queued_at_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        mixed = await rig.new_task([BERLIN, "442012345600", "442012345601"])
        only = await rig.new_task(["442012345600"])
        suspended = await rig.new_task(["442012345600"])
        theirs = await rig.new_task(["442012345600"], account=other)
        await rig.suspend(suspended)
        (lease,) = await rig.lease(1)
        assert lease.callee == BERLIN
        assert await deny(rig, "44", rig.account)
        assert not await deny(rig, "44", rig.account)
        reason = "numbers that begin with 44 are denied"
        assert await skipped(rig, mixed) == dict.fromkeys(["442012345600", "442012345601"], reason)
        assert (await rig.task(only)).state == "finished"
        assert await skipped(rig, suspended) == {"442012345600": reason}
        assert (await rig.task(suspended)).state == "suspended"
        assert await skipped(rig, theirs) == {}
        await rig.check_counters()
        await deny(rig, "44")
        assert (await rig.task(theirs)).state == "finished"
        assert await rig.end(lease.call_id) == [mixed]
        await rig.resume(suspended)
        assert (await rig.task(suspended)).state == "finished"

    database.run(story)


def test_what_is_allowed_again_stays_skipped_in_its_task_only(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task([SATELLITE, BERLIN])
        async with rig.store.write() as tx:
            assert await denials.remove(tx, None, "881")
            assert not await denials.remove(tx, None, "881")
            assert not await denials.remove(tx, rig.account, "882")
        assert list(await skipped(rig, task_id)) == [SATELLITE]
        again = await rig.new_task([SATELLITE])
        assert await skipped(rig, again) == {}

    database.run(story)


def test_a_round_skips_what_has_been_denied_since(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task([BERLIN, "442012345600"], flow=recall(RecallType.FAILED))
        await rig.run_all(task_id, [(Outcome.BUSY, None)] * 2)
        await deny(rig, "44")
        round_id = await rig.start_next_node()
        assert round_id is not None
        assert list(await skipped(rig, round_id)) == ["442012345600"]
        assert (await rig.task(round_id)).queued == 1

    database.run(story)


def test_the_last_look_fails_closed(database: Database) -> None:
    """A prefix denied by whoever wrote to the database, with no word to the queue."""

    async def story(rig: Rig) -> None:
        task_id = await rig.new_task([BERLIN, "442012345600", "493012345601"])
        alone = await rig.new_task(["442012345600"], flow=recall(RecallType.ALL))
        await rig.run_sql("INSERT INTO denied (prefix) VALUES ('44')")
        assert [lease.callee for lease in await rig.lease()] == [BERLIN, "493012345601"]
        assert await skipped(rig, task_id) == {"442012345600": "numbers that begin with 44 are denied"}
        # A task that ends with it is finished, and its flow goes on.
        assert (await rig.task(alone)).state == "finished"
        assert (await rig.flow_of(alone)).nodes[0].due_at is not None
        assert await rig.one("SELECT busy FROM trunk") == 2

    database.run(story)


def test_a_number_is_looked_at_as_its_trunk_would_send_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            await trunks.change(tx, "t1", now_ms=rig.clock.ms, strip="0", prefix="+")
        task_id = await rig.new_task(["0" + SATELLITE])
        assert await rig.lease() == []
        assert await skipped(rig, task_id) == {"0" + SATELLITE: "numbers that begin with 881 are denied"}

    database.run(story)


def test_what_is_no_prefix_cannot_be_denied(database: Database) -> None:
    async def story(rig: Rig) -> None:
        for text in ("", "+49", "4 9", "49\r\n", "1" * 19, "٤٩"):
            with pytest.raises(ValueError, match="digits"):
                await deny(rig, text)

    database.run(story)


@settings(deadline=None, max_examples=40)
@given(
    callees=st.lists(st.text("0189", min_size=6, max_size=18), min_size=1, max_size=8, unique=True),
    prefixes=st.frozensets(st.text("0189", min_size=1, max_size=5), max_size=5),
)
def test_skipping_in_sql_is_the_rule(callees: list[str], prefixes: frozenset[str]) -> None:
    async def main() -> None:
        async with Database("sqlite-memory", "sqlite://").opened() as rig:
            await rig.furnish()
            await rig.run_sql("DELETE FROM denied")
            task_id = await rig.new_task(callees)
            for prefix in prefixes:
                await deny(rig, prefix) if len(prefix) % 2 else await rig.run_sql(
                    "INSERT INTO denied (prefix) VALUES (:p)", p=prefix
                )
            async with rig.store.write() as tx:
                await denials.skip_denied(tx, [task_id])
            denied = Denied(prefixes)
            found = await skipped(rig, task_id)
            assert set(found) == {callee for callee in callees if denied.by(callee)}
            again = await rig.new_task(callees)
            expected = {callee: denied_reason(why) for callee in callees if (why := denied.by(callee))}
            assert await skipped(rig, again) == expected
            await rig.check_counters()

    asyncio.run(main())
