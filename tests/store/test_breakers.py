"""The breaker in the store: it changes with results and leases, in their transaction, and can be closed by hand."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from ringback.model.breaker import Breaker, Verdict
from ringback.model.outcome import Outcome
from ringback.store import breakers, calls, leases, outlook, trunks
from ringback.store.calls import CallResult
from ringback.store.leases import Lease
from tests.store.rig import Database, Rig


async def breaker(rig: Rig, trunk_id: int = 0) -> Breaker:
    async with rig.store.read() as tx:
        return (await breakers.of_trunks(tx, [trunk_id or rig.trunk]))[trunk_id or rig.trunk]


async def end(
    rig: Rig, *leases_: Lease, verdict: Verdict = Verdict.SILENT, rang: bool = False, worker: int = 0, code: int = 0
) -> None:
    results = [
        CallResult(
            call_id=one.call_id,
            lease_no=one.lease_no,
            outcome=Outcome.FAILED,
            ended_at=rig.clock.ms,
            sip_code=code or None,
            verdict=verdict,
            trunk_rang=rang,
        )
        for one in leases_
    ]
    async with rig.store.write() as tx:
        await calls.ended(tx, worker or rig.worker, results, rig.clock.ms, minute_seconds=60)


async def opened(rig: Rig) -> int:
    """A trunk that has just opened, with a task that waits for it."""
    task_id = await rig.new_task(40)
    await end(rig, *await rig.lease(5))
    assert (await breaker(rig)).opened_at == rig.clock.ms
    return task_id


async def probe(rig: Rig) -> Lease:
    (lease,) = await rig.lease()
    assert lease.probe
    return lease


def test_failures_open_it_and_everything_else_stays_queued(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(40)
        first = await rig.lease(5)
        assert not any(lease.probe for lease in first)
        await end(rig, *first[:4])
        assert (await breaker(rig)).strikes == 8
        assert (await breaker(rig)).opened_at is None
        await end(rig, first[4])
        now = rig.clock.ms
        assert await breaker(rig) == Breaker(
            strikes=10, failures=5, cause="no response", opened_at=now, retry_at=now + 10_000, tries=1, openings=1
        )
        batch = await rig.lease_batch()
        assert batch.leases == []
        assert batch.wake_us == (now + 10_000) * 1000
        assert batch.waiting[task_id].startswith("trunk t1 is shut: no response to 5 calls in a row; next try at ")
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine="sandbox", now_us=rig.clock.us) == batch.waiting
        assert (await rig.task(task_id)).queued == 35

    database.run(story)


def test_a_sign_of_life_between_two_failures_ends_their_run(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(40)
        held = await rig.lease(12)
        await end(rig, *held[:4])
        await end(rig, held[4], rang=True)
        assert (await breaker(rig)).strikes == 2
        await end(rig, held[5], verdict=Verdict.NEUTRAL)
        assert (await breaker(rig)).strikes == 2
        await end(rig, held[6], verdict=Verdict.ALIVE)
        assert await breaker(rig) == Breaker()

    database.run(story)


def test_a_result_of_another_worker_is_no_evidence(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(40)
        held = await rig.lease(8)
        await end(rig, *held, worker=rig.worker + 1)
        assert await breaker(rig) == Breaker()

    database.run(story)


def test_one_probe_at_a_time_and_its_ringing_closes(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        rig.clock.advance(10_000)
        lease = await probe(rig)
        assert (await breaker(rig)).probe_id == lease.call_id
        assert await rig.lease() == []
        rig.clock.advance(3000)
        async with rig.store.write() as tx:
            await breakers.call_rings(tx, rig.trunk, lease.call_id, rig.clock.ms)
        assert await breaker(rig) == Breaker(openings=1, closed_at=rig.clock.ms)
        batch = await rig.lease_batch()
        assert batch.closed_at == {rig.trunk: rig.clock.ms}
        assert len(batch.leases) > 5
        assert not any(lease.probe for lease in batch.leases)

    database.run(story)


def test_a_probe_that_fails_waits_longer(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        for wait in (20_000, 40_000, 80_000, 160_000, 300_000, 300_000):
            now = rig.clock.ms
            rig.clock.us = (await breaker(rig)).retry_at * 1000  # type: ignore[operator]  # it is open
            await end(rig, await probe(rig), verdict=Verdict.ERROR, code=503)
            assert (await breaker(rig)).retry_at == rig.clock.ms + wait
            assert rig.clock.ms > now

    database.run(story)


def test_a_probe_that_is_given_back_is_followed_at_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        rig.clock.advance(10_000)
        lease = await probe(rig)
        await rig.release(lease.call_id)
        assert (await breaker(rig)).probe_id is None
        rig.clock.advance(100)
        assert (await probe(rig)).call_id == lease.call_id

    database.run(story)


def test_a_lost_probe_does_not_block_for_ever(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        rig.clock.advance(10_000)
        lost = await probe(rig)
        rig.clock.advance(149_000)
        assert await rig.lease() == []
        rig.clock.advance(1100)
        second = await probe(rig)
        await end(rig, lost, verdict=Verdict.ALIVE)
        assert (await breaker(rig)).opened_at is not None, "the later probe decides"
        await end(rig, second, verdict=Verdict.ALIVE)
        assert (await breaker(rig)).opened_at is None

    database.run(story)


def test_one_dead_trunk_does_not_shut_another(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        other = await rig.new_trunk("t2")
        await rig.run_sql("UPDATE application SET trunk_id = :id", id=other)
        assert {lease.trunk_id for lease in await rig.lease()} == {other}
        assert await breaker(rig, other) == Breaker()

    database.run(story)


def test_the_headroom_limits_a_lease_by_trunk(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(40)
        asked: list[int] = []

        def headroom(trunk_id: int) -> int:
            asked.append(trunk_id)
            return 3 if len(asked) == 1 else 0

        for lease_no, expected in ((1, 3), (2, 0)):
            async with rig.store.write() as tx:
                batch = await leases.lease(
                    tx,
                    worker_id=rig.worker,
                    lease_no=lease_no,
                    engine="sandbox",
                    now_us=rig.clock.us,
                    horizon_us=100_000,
                    grace_us=250_000,
                    free_lines=100,
                    headroom=headroom,
                )
            assert len(batch.leases) == expected
            rig.clock.advance(1000)
        assert asked == [rig.trunk] * 2
        assert batch.waiting == {task_id: "trunk t1 has not responded to the last 30 calls"}

    database.run(story)


@pytest.mark.parametrize("change", ["reset", "host", "port", "username", "password", "channels"])
def test_by_hand_or_with_a_new_way_to_the_carrier_it_is_closed(database: Database, change: str) -> None:
    async def story(rig: Rig) -> None:
        await opened(rig)
        rig.clock.advance(1000)
        async with rig.store.write() as tx:
            if change == "reset":
                assert await trunks.reset(tx, "t1", rig.clock.ms)
                assert not await trunks.reset(tx, "nothing", rig.clock.ms)
            else:
                value = {"port": 5070, "channels": 500}.get(change, "x")
                await trunks.change(tx, "t1", now_ms=rig.clock.ms, **{change: value})
        after = await breaker(rig)
        assert (after.opened_at is None) == (change != "channels")
        assert bool(await rig.lease()) == (change != "channels")

    database.run(story)


def test_a_trunk_takes_its_breaker_along(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_trunk("spare")
        async with rig.store.write() as tx:
            assert await trunks.remove(tx, "spare")
        assert await rig.one("SELECT count(*) FROM breaker") == 1

    database.run(story)


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ("opened_at = 1", "ck_breaker_retry_at"),
        ("retry_at = 1", "ck_breaker_retry_at"),
        ("opened_at = 1, retry_at = 1", "ck_breaker_tries"),
        ("opened_at = 1, retry_at = 1, tries = 1", "ck_breaker_opened_for_a_reason"),
        ("probe_id = 1", "ck_breaker_probe_id"),
        ("tries = 1", "ck_breaker_tries"),
        ("failures = 1, strikes = 1", "ck_breaker_cause"),
        ("failures = 2, strikes = 1, cause = '503'", "ck_breaker_strikes"),
        ("strikes = -1", "ck_breaker_strikes"),
    ],
)
def test_a_breaker_that_cannot_be_is_refused(file_database: Database, values: str, constraint: str) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(IntegrityError, match=constraint):
            await rig.run_sql(f"UPDATE breaker SET {values}")

    file_database.run(story)
