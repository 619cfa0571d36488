"""What calls cost is noted with them and taken from their account; nobody without means starts a call."""

from __future__ import annotations

import asyncio
import random

import pytest

from ringback.model.billing import Tariff
from ringback.model.outcome import Outcome
from ringback.store import accounts, call_records, calls, tariffs
from ringback.store.calls import CallResult
from tests.store.rig import Database, Rig

MINUTE = Tariff(600_000, 60, 60)  # a cent a second, by the minute
TWENTY = Tariff(60_000, 20, 20)


async def price(rig: Rig, line: Tariff | None, agent: Tariff | None = None, balance: int | None = None) -> None:
    async with rig.store.write() as tx:
        await tariffs.of_trunk(tx, rig.trunk, line)
        assert await tariffs.of_template(tx, rig.template, agent)
        await accounts.set_balance(tx, rig.account, balance)


async def balance(rig: Rig) -> int | None:
    (row,) = await rig.rows("SELECT balance_micros FROM account WHERE id = :id", id=rig.account)
    found: int | None = row.balance_micros
    return found


def answered(rig: Rig, call_id: int, talk_ms: int | None) -> CallResult:
    return CallResult(
        call_id=call_id,
        lease_no=rig.lease_nos[call_id],
        outcome=Outcome.BUSY if talk_ms is None else Outcome.ANSWERED,
        ended_at=rig.clock.ms,
        talk_ms=talk_ms,
    )


async def end(rig: Rig, *results: CallResult) -> None:
    async with rig.store.write() as tx:
        await calls.ended(tx, rig.worker, results, rig.clock.ms, minute_seconds=60)


def test_line_and_agent_are_charged_and_noted(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await price(rig, MINUTE, TWENTY, balance=5_000_000)
        task_id = await rig.new_task(3)
        one, two, three = [lease.call_id for lease in await rig.lease(3)]
        await end(rig, answered(rig, one, 61_000), answered(rig, two, 1), answered(rig, three, None))
        task = await rig.task(task_id)
        # 120 + 60 seconds of the line, 80 + 20 of the agent.
        assert (task.charged_seconds, task.cost_micros) == (180, 1_800_000 + 100_000)
        assert await balance(rig) == 5_000_000 - 1_900_000
        rows = await rig.rows("SELECT tariff_id, agent_tariff_id FROM call WHERE state = 'ended'")
        async with rig.store.read() as tx:
            known = await tariffs.by_ids(tx, {rows[0].tariff_id, rows[0].agent_tariff_id})
        assert [known[rows[0].tariff_id], known[rows[0].agent_tariff_id]] == [MINUTE, TWENTY]
        assert len(set(rows)) == 1
        await price(rig, TWENTY, None, balance=1)
        after = await rig.rows("SELECT tariff_id, agent_tariff_id FROM call WHERE state = 'ended'")
        assert after == rows, "a call keeps the price that it was made under"

    database.run(story)


def test_without_prices_nothing_is_charged(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await price(rig, None, None, balance=1)
        task_id = await rig.new_task(1)
        (lease,) = await rig.lease(1)
        await end(rig, answered(rig, lease.call_id, 60_000))
        task = await rig.task(task_id)
        assert (task.charged_seconds, task.cost_micros, await balance(rig)) == (0, 0, 1)
        (row,) = await rig.rows("SELECT tariff_id, agent_tariff_id FROM call")
        assert (row.tariff_id, row.agent_tariff_id) == (None, None)

    database.run(story)


def test_an_account_without_a_balance_pays_nothing_but_is_told(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await price(rig, MINUTE)
        task_id = await rig.new_task(1)
        (lease,) = await rig.lease(1)
        await end(rig, answered(rig, lease.call_id, 1_000))
        assert ((await rig.task(task_id)).cost_micros, await balance(rig)) == (600_000, None)

    database.run(story)


def test_a_used_up_balance_leaves_calls_queued_and_says_so(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await price(rig, MINUTE, balance=600_000)
        task_id = await rig.new_task(10)
        other = await rig.new_account("other")
        theirs = await rig.new_task(2, account=other)
        leases = [lease for lease in await rig.lease(4) if lease.task_id == task_id]
        await end(rig, *[answered(rig, lease.call_id, 1_000) for lease in leases])
        assert await balance(rig) == 600_000 * (1 - len(leases)), "calls in the air may overdraw"
        batch = await rig.lease_batch()
        assert {lease.task_id for lease in batch.leases} <= {theirs}
        assert batch.waiting[task_id] == "the account's balance is used up"
        assert (await rig.task(task_id)).queued == 10 - len(leases)
        async with rig.store.write() as tx:
            await accounts.add_to_balance(tx, rig.account, 10_000_000)
        assert task_id in {lease.task_id for lease in (await rig.lease_batch()).leases}

    database.run(story)


def test_results_at_the_same_time_lose_no_cent(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await price(rig, MINUTE, balance=100_000_000)
        await rig.new_task(40)
        leases = await rig.lease(40)
        await asyncio.gather(*(end(rig, answered(rig, one.call_id, 1_000)) for one in leases))
        assert await balance(rig) == 100_000_000 - 40 * 600_000

    database.run(story)


def test_the_account_pays_what_its_calls_cost(database: Database) -> None:
    async def story(rig: Rig) -> None:
        rng = random.Random(1)
        paid = 0
        for case in range(12):
            priced = [MINUTE if case & 1 else None, TWENTY if case & 2 else None]
            await price(rig, *priced, balance=10**12 - paid)
            talks = [rng.choice([None, 0, 1, rng.randrange(200_000)]) for _ in range(rng.randint(1, 8))]
            task_id = await rig.new_task([f"49{case:02}{one:06}" for one in range(len(talks))])
            leases = await rig.lease(len(talks))
            await end(rig, *[answered(rig, one.call_id, talk) for one, talk in zip(leases, talks, strict=True)])
            cost = sum(tariff.cost_micros(talk) for tariff in priced if tariff is not None for talk in talks)
            paid += cost
            assert (await rig.task(task_id)).cost_micros == cost
            assert await balance(rig) == 10**12 - paid

    database.run(story)


@pytest.mark.enable_socket
def test_a_lease_waits_for_what_uses_up_the_balance(postgres_database: Database) -> None:
    """Results of another engine hold none of this one's trunks: the account's row is where they meet."""

    async def story(rig: Rig) -> None:
        await price(rig, MINUTE, balance=600_000)
        await rig.new_task(1)
        async with rig.store.write() as tx:
            await accounts.add_to_balance(tx, rig.account, -600_000)
            leasing = asyncio.create_task(rig.lease_batch())
            # Without the lock the lease would be done, with the balance of before.
            while not leasing.done():
                if await rig.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                    break
        assert (await leasing).leases == []

    postgres_database.run(story)


def test_a_call_settled_after_a_restore_has_a_record(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(1)
        (lease,) = await rig.lease(1)
        await end(rig, answered(rig, lease.call_id, None))
        async with rig.store.read() as tx:
            before = (await call_records.by_ids(tx, [lease.call_id]))[lease.call_id]
        # Trunk 0: nobody knows which it was.
        await rig.run_sql("UPDATE call SET trunk_id = 0 WHERE id = :id", id=lease.call_id)
        async with rig.store.read() as tx:
            after = (await call_records.by_ids(tx, [lease.call_id]))[lease.call_id]
        assert before.trunk
        assert (after.trunk, after.callee, after.outcome) == ("", before.callee, Outcome.BUSY)

    database.run(story)
