"""Routes in the store: which trunk carries which number, and lanes that follow when routes change."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ringback.model.audience import RecallType
from ringback.model.outcome import Outcome
from ringback.model.routing import RoutePrefixes
from ringback.model.windows import Window
from ringback.store import outlook, routes, trunks
from ringback.store.routes import RouteRefused
from ringback.store.schema import call
from ringback.store.trunks import TrunkInUse
from tests.store.rig import ENGINE, Database, Rig, recall

BERLIN, MUNICH, LONDON, PARIS = "493012345600", "498912345600", "442012345600", "331234567800"


async def lanes(rig: Rig, task_id: int) -> dict[tuple[str, str], int]:
    """How many numbers are queued, by zone and prefix; empty lanes left out."""
    rows = await rig.rows("SELECT zone, route_prefix, queued FROM lane WHERE task_id = :id", id=task_id)
    return {(row.zone, row.route_prefix): row.queued for row in rows if row.queued}


async def carried(rig: Rig) -> dict[str, int]:
    """Lease all that may go now: which trunk got which number."""
    return {lease.callee: lease.trunk_id for lease in await rig.lease()}


async def add(rig: Rig, prefix: str, trunk_id: int, account_id: int | None = None, **more: int) -> None:
    more = {"priority": 0, "weight": 1} | more
    async with rig.store.write() as tx:
        await routes.add(tx, account_id=account_id, prefix=prefix, trunk_id=trunk_id, **more)


async def remove(rig: Rig, prefix: str, trunk_id: int, account_id: int | None = None) -> bool:
    async with rig.store.write() as tx:
        return await routes.remove(tx, account_id=account_id, prefix=prefix, trunk_id=trunk_id)


async def reasons(rig: Rig, task_id: int) -> dict[tuple[str, str], str]:
    async with rig.store.read() as tx:
        return await outlook.stuck_lanes(tx, task_id, engine=ENGINE, now_us=rig.clock.us)


def test_the_longest_prefix_decides(database: Database) -> None:
    async def story(rig: Rig) -> None:
        german, berlin, rest = [await rig.new_trunk(name) for name in ("german", "berlin", "rest")]
        await add(rig, "49", german)
        await add(rig, "4930", berlin)
        await add(rig, "", rest)
        task_id = await rig.new_task([BERLIN, MUNICH, LONDON])
        assert {prefix for _, prefix in await lanes(rig, task_id)} == {"4930", "49", ""}
        assert await carried(rig) == {BERLIN: berlin, MUNICH: german, LONDON: rest}

    database.run(story)


def test_an_accounts_own_routes_go_before_shared_ones(database: Database) -> None:
    async def story(rig: Rig) -> None:
        own, shared = await rig.new_trunk("own"), await rig.new_trunk("shared")
        async with rig.store.write() as tx:
            await trunks.give_to(tx, own, rig.account)
        await add(rig, "4930", shared)
        await add(rig, "49", own, rig.account)
        await add(rig, "44", shared)
        await rig.new_task([BERLIN, MUNICH, LONDON])
        other = await rig.new_account("other")
        await rig.new_task([BERLIN, LONDON], account=other)
        got = Counter((lease.task_id, lease.callee, lease.trunk_id) for lease in await rig.lease())
        assert got == Counter(
            [(1, BERLIN, own), (1, MUNICH, own), (1, LONDON, shared), (2, BERLIN, shared), (2, LONDON, shared)]
        )

    database.run(story)


def test_a_number_without_a_route_waits_with_a_reason(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "44", rig.trunk)
        task_id = await rig.new_task([BERLIN, MUNICH])
        both = await rig.new_task([LONDON, PARIS])
        batch = await rig.lease_batch()
        assert [lease.callee for lease in batch.leases] == [LONDON]
        assert batch.waiting == {task_id: "no route for numbers that begin with 49"}
        # Also where other numbers of the task do go.
        assert await reasons(rig, both) == {("Europe/Berlin", ""): "no route for numbers that begin with 3"}
        await rig.end(*[lease.call_id for lease in batch.leases])
        assert (await rig.lease_batch()).waiting[both] == "no route for numbers that begin with 3"
        await add(rig, "", rig.trunk)
        assert set(await carried(rig)) == {BERLIN, MUNICH, PARIS}

    database.run(story)


def test_the_applications_trunk_carries_what_no_route_does(database: Database) -> None:
    async def story(rig: Rig) -> None:
        london, usual = await rig.new_trunk("london"), await rig.new_trunk("usual")
        await add(rig, "44", london)
        await rig.run_sql("UPDATE application SET trunk_id = :id", id=usual)
        await rig.new_task([BERLIN, LONDON])
        assert await carried(rig) == {BERLIN: usual, LONDON: london}

    database.run(story)


def test_without_routes_the_first_trunk_that_the_account_may_use(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        mine = await rig.new_trunk("mine")
        async with rig.store.write() as tx:
            await trunks.give_to(tx, rig.trunk, other[0])
            await trunks.give_to(tx, mine, rig.account)
        await rig.new_task([BERLIN])
        await rig.new_task([BERLIN], account=other)
        assert {lease.task_id: lease.trunk_id for lease in await rig.lease()} == {1: mine, 2: rig.trunk}
        # A route of another account is none of ours.
        await add(rig, "44", rig.trunk, other[0])
        third = await rig.new_account("third")
        lonely = await rig.new_task([BERLIN], account=third)
        await rig.new_task([MUNICH])
        batch = await rig.lease_batch()
        assert [lease.trunk_id for lease in batch.leases] == [mine]
        assert batch.waiting == {lonely: "there is no trunk to dial through"}

    database.run(story)


def test_another_accounts_trunk_is_never_used_even_when_the_application_names_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        await rig.run_sql("UPDATE application SET trunk_id = :id", id=rig.trunk)
        await rig.run_sql("UPDATE trunk SET account_id = :id", id=other[0])
        task_id = await rig.new_task(2)
        batch = await rig.lease_batch()
        assert (batch.leases, batch.waiting) == ([], {task_id: "there is no trunk to dial through"})

    database.run(story)


def test_a_route_needs_a_trunk_that_its_accounts_may_use(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        mine = await rig.new_trunk("mine")
        async with rig.store.write() as tx:
            await trunks.give_to(tx, mine, rig.account)
        with pytest.raises(RouteRefused, match="belongs to another account"):
            await add(rig, "49", mine, other[0])
        with pytest.raises(RouteRefused, match="belongs to one account"):
            await add(rig, "49", mine)
        await add(rig, "49", mine, rig.account)
        with pytest.raises(RouteRefused, match="already"):
            await add(rig, "49", mine, rig.account)
        await add(rig, "49", rig.trunk)
        with pytest.raises(RouteRefused, match="already"):
            await add(rig, "49", rig.trunk)
        with pytest.raises(ValueError, match="digits"):
            await add(rig, "49\n", rig.trunk)
        async with rig.store.write() as tx:
            with pytest.raises(TrunkInUse, match="routes of others"):
                await trunks.give_to(tx, rig.trunk, rig.account)
            with pytest.raises(TrunkInUse, match="routes go through"):
                await trunks.remove(tx, "mine")
            assert [(one.prefix, one.trunk, one.account) for one in await routes.everyone(tx)] == [
                ("49", "t1", None),
                ("49", "mine", "acme"),
            ]
        assert not await remove(rig, "49", mine)
        assert await remove(rig, "49", mine, rig.account)

    database.run(story)


def test_each_trunk_keeps_its_own_channels_and_rate(database: Database) -> None:
    async def story(rig: Rig) -> None:
        slow = await rig.new_trunk("slow", rate=10.0)
        small = await rig.new_trunk("small", rate=1000.0, channels=4)
        for trunk_id in (slow, small):
            await add(rig, "49", trunk_id)
        await rig.new_task(50)
        batch = await rig.lease_batch()
        slots: dict[int, list[int]] = {}
        for lease in batch.leases:
            slots.setdefault(lease.trunk_id, []).append(lease.slot_us)
        assert {trunk_id: len(found) for trunk_id, found in slots.items()} == {slow: 2, small: 4}
        assert slots[slow][1] - slots[slow][0] == 100_000
        # Numbers leave in the order in which they were given, whichever trunk takes them.
        assert [lease.callee for lease in batch.leases] == [f"49{number:08}" for number in range(6)]
        assert [lease.slot_us for lease in batch.leases] == sorted(lease.slot_us for lease in batch.leases)

    database.run(story)


def test_lanes_follow_when_routes_come_and_go(database: Database) -> None:
    async def story(rig: Rig) -> None:
        berlin = await rig.new_trunk("berlin")
        numbers = [BERLIN, MUNICH, "493012345601", LONDON, "493012345602"]
        task_id = await rig.new_task(numbers)
        assert await lanes(rig, task_id) == {("Europe/Berlin", ""): 5}
        # The cursor is behind the first two when the others move.
        first = await rig.lease(2)
        await add(rig, "4930", berlin)
        assert await lanes(rig, task_id) == {("Europe/Berlin", ""): 1, ("Europe/Berlin", "4930"): 2}
        # A call given back goes to the lane of today's routes.
        await rig.release(*[lease.call_id for lease in first])
        assert await lanes(rig, task_id) == {("Europe/Berlin", ""): 2, ("Europe/Berlin", "4930"): 3}
        await rig.check_counters()
        await remove(rig, "4930", berlin)
        assert await lanes(rig, task_id) == {("Europe/Berlin", ""): 5}
        await add(rig, "49", berlin)
        await add(rig, "44", rig.trunk)
        await rig.check_counters()
        # In the order in which they were given again, each through its trunk.
        leased = await rig.lease(5)
        assert [lease.callee for lease in leased if lease.trunk_id == berlin] == [
            BERLIN,
            MUNICH,
            numbers[2],
            numbers[4],
        ]
        assert [lease.callee for lease in leased if lease.trunk_id == rig.trunk] == [LONDON]

    database.run(story)


def test_a_number_that_moves_to_a_lane_behind_its_cursor_is_not_lost(database: Database) -> None:
    async def story(rig: Rig) -> None:
        idle = await rig.new_trunk("idle", engine="sip")
        await add(rig, "49", idle)
        await add(rig, "", rig.trunk)
        await rig.new_task([BERLIN, LONDON, PARIS])
        assert set(await carried(rig)) == {LONDON, PARIS}
        await remove(rig, "49", idle)
        await rig.check_counters()
        assert await carried(rig) == {BERLIN: rig.trunk}

    database.run(story)


def test_an_accounts_route_for_all_takes_numbers_from_shared_routes_and_gives_them_back(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "49", rig.trunk)
        task_id = await rig.new_task([BERLIN, LONDON])
        before = await lanes(rig, task_id)
        assert {prefix for _, prefix in before} == {"49", ""}
        own = await rig.new_trunk("own")
        await add(rig, "", own, rig.account)
        assert await lanes(rig, task_id) == {("Europe/Berlin", ""): 2}
        await rig.check_counters()
        await remove(rig, "", own, rig.account)
        assert await lanes(rig, task_id) == before
        await add(rig, "", own)
        assert await lanes(rig, task_id) == before
        assert await carried(rig) == {BERLIN: rig.trunk, LONDON: own}

    database.run(story)


def test_a_second_trunk_of_a_route_needs_no_new_lanes(database: Database) -> None:
    async def story(rig: Rig) -> None:
        second = await rig.new_trunk("second")
        await add(rig, "49", rig.trunk)
        task_id = await rig.new_task(4)
        await add(rig, "49", second, weight=1)
        assert Counter((await carried(rig)).values()) == {rig.trunk: 2, second: 2}
        await remove(rig, "49", rig.trunk)
        assert await lanes(rig, task_id) == {}
        assert (await rig.rows("SELECT DISTINCT route_prefix FROM lane"))[0].route_prefix == "49"

    database.run(story)


def test_only_tasks_of_the_accounts_concerned_change(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_account("other")
        own, theirs = await rig.new_task([BERLIN]), await rig.new_task([BERLIN], account=other)
        waiting = await rig.new_task([BERLIN], send_in_ms=1000)
        suspended = await rig.new_task([BERLIN])
        await rig.suspend(suspended)
        await add(rig, "49", rig.trunk, rig.account)
        for task_id in (own, waiting, suspended):
            assert await lanes(rig, task_id) == {("Europe/Berlin", "49"): 1}
        assert await lanes(rig, theirs) == {("Europe/Berlin", ""): 1}

    database.run(story)


def test_a_round_takes_the_routes_of_its_day(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "49", rig.trunk)
        task_id = await rig.new_task([BERLIN, MUNICH, LONDON], flow=recall(RecallType.FAILED))
        await add(rig, "44", rig.trunk)
        await rig.run_all(task_id, [(Outcome.BUSY, None)] * 3)
        berlin = await rig.new_trunk("berlin")
        await add(rig, "4930", berlin)
        round_id = await rig.start_next_node()
        assert round_id is not None
        assert {prefix: count for (_, prefix), count in (await lanes(rig, round_id)).items()} == {
            "4930": 1,
            "49": 1,
            "44": 1,
        }
        assert (await carried(rig))[BERLIN] == berlin

    database.run(story)


def test_windows_and_routes_make_lanes_together(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "49", rig.trunk)
        # 08:00 UTC is 09:00 in Berlin.
        task_id = await rig.new_task([BERLIN, LONDON], windows=(Window(9 * 60, 10 * 60),))
        batch = await rig.lease_batch()
        assert [lease.callee for lease in batch.leases] == [BERLIN]
        assert set(await reasons(rig, task_id)) == {("Europe/Berlin", "")}

    database.run(story)


def test_a_worker_that_gives_back_after_its_route_went_loses_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "49", rig.trunk)
        task_id = await rig.new_task([BERLIN])
        (lease,) = await rig.lease()
        await add(rig, "44", rig.trunk)
        await remove(rig, "49", rig.trunk)
        await rig.release(lease.call_id)
        assert (await rig.lease_batch()).waiting == {task_id: "no route for numbers that begin with 49"}
        await add(rig, "", rig.trunk)
        assert list(await carried(rig)) == [BERLIN]

    database.run(story)


prefix_sets = st.frozensets(st.text("0149", max_size=5), max_size=5)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    callees=st.lists(st.text("0149", min_size=6, max_size=18), min_size=1, max_size=8, unique=True),
    own=prefix_sets,
    shared=prefix_sets,
)
def test_the_prefix_in_sql_is_that_of_the_rules(
    callees: list[str], own: frozenset[str], shared: frozenset[str]
) -> None:
    """At intake Python finds it, on recall and when routes change SQL does: they agree."""

    async def main() -> None:
        async with Database("sqlite-memory", "sqlite://").opened() as rig:
            await rig.furnish()
            known = RoutePrefixes(own, shared)
            expected = {callee: known.of(callee) for callee in callees}
            before = await rig.new_task(callees, started=False)
            for prefix in own:
                await add(rig, prefix, rig.trunk, rig.account)
            for prefix in shared:
                await add(rig, prefix, rig.trunk)
            at_intake = await rig.new_task(callees, started=False)
            async with rig.store.read() as tx:
                column = routes.prefix_column(await routes.prefixes(tx, rig.account), rig.account)
                selected = {
                    row.callee: row.prefix
                    for row in await tx.execute(
                        select(call.c.callee, column.label("prefix")).where(call.c.task_id == before)
                    )
                }
            stored = await rig.rows("SELECT task_id, callee, route_prefix FROM call")
            assert selected == expected
            for task_id in (before, at_intake):
                assert {row.callee: row.route_prefix for row in stored if row.task_id == task_id} == expected
            await rig.check_counters()

    asyncio.run(main())
