"""Whole campaigns over several trunks: what the engine is asked to dial, through which trunk, and never twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from ringback.clock import VirtualClock
from ringback.model.states import TaskState
from ringback.store import caller_ids, records, routes, trunks
from ringback.store.database import News
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import Campaign, campaign, failed_flow, numbers

if TYPE_CHECKING:
    from ringback.telephony.port import DialOrder, Leg


class Watched(SandboxEngine):
    """Notes every order with the instant at which it came, monotonic microseconds."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.at = clock.monotonic
        self.orders: list[tuple[int, DialOrder]] = []

    async def dial(self, order: DialOrder) -> Leg:
        self.orders.append((round(self.at() * 1_000_000), order))
        return await super().dial(order)  # type: ignore[return-value]  # a Leg of the sandbox


async def add_trunk(
    made: Campaign, name: str, *, rate: float, channels: int, prefixes: tuple[str, ...], **more: str
) -> None:
    async with made.store.write() as tx:
        trunk_id = await trunks.add(
            tx,
            name=name,
            engine="sandbox",
            host=name,
            calls_per_second=rate,
            channels=channels,
            now_ms=made.clock.now_ms(),
            **more,  # type: ignore[arg-type]  # strip and prefix
        )
        await caller_ids.add(tx, trunk_id, [f"{len(name)}001", f"{len(name)}002"])
        for prefix in prefixes:
            await routes.add(tx, account_id=None, prefix=prefix, trunk_id=trunk_id, priority=0, weight=1)


def test_a_campaign_over_three_trunks_and_its_rounds() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Watched(clock)
        german, british = numbers(200, "4930"), numbers(100, "4420")
        async with campaign(clock, engine=engine) as made:
            # Two share the German numbers, one by one, and write them in their own ways.
            await add_trunk(made, "de", rate=10, channels=30, prefixes=("49",), strip="49", prefix="0")
            await add_trunk(made, "german", rate=25, channels=60, prefixes=("49",), prefix="+")
            await add_trunk(made, "uk", rate=5, channels=200, prefixes=("44",), prefix="00")
            task_id, flow_id = await made.create(german + british, flow=failed_flow(2))
            made.start()
            await made.until_task(task_id)
            await made.until_flow(flow_id)
            async with made.store.read() as tx:
                records_of_it = [one async for one in records.listed(tx, task_id)]
            by_trunk = Counter(one.trunk for one in records_of_it)
            assert by_trunk["uk"] == 100
            assert by_trunk["de"] + by_trunk["german"] == 200
            assert by_trunk["de"] > 20
            assert by_trunk["german"] > 20
            # Records keep the numbers as they were given.
            assert {one.callee for one in records_of_it} == {*german, *british}
        assert len({order.call_id for _, order in engine.orders}) == len(engine.orders)
        starts: dict[str, list[int]] = defaultdict(list)
        shown: dict[str, list[str]] = defaultdict(list)
        for at_us, order in engine.orders:
            host = order.destination.host
            starts[host].append(at_us)
            shown[host].append(order.caller_id)
            assert order.callee.startswith({"de": "030", "german": "+4930", "uk": "004420"}[host])
        for host, rate in {"de": 10, "german": 25, "uk": 5}.items():
            assert all(later - earlier >= 1_000_000 // rate - 1 for earlier, later in pairwise(starts[host]))
            # Two numbers in turn.
            assert all(one != other for one, other in pairwise(shown[host]))

    clock.run(main())


def test_routes_that_change_in_the_middle_neither_lose_nor_repeat_a_number() -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Watched(clock)
        everyone = numbers(400)
        async with campaign(clock, engine=engine, rate=20) as made:
            task_id, _ = await made.create(everyone)
            made.start()
            await clock.sleep(5)
            # No route for these numbers any more: they wait.
            await add_trunk(made, "uk", rate=5, channels=200, prefixes=("44",))
            await clock.sleep(2)
            before = len(engine.orders)
            await clock.sleep(3600)
            assert len(engine.orders) == before < 400
            assert (await made.task(task_id)).state is TaskState.CALLING
            await add_trunk(made, "berlin", rate=50, channels=200, prefixes=("4930", "49"))
            made.store.announce(News.WORK)
            task = await made.until_task(task_id)
            assert task.called == 400
        assert sorted(order.callee for _, order in engine.orders) == sorted(everyone)
        assert Counter(order.destination.host for _, order in engine.orders) == {"": before, "berlin": 400 - before}

    clock.run(main())
