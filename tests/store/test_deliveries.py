"""The courier's side of the outbox on every database: who serves a receiver, what may be sent, what is sent again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, text

from ringback.model.report import Form
from ringback.store import deliveries, report_endpoints
from ringback.store.deliveries import Outcome
from tests.store.reports import claim, deliver, deliver_all, due, mark, receiver, shown, told
from tests.store.rig import Database, Rig

LEASE_MS = 15_000


async def some(rig: Rig, numbers: int = 3) -> tuple[int, int]:
    """A receiver with the reports of a finished task. Returns its id and the task's."""
    to = await receiver(rig)
    task_id = await rig.new_task(numbers)
    await rig.run_all(task_id)
    return to, task_id


def test_one_courier_at_a_time_until_its_lease_ends(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to, _ = await some(rig)
        idle = await receiver(rig)
        assert await claim(rig, "one", lease_ms=LEASE_MS) == [to], "nobody serves what nothing is due for"
        assert await claim(rig, "two", lease_ms=LEASE_MS) == []
        rig.clock.advance(LEASE_MS // 2)
        assert await claim(rig, "one", lease_ms=LEASE_MS) == [to]
        rig.clock.advance(LEASE_MS // 2 + 1)
        assert await claim(rig, "two", lease_ms=LEASE_MS) == [], "it was renewed"
        rig.clock.advance(LEASE_MS)
        assert await claim(rig, "two", lease_ms=LEASE_MS) == [to]
        first = (await due(rig, to))[0]
        assert not await mark(rig, to, [Outcome(report_id=first.id, delivered=True, status=200)], "one")
        assert await rig.one("SELECT count(*) FROM report WHERE state = 'delivered'") == 0
        assert await mark(rig, to, [Outcome(report_id=first.id, delivered=True, status=200)], "two")
        async with rig.store.write() as tx:
            await deliveries.release(tx, "two")
        assert await claim(rig, "one", lease_ms=LEASE_MS) == [to]
        async with rig.store.write() as tx:
            await report_endpoints.disable(tx, to, "a test", rig.clock.ms)
        assert await claim(rig, "one", lease_ms=LEASE_MS) == []
        assert idle

    database.run(story)


def test_a_failure_is_due_later_and_a_given_up_one_holds_up_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to, task_id = await some(rig, 2)
        await claim(rig)
        one, two = await due(rig, to)
        await mark(rig, to, [Outcome(report_id=one.id, due_at=rig.clock.ms + 5000, status=500, error="HTTP 500")])
        await deliver(rig, to, [two])
        assert await shown(rig, to) == [], "the end of the task waits for the call"
        rig.clock.advance(5000)
        (again,) = await due(rig, to)
        assert (again.id, again.attempts) == (one.id, 1)
        assert await due(rig, to, in_flight=[one.id]) == []
        await mark(rig, to, [Outcome(report_id=one.id, status=500, error="HTTP 500")])
        assert await shown(rig, to) == [("task.finished", task_id)]
        async with rig.store.read() as tx:
            (standing,) = await report_endpoints.standings(tx, rig.account)
        assert (standing.pending, standing.dead, standing.last_error) == (1, 1, "HTTP 500")

    database.run(story)


def test_what_is_sent_again(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to, task_id = await some(rig, 2)
        other = await rig.new_task(1)
        await rig.run_all(other)
        await deliver_all(rig, to)
        everything = await told(rig, to)

        async def replay(**which: object) -> list[tuple[str, int]]:
            async with rig.store.write() as tx:
                count = await deliveries.replay(tx, rig.clock.ms, **which)  # type: ignore[arg-type]  # a table
            sent = [one for wave in await deliver_all(rig, to) for one in wave]
            assert len(sent) == count
            return sent

        assert sorted(await replay(task_id=task_id)) == sorted(everything[:3])
        assert await replay(dead_only=True) == []
        first = await rig.one("SELECT min(id) FROM report")
        assert await replay(report_ids=[first]) == everything[:1]
        assert sorted(await replay(endpoint_id=to)) == sorted(everything)
        ids = [row.id for row in await rig.rows("SELECT id FROM report ORDER BY id")]
        assert ids == list(range(first, first + len(everything))), "no report was made anew"

    database.run(story)


def test_back_again_and_enabled_again(database: Database) -> None:
    """What has failed is due at once; what was never tried keeps its time, such as a message for later."""

    async def story(rig: Rig) -> None:
        to, _ = await some(rig, 2)
        await claim(rig)
        one, two = await due(rig, to)
        later = rig.clock.ms + 10**7
        await mark(rig, to, [Outcome(report_id=one.id, due_at=later, status=503, error="x")])
        await rig.run_sql("UPDATE report SET due_at = :at WHERE id = :id", at=later, id=two.id)
        async with rig.store.write() as tx:
            await deliveries.bring_forward(tx, "somebody else", to, rig.clock.ms)
        assert await due(rig, to) == []
        async with rig.store.write() as tx:
            await deliveries.bring_forward(tx, "courier-1", to, rig.clock.ms)
        assert [each.id for each in await due(rig, to)] == [one.id]
        await mark(rig, to, [Outcome(report_id=one.id, due_at=later, status=503, error="x")])
        async with rig.store.write() as tx:
            await report_endpoints.disable(tx, to, "a test", rig.clock.ms)
            assert await report_endpoints.enable(tx, to, rig.clock.ms)
        assert [each.id for each in await due(rig, to)] == [one.id]

    database.run(story)


def test_removed_with_all_its_reports(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to, _ = await some(rig)
        kept = await receiver(rig, Form.SINGLE)
        async with rig.store.write() as tx:
            assert await report_endpoints.remove(tx, to)
            assert not await report_endpoints.remove(tx, to)
        assert await rig.one("SELECT count(*) FROM report WHERE endpoint_id = :id", id=to) == 0
        await rig.run_all(await rig.new_task(1))
        assert len(await told(rig, kept)) == 1

    database.run(story)


def test_old_deliveries_go_page_by_page(database: Database) -> None:
    async def story(rig: Rig) -> None:
        to, _ = await some(rig, 9)
        dead, *calls = await due(rig, to)
        await claim(rig)
        await mark(rig, to, [Outcome(report_id=dead.id, status=500, error="x")])
        await deliver(rig, to, calls)
        await deliver_all(rig, to)
        before = rig.clock.ms + 1
        rig.clock.advance(60_000)
        await rig.run_all(await rig.new_task(3))
        await deliver_all(rig, to)
        at, pages = 0, 0
        while True:
            async with rig.store.write() as tx:
                at = await deliveries.forget_delivered(tx, before, at, 4)
            pages += 1
            if not at:
                break
            assert pages < 10
        assert pages == 4, "ten old and four young, by four"
        async with rig.store.read() as tx:
            left = (await tx.execute(text("SELECT state FROM report ORDER BY id"))).all()
        assert [row.state for row in left] == ["dead", *["delivered"] * 4], "the young ones stay"

    database.run(story)


def test_what_failed_before_is_not_looked_through(file_database: Database) -> None:
    """Whether something waits is asked of the index of barriers, however many calls of the flow wait to be tried."""

    async def story(rig: Rig) -> None:
        to, _ = await some(rig)
        run: list[tuple[str, Any]] = []

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            run.append((statement, parameters))

        event.listen(rig.store._reader.sync_engine, "before_cursor_execute", note)
        await due(rig, to)
        event.remove(rig.store._reader.sync_engine, "before_cursor_execute", note)
        ((statement, parameters),) = [one for one in run if "FROM report" in one[0]]
        async with rig.store.read() as tx:
            plan = [row[3] for row in await tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        assert any("earlier" in step and "ix_report_barrier" in step for step in plan), plan

    file_database.run(story)
