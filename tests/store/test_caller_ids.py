"""What a trunk dials and shows: rewriting, its pool of caller ids in turn, and what it refuses to show."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from ringback.store import caller_ids, candidates, outlook, routes, trunks
from tests.store.rig import ENGINE, Database, Rig

BERLIN, LONDON = "493012345600", "442012345600"


async def own(rig: Rig, trunk_id: int, *numbers: str) -> None:
    async with rig.store.write() as tx:
        await caller_ids.add(tx, trunk_id, numbers)


async def pool(rig: Rig, trunk_id: int) -> list[str]:
    async with rig.store.read() as tx:
        return await caller_ids.of_trunk(tx, trunk_id)


async def set_up(rig: Rig, **changes: Any) -> None:
    async with rig.store.write() as tx:
        await trunks.change(tx, "t1", now_ms=rig.clock.ms, **changes)


async def task_with(rig: Rig, wanted: str, count: int = 1) -> int:
    task_id = await rig.new_task(count, started=False)
    await rig.run_sql("UPDATE task SET caller_id = :wanted WHERE id = :id", wanted=wanted, id=task_id)
    await rig.submit()
    return task_id


def test_a_number_is_dialled_as_its_trunk_wants_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await set_up(rig, strip="49", prefix="0")
        await rig.new_task([BERLIN, LONDON])
        assert [(lease.callee, lease.dialled) for lease in await rig.lease()] == [
            (BERLIN, "03012345600"),
            (LONDON, "0" + LONDON),
        ]
        assert {row.callee for row in await rig.rows("SELECT callee FROM call")} == {BERLIN, LONDON}

    database.run(story)


def test_a_number_of_which_nothing_is_left_is_skipped(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await set_up(rig, strip=BERLIN, prefix="+")
        task_id = await rig.new_task([BERLIN, LONDON])
        assert [lease.dialled for lease in await rig.lease()] == ["+" + LONDON]
        (row,) = await rig.rows("SELECT reason FROM call WHERE state = 'skipped'")
        assert row.reason == f"trunk t1 cannot dial it: nothing is left of the number without {BERLIN}"
        assert (await rig.task(task_id)).skipped == 1

    database.run(story)


@pytest.mark.parametrize("changes", [{"strip": "4 9"}, {"prefix": "0;x"}, {"prefix": "+\r\n"}, {"prefix": "1" * 21}])
def test_what_is_no_number_cannot_be_stripped_or_added(database: Database, changes: dict[str, str]) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(ValueError, match="must be"):
            await set_up(rig, **changes)
        async with rig.store.write() as tx:
            with pytest.raises(ValueError, match="must be"):
                await trunks.add(
                    tx, name="new", engine=ENGINE, calls_per_second=1, channels=1, now_ms=rig.clock.ms, **changes
                )
            with pytest.raises(ValueError, match="must be"):
                await caller_ids.add(tx, rig.trunk, [*changes.values()])

    database.run(story)


@pytest.mark.parametrize("hostile", ["+\r\nX-Evil: 1", "0@evil", "0;x=", "٠", "9" * 33])
def test_a_prefix_that_got_into_the_database_some_other_way_is_never_dialled(database: Database, hostile: str) -> None:
    async def story(rig: Rig) -> None:
        if database.kind == "postgresql" and len(hostile) > 20:
            with pytest.raises(DBAPIError, match="value too long"):
                await rig.run_sql("UPDATE trunk SET prefix = :prefix", prefix=hostile)
            return
        await rig.run_sql("UPDATE trunk SET prefix = :prefix", prefix=hostile)
        task_id = await rig.new_task([BERLIN])
        assert await rig.lease() == []
        (row,) = await rig.rows("SELECT state, reason FROM call")
        assert tuple(row) == ("skipped", "trunk t1 cannot dial it: what would be sent is no number")
        assert (await rig.task(task_id)).state == "finished"

    database.run(story)


def test_the_least_recently_used_number_goes_next(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await own(rig, rig.trunk, "4930001", "4930002", "4930003")
        await own(rig, rig.trunk, "4930002")
        await rig.new_task(7)
        shown = [lease.caller_id for lease in await rig.lease(2)]
        shown += [lease.caller_id for lease in await rig.lease(5)]
        assert shown == [f"493000{number}" for number in (1, 2, 3, 1, 2, 3, 1)]
        assert await pool(rig, rig.trunk) == ["4930002", "4930003", "4930001"]
        await own(rig, rig.trunk, "4930004")
        assert (await pool(rig, rig.trunk))[0] == "4930004"

    database.run(story)


def test_each_trunk_has_a_turn_of_its_own(database: Database) -> None:
    async def story(rig: Rig) -> None:
        second = await rig.new_trunk("second")
        await own(rig, rig.trunk, "11", "12")
        await own(rig, second, "21")
        async with rig.store.write() as tx:
            for trunk_id in (rig.trunk, second):
                await routes.add(tx, account_id=None, prefix="49", trunk_id=trunk_id, priority=0, weight=1)
        await rig.new_task(6)
        by_trunk: dict[int, list[str]] = {}
        for lease in await rig.lease():
            by_trunk.setdefault(lease.trunk_id, []).append(lease.caller_id)
        assert by_trunk == {rig.trunk: ["11", "12", "11"], second: ["21"] * 3}

    database.run(story)


def test_what_the_task_wants_goes_before_all(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await own(rig, rig.trunk, "4930001", "4930002")
        await rig.run_sql("UPDATE application SET caller_id = '4930002'")
        await task_with(rig, "4930001")
        assert [lease.caller_id for lease in await rig.lease()] == ["4930001"]
        # It was used, so it is not the next in turn.
        assert await pool(rig, rig.trunk) == ["4930002", "4930001"]

    database.run(story)


@pytest.mark.parametrize(
    ("rule", "owned", "usual", "shown"),
    [
        (None, [], "4930999", "4930999"),
        (None, [], "", ""),
        (None, ["4930001"], "4930999", "4930001"),
        (None, ["4930001", "4930999"], "4930999", "4930999"),
        ("any", ["4930001"], "4930999", "4930999"),
        ("any", ["4930001"], "", "4930001"),
        ("owned", [], "4930999", ""),
    ],
)
def test_without_a_wish_the_applications_number_if_allowed_else_the_pool_else_none(
    database: Database, rule: str | None, owned: list[str], usual: str, shown: str
) -> None:
    async def story(rig: Rig) -> None:
        await own(rig, rig.trunk, *owned)
        async with rig.store.write() as tx:
            await trunks.allow_caller_ids(tx, rig.trunk, rule)
        await rig.run_sql("UPDATE application SET caller_id = :usual", usual=usual)
        await rig.new_task(1)
        assert [lease.caller_id for lease in await rig.lease()] == [shown]

    database.run(story)


def test_a_number_that_went_from_the_pool_is_not_replaced_by_another(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await own(rig, rig.trunk, "4930001", "4930002")
        task_id = await task_with(rig, "4930001", 2)
        assert [lease.caller_id for lease in await rig.lease(1)] == ["4930001"]
        async with rig.store.write() as tx:
            assert await caller_ids.remove(tx, rig.trunk, ["4930001", "77"]) == {"77"}
        batch = await rig.lease_batch()
        reason = "caller id 4930001 is not one that trunk t1 owns"
        assert (batch.leases, batch.waiting) == ([], {task_id: reason})
        async with rig.store.read() as tx:
            stuck = await outlook.stuck_lanes(tx, task_id, engine=ENGINE, now_us=rig.clock.us)
        assert stuck == {("Europe/Berlin", ""): reason}
        await own(rig, rig.trunk, "4930001")
        assert [lease.caller_id for lease in await rig.lease()] == ["4930001"]

    database.run(story)


def test_calls_go_through_the_trunks_that_may_show_the_number(database: Database) -> None:
    async def story(rig: Rig) -> None:
        second, third = await rig.new_trunk("second"), await rig.new_trunk("third")
        await own(rig, rig.trunk, "11")
        await own(rig, second, "22")
        await own(rig, third, "11", "33")
        async with rig.store.write() as tx:
            for priority, trunk_id in enumerate((second, rig.trunk, third)):
                await routes.add(tx, account_id=None, prefix="", trunk_id=trunk_id, priority=priority, weight=1)
        await task_with(rig, "11", 2)
        assert {(lease.trunk_id, lease.caller_id) for lease in await rig.lease()} == {(rig.trunk, "11")}

    database.run(story)


def test_who_is_refused_before_anything_is_dialled(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async def refused(task_id: int, engine: str = ENGINE) -> str | None:
            async with rig.store.read() as tx:
                return await candidates.caller_id_refused(tx, task_id, engine=engine)

        task_id = await task_with(rig, "4930999")
        assert await refused(task_id) is None
        await own(rig, rig.trunk, "4930001")
        assert await refused(task_id) == "caller id 4930999 is not one that trunk t1 owns"
        assert await refused(await task_with(rig, "")) is None
        assert await refused(await task_with(rig, "4930001")) is None
        # Without any trunk it waits for one.
        assert await refused(task_id, "sip") is None
        # Some of its numbers may go.
        second = await rig.new_trunk("second")
        async with rig.store.write() as tx:
            await routes.add(tx, account_id=None, prefix="4900000001", trunk_id=second, priority=0, weight=1)
            await routes.add(tx, account_id=None, prefix="", trunk_id=rig.trunk, priority=0, weight=1)
        assert await refused(await task_with(rig, "4930999", 2)) is None

    database.run(story)


def test_a_trunk_goes_with_its_numbers(database: Database) -> None:
    async def story(rig: Rig) -> None:
        spare = await rig.new_trunk("spare")
        await own(rig, spare, "11")
        async with rig.store.write() as tx:
            assert await trunks.remove(tx, "spare")
        assert await rig.one("SELECT count(*) FROM caller_id") == 0

    database.run(story)
