"""The engine's nodes in the store: the dialler reports them, the operator drains them, neither overwrites the other."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from ringback.model.engine_node import STALE_MS, NodeState, SeenNode
from ringback.store import engine_nodes, leases, outlook
from tests.store.rig import ENGINE, Database, Rig

A = NodeState(name="a:8088", draining=False, trouble="", live_calls=3, lines=300, weight=2, placed=70)
B = NodeState(name="b:8088", draining=False, trouble="connection refused", live_calls=0, lines=10, weight=1, placed=0)


async def report(rig: Rig, *states: NodeState, engine: str = ENGINE) -> None:
    async with rig.store.write() as tx:
        await engine_nodes.report(tx, rig.worker, engine, states, rig.clock.ms)


async def everyone(rig: Rig) -> list[SeenNode]:
    async with rig.store.read() as tx:
        return await engine_nodes.everyone(tx, rig.clock.ms)


async def drain(rig: Rig, name: str, *, on: bool = True) -> SeenNode | None:
    async with rig.store.write() as tx:
        return await engine_nodes.set_draining(tx, name, rig.clock.ms, on=on)


async def to_drain(rig: Rig) -> frozenset[str]:
    async with rig.store.write() as tx:
        return await engine_nodes.to_drain(tx, rig.worker)


async def why_none(rig: Rig, engine: str = ENGINE) -> str:
    async with rig.store.read() as tx:
        return await engine_nodes.why_none(tx, engine, rig.clock.ms)


def as_seen(rig: Rig, state: NodeState, *, draining: bool = False) -> SeenNode:
    return SeenNode(**msgspec.structs.asdict(state) | {"draining": draining}, seen_at=rig.clock.ms)


def test_what_was_reported_last_is_listed_by_name(database: Database) -> None:
    async def story(rig: Rig) -> None:
        assert await everyone(rig) == []
        await report(rig, B, A)
        assert await everyone(rig) == [as_seen(rig, A), as_seen(rig, B)]
        rig.clock.advance(2000)
        changed = msgspec.structs.replace(
            A, trouble="the connection was closed", live_calls=0, lines=5, weight=1, placed=71
        )
        await report(rig, changed, B)
        assert await everyone(rig) == [as_seen(rig, changed), as_seen(rig, B)]
        async with rig.store.read() as tx:
            assert await engine_nodes.by_name(tx, "a:8088", rig.clock.ms) == as_seen(rig, changed)
            assert await engine_nodes.by_name(tx, "c:8088", rig.clock.ms) is None

    database.run(story)


def test_draining_is_the_operators_and_no_report_changes_it(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await report(rig, A, B)
        assert await drain(rig, "a:8088") == as_seen(rig, A, draining=True)
        assert await to_drain(rig) == {"a:8088"}
        rig.clock.advance(2000)
        await report(rig, A, B)
        assert await everyone(rig) == [as_seen(rig, A, draining=True), as_seen(rig, B)]
        await report(rig, msgspec.structs.replace(A, draining=True), B)
        await drain(rig, "a:8088", on=False)
        assert await to_drain(rig) == frozenset()
        assert await everyone(rig) == [as_seen(rig, A), as_seen(rig, B)]
        assert await drain(rig, "c:8088") is None
        assert len(await everyone(rig)) == 2

    database.run(story)


def test_a_node_that_the_settings_no_longer_name_is_forgotten_with_its_draining(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await report(rig, A, B)
        await drain(rig, "a:8088")
        await report(rig, B)
        assert await everyone(rig) == [as_seen(rig, B)]
        assert await to_drain(rig) == frozenset()
        await report(rig, A, B)
        assert await everyone(rig) == [as_seen(rig, A), as_seen(rig, B)]
        # A dialler on an engine without nodes.
        await report(rig, engine="sip")
        assert await everyone(rig) == []

    database.run(story)


def test_the_nodes_of_one_engine_are_no_reason_for_another(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await report(rig, A)
        await drain(rig, "a:8088")
        assert await why_none(rig, "sip") == ""

    database.run(story)


def test_why_the_engine_takes_no_call(database: Database) -> None:
    async def story(rig: Rig) -> None:
        assert await why_none(rig) == "", "nothing was ever reported"
        await report(rig, A, B)
        assert await why_none(rig) == ""
        await drain(rig, "a:8088")
        assert await why_none(rig) == "no Asterisk takes calls: a:8088: is being drained; b:8088: connection refused"
        rig.clock.advance(STALE_MS)
        assert (await why_none(rig)).startswith("no Asterisk")
        rig.clock.advance(1)
        assert await why_none(rig) == "no dialler runs"

    database.run(story)


def test_a_task_says_that_the_engine_takes_no_call(database: Database) -> None:
    async def story(rig: Rig) -> None:
        task_id = await rig.new_task(3)
        await report(rig, B)
        async with rig.store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=rig.worker,
                lease_no=1,
                engine=ENGINE,
                now_us=rig.clock.us,
                horizon_us=100_000,
                grace_us=0,
                free_lines=7,
                engine_trouble="no Asterisk is well: b:8088: connection refused",
            )
        assert batch.leases == []
        assert batch.waiting == {task_id: "no Asterisk is well: b:8088: connection refused"}
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine=ENGINE, now_us=rig.clock.us) == batch.waiting
        await report(rig, A, B)
        async with rig.store.read() as tx:
            assert await outlook.waiting_reasons(tx, engine=ENGINE, now_us=rig.clock.us) == {}
        assert len(await rig.lease()) == 3

    database.run(story)


@pytest.mark.parametrize("change", [{"live_calls": -1}, {"lines": 0}, {"weight": 0}, {"placed": -1}])
def test_impossible_counts_are_refused(database: Database, change: dict[str, int]) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(IntegrityError):
            await report(rig, msgspec.structs.replace(A, **change))
        assert await everyone(rig) == []

    database.run(story)
