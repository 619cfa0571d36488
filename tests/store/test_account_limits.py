"""Accounts: how many calls each may have at once, and whose turn it is."""

from __future__ import annotations

from collections import Counter

from ringback.store import accounts
from tests.store.rig import Database, Rig


async def limit(rig: Rig, account: int, lines: int | None) -> None:
    async with rig.store.write() as tx:
        await accounts.limit(tx, account, lines)


def test_an_account_never_has_more_calls_than_its_lines(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await limit(rig, rig.account, 5)
        other = await rig.new_account("other")
        mine = [await rig.new_task(20), await rig.new_task(20)]
        theirs = await rig.new_task(4, account=other)
        batch = await rig.lease_batch()
        assert Counter(lease.task_id in mine for lease in batch.leases) == {True: 5, False: 4}
        assert theirs not in batch.waiting
        batch = await rig.lease_batch()
        assert batch.leases == []
        assert {batch.waiting[task_id] for task_id in mine} == {"all 5 lines of the account are in use"}
        await rig.end(*[row.id for row in await rig.rows("SELECT id FROM call WHERE state = 'dialling' LIMIT 9")][:2])
        assert len((await rig.lease_batch()).leases) == 2
        await limit(rig, rig.account, None)
        assert len((await rig.lease_batch()).leases) > 20

    database.run(story)


def test_a_limit_counts_the_calls_of_every_engine(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await limit(rig, rig.account, 3)
        await rig.new_trunk("carrier", engine="sip")
        await rig.new_task(10)
        assert len((await rig.lease_batch(free_lines=2)).leases) == 2
        assert len((await rig.lease_batch(engine="sip")).leases) == 1
        assert (await rig.lease_batch(engine="sip")).leases == []

    database.run(story)


def test_a_limit_lowered_under_what_is_up_ends_no_call(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(10)
        up = (await rig.lease_batch(free_lines=4)).leases
        await limit(rig, rig.account, 2)
        assert (await rig.lease_batch()).leases == []
        await rig.end(*[lease.call_id for lease in up[:3]])
        assert len((await rig.lease_batch()).leases) == 1

    database.run(story)


def test_an_account_of_many_tasks_does_not_starve_one_of_few(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        for _ in range(8):
            await rig.new_task(100)
        theirs = await rig.new_task(100, account=other)
        got: Counter[bool] = Counter()
        for _ in range(40):
            # One or two slots at a time: whose turn it is must be remembered between leases.
            for lease in (await rig.lease_batch(free_lines=1)).leases:
                got[lease.task_id == theirs] += 1
            rig.clock.advance(100)
        assert got == {True: 20, False: 20}

    database.run(story)
