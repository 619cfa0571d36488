"""The lease plan: no limit is exceeded, nobody waits without a reason or without a wake-up, all get their share."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.breaker import PROBE_PATIENCE_MS, Breaker, probing
from ringback.model.dispatch import LaneView, Plan, TaskView, TrunkView, plan_lease
from ringback.model.pacing import spacing_us
from ringback.model.windows import Window, is_open

#: A Monday, 08:00 UTC.
NOW_US = 1_767_600_000_000_000
HORIZON_US = 100_000
GRACE_US = 250_000
DAY_MINUTES = 1440

NOW_MS = NOW_US // 1000
breakers = st.just(Breaker()) | st.builds(
    Breaker,
    failures=st.just(5),
    cause=st.just("no response"),
    opened_at=st.just(NOW_MS - 1000),
    retry_at=st.sampled_from([0, NOW_MS - 1, NOW_MS, NOW_MS + 50, NOW_MS + 10_000, NOW_MS + 10**9]),
    tries=st.just(1),
)

trunk_views = st.builds(
    TrunkView,
    id=st.just(0),
    name=st.just(""),
    rate=st.sampled_from([0.5, 3.0, 10.0, 30.0, 100.0, 1000.0]),
    channels=st.integers(1, 40),
    busy=st.integers(0, 40),
    next_slot_us=st.sampled_from([0, NOW_US - 1, NOW_US, NOW_US + 40_000, NOW_US + HORIZON_US, NOW_US + 10**10]),
    breaker=breakers,
    headroom=st.none() | st.integers(0, 30),
)
lane_lists = st.lists(
    st.builds(
        LaneView,
        st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "America/New_York,UTC", "", "Mars/Phobos"]),
        st.integers(0, 30),
    ),
    max_size=4,
    unique_by=lambda lane: lane.zone,
).map(tuple)
window_tuples = st.sampled_from(
    [
        (),
        (Window(9 * 60, 18 * 60),),
        (Window(0, 8 * 60), Window(22 * 60, 2 * 60)),
        (Window(8 * 60, 8 * 60 + 1),),
        (Window(0, 1440),),
    ]
)
task_views = st.builds(
    TaskView,
    id=st.just(0),
    trunk_id=st.sampled_from([None, 1, 2, 3, 99]),
    lines=st.none() | st.integers(0, 20),
    active=st.integers(0, 20),
    windows=window_tuples,
    lanes=lane_lists,
    served_us=st.sampled_from([0, NOW_US - 10_000, NOW_US, NOW_US + 10**10]),
)


class World(msgspec.Struct):
    """What a plan is made of."""

    now_us: int
    free_lines: int
    trunks: list[TrunkView]
    tasks: list[TaskView]

    def plan(self) -> Plan:
        return plan_lease(
            now_us=self.now_us,
            horizon_us=HORIZON_US,
            grace_us=GRACE_US,
            free_lines=self.free_lines,
            trunks=self.trunks,
            tasks=self.tasks,
        )

    def apply(self, plan: Plan) -> None:
        """What the store does with a plan: the calls hold their lines from then on."""
        for grant in plan.grants:
            count = len(grant.slots_us)
            self.free_lines -= count
            self.trunks = [
                self._after(one, grant.slots_us, probe=one.id in plan.probes) if one.id == grant.trunk_id else one
                for one in self.trunks
            ]
            self.tasks = [
                msgspec.structs.replace(
                    one,
                    active=one.active + count,
                    served_us=max(grant.slots_us),
                    lanes=tuple(
                        LaneView(lane.zone, lane.queued - count if lane.zone == grant.zone else lane.queued)
                        for lane in one.lanes
                    ),
                )
                if one.id == grant.task_id
                else one
                for one in self.tasks
            ]
        self.trunks = [
            msgspec.structs.replace(one, next_slot_us=plan.next_slot_us.get(one.id, one.next_slot_us))
            for one in self.trunks
        ]

    def _after(self, trunk: TrunkView, slots_us: list[int], *, probe: bool) -> TrunkView:
        return msgspec.structs.replace(
            trunk,
            busy=trunk.busy + len(slots_us),
            headroom=None if trunk.headroom is None else max(0, trunk.headroom - len(slots_us)),
            breaker=probing(trunk.breaker, 1, slots_us[0] // 1000) if probe else trunk.breaker,
        )

    def end_calls(self) -> None:
        """Every call ends, and shows that its trunk is alive."""
        self.free_lines = 1_000_000
        self.trunks = [
            msgspec.structs.replace(
                one, busy=0, headroom=30, breaker=Breaker() if one.breaker.probe_id is not None else one.breaker
            )
            for one in self.trunks
        ]
        self.tasks = [msgspec.structs.replace(one, active=0) for one in self.tasks]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    trunks = [
        msgspec.structs.replace(one, id=number, name=f"t{number}", busy=min(one.busy, one.channels))
        for number, one in enumerate(draw(st.lists(trunk_views, max_size=3)), start=1)
    ]
    tasks = [
        msgspec.structs.replace(one, id=number)
        for number, one in enumerate(draw(st.lists(task_views, max_size=5)), start=1)
    ]
    now = NOW_US + draw(st.sampled_from([0, 1, 59_700_000, 59_999_999, 60_000_000, 3_600_000_000]))
    return World(now, draw(st.sampled_from([0, 1, 5, 1000])), trunks, draw(st.permutations(tasks)))


@settings(deadline=None, max_examples=250)
@given(worlds())
def test_no_limit_is_exceeded(world: World) -> None:
    plan = world.plan()
    tasks = {one.id: one for one in world.tasks}
    trunks = {one.id: one for one in world.trunks}
    by_trunk: dict[int, list[int]] = {}
    by_task: Counter[int] = Counter()
    for grant in plan.grants:
        task, trunk = tasks[grant.task_id], trunks[grant.trunk_id]
        assert grant.slots_us
        assert trunk.id == (min(trunks) if task.trunk_id is None else task.trunk_id)
        (lane,) = [lane for lane in task.lanes if lane.zone == grant.zone]
        assert len(grant.slots_us) <= lane.queued
        # From now until the last instant at which such a call may leave, the window is open.
        for instant in (world.now_us, max(grant.slots_us) + GRACE_US):
            assert is_open(task.windows, lane.zone, instant // 1000)
        by_trunk.setdefault(trunk.id, []).extend(grant.slots_us)
        by_task[task.id] += len(grant.slots_us)
    assert len({(grant.task_id, grant.zone) for grant in plan.grants}) == len(plan.grants)
    assert by_task.total() <= world.free_lines
    for task_id, count in by_task.items():
        lines = tasks[task_id].lines
        assert lines is None or tasks[task_id].active + count <= lines
    for trunk_id, slots in by_trunk.items():
        trunk = trunks[trunk_id]
        slots.sort()
        assert trunk.busy + len(slots) <= trunk.channels
        retry_ms = trunk.breaker.retry_ms(world.now_us // 1000)
        assert (trunk_id in plan.probes) == (retry_ms is not None)
        if retry_ms is not None:
            assert len(slots) == 1
            assert slots[0] >= retry_ms * 1000
        elif trunk.headroom is not None:
            assert len(slots) <= trunk.headroom
        assert all(world.now_us <= slot <= world.now_us + HORIZON_US for slot in slots)
        assert all(later - earlier >= spacing_us(trunk.rate) for earlier, later in pairwise(slots))
        # Slots that an earlier plan gave out are behind these, unless the clock was set back since.
        assert slots[0] >= min(trunk.next_slot_us, world.now_us + HORIZON_US)
        assert plan.next_slot_us[trunk_id] >= slots[-1] + spacing_us(trunk.rate)


@settings(deadline=None, max_examples=250)
@given(worlds())
def test_every_task_is_granted_or_told_why_not(world: World) -> None:
    plan = world.plan()
    granted = {grant.task_id for grant in plan.grants}
    assert granted.isdisjoint(plan.waiting)
    assert granted | plan.waiting.keys() == {one.id for one in world.tasks}
    trunks = {one.id: one for one in world.trunks}
    given_out = Counter(dict.fromkeys(trunks, 0))
    for grant in plan.grants:
        given_out[grant.trunk_id] += len(grant.slots_us)
    for task in world.tasks:
        reason = plan.waiting.get(task.id)
        trunk = trunks.get(min(trunks, default=0) if task.trunk_id is None else task.trunk_id)
        open_now = [
            lane for lane in task.lanes if lane.queued and is_open(task.windows, lane.zone, world.now_us // 1000)
        ]
        match reason:
            case None:
                assert open_now
            case "there is no trunk to dial through":
                assert trunk is None
            case "every number has been dialled":
                assert not any(lane.queued for lane in task.lanes)
            case "outside the calling windows of its numbers":
                last = (world.now_us + HORIZON_US + GRACE_US) // 1000
                assert not [lane for lane in open_now if is_open(task.windows, lane.zone, last)]
            case _ if reason.endswith("lines of the task are in use"):
                assert task.lines is not None
                assert task.active >= task.lines
            case _ if reason.startswith("all lines of trunk"):
                assert trunk is not None
                assert trunk.busy + given_out[trunk.id] == trunk.channels
            case "all lines of the telephony engine are busy":
                assert given_out.total() == world.free_lines
            case _ if "is shut" in reason:
                assert trunk is not None
                assert trunk.breaker.opened_at is not None
                assert given_out[trunk.id] <= 1
            case _ if "has not responded" in reason:
                assert trunk is not None
                assert given_out[trunk.id] == trunk.headroom
            case _:
                assert trunk is not None
                assert reason == f"trunk {trunk.name} is at its rate"
                # No further slot lies within the horizon.
                next_slot = plan.next_slot_us.get(trunk.id, trunk.next_slot_us)
                assert max(world.now_us, next_slot) > world.now_us + HORIZON_US
                assert trunk.busy + given_out[trunk.id] < trunk.channels


@settings(deadline=None, max_examples=200)
@given(worlds(), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_before_the_wake_up_time_alone_brings_nothing(world: World, parts: list[float]) -> None:
    plan = world.plan()
    assert plan.wake_us is None or plan.wake_us > world.now_us
    world.apply(plan)
    # Slots are leased ahead, by a horizon at most.
    quiet_until = (world.now_us + 2 * DAY_MINUTES * 60_000_000 if plan.wake_us is None else plan.wake_us) - HORIZON_US
    start = world.now_us
    for part in parts:
        world.now_us = start + int((quiet_until - start - 1) * part)
        if start < world.now_us < quiet_until:
            assert world.plan().grants == []


@settings(deadline=None, max_examples=200)
@given(worlds())
def test_a_trunk_with_free_lines_and_wishes_is_used_in_the_end(world: World) -> None:
    """Sleeping until each wake-up gives every number that may be called at all a slot, whatever the start was."""
    left = sum(
        lane.queued
        for task in world.tasks
        for lane in task.lanes
        if world.trunks
        and task.trunk_id in (None, *(one.id for one in world.trunks))
        and task.lines != 0
        and (not task.windows or lane.zone not in ("", "Mars/Phobos"))
        # These two are never open together.
        and not (lane.zone == "America/New_York,UTC" and task.windows == (Window(480, 481),))
    )
    world.end_calls()
    for _ in range(400):
        plan = world.plan()
        left -= sum(len(grant.slots_us) for grant in plan.grants)
        world.apply(plan)
        world.end_calls()
        if left == 0:
            break
        ahead = HORIZON_US if plan.grants or plan.wake_us is None else max(5_000, plan.wake_us - world.now_us)
        assert plan.grants or plan.wake_us is not None, "numbers are left and nobody would ever look again"
        world.now_us += ahead
    assert left == 0


def task(number: int, queued: int, **changes: object) -> TaskView:
    parts: dict[str, object] = {
        "id": number,
        "trunk_id": None,
        "lines": None,
        "active": 0,
        "windows": (),
        "lanes": (LaneView("UTC", queued),),
        "served_us": 0,
        **changes,
    }
    return TaskView(**parts)  # type: ignore[arg-type]  # test data


def trunk(number: int = 1, **changes: object) -> TrunkView:
    parts: dict[str, object] = {
        "id": number,
        "name": f"t{number}",
        "rate": 30.0,
        "channels": 100,
        "busy": 0,
        "next_slot_us": 0,
        **changes,
    }
    return TrunkView(**parts)  # type: ignore[arg-type]  # test data


def shares(world: World, *, leases: int, tick_us: int = HORIZON_US) -> Counter[int]:
    """How many slots each task gets when every call ends before the next lease."""
    got: Counter[int] = Counter()
    for _ in range(leases):
        plan = world.plan()
        for grant in plan.grants:
            got[grant.task_id] += len(grant.slots_us)
        world.apply(plan)
        world.end_calls()
        world.now_us += tick_us
    return got


@pytest.mark.parametrize("rate", [1.0, 7.0, 30.0, 500.0])
def test_a_huge_task_does_not_starve_a_small_one(rate: float) -> None:
    world = World(NOW_US, 1000, [trunk(rate=rate, channels=3)], [task(1, 200_000), task(2, 10)])
    got = shares(world, leases=max(20, int(30 / rate * 10)))
    assert got[2] == 10


@pytest.mark.parametrize("rate", [2.0, 7.0, 30.0, 45.0, 100.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_tasks_of_one_trunk_get_equal_shares(rate: float, count: int) -> None:
    world = World(NOW_US, 1000, [trunk(rate=rate)], [task(number, 100_000) for number in range(1, count + 1)])
    got = shares(world, leases=200)
    assert max(got.values()) - min(got[number] for number in range(1, count + 1)) <= 1


def test_tasks_served_before_the_clock_was_set_back_are_not_starved() -> None:
    later = NOW_US + 3_600_000_000
    world = World(NOW_US, 1000, [trunk(rate=1.0)], [task(1, 1000, served_us=later), task(2, 1000)])
    got = shares(world, leases=200)
    assert abs(got[1] - got[2]) <= 2


def test_a_trunk_whose_clock_was_set_back_dials_on() -> None:
    world = World(NOW_US, 1000, [trunk(rate=10.0, next_slot_us=NOW_US + 3_600_000_000)], [task(1, 1000)])
    assert shares(world, leases=20, tick_us=50_000)[1] >= 5


def test_the_first_trunk_serves_those_that_name_none() -> None:
    plan = World(NOW_US, 9, [trunk(4), trunk(2)], [task(1, 1), task(2, 1, trunk_id=4), task(3, 1, trunk_id=9)]).plan()
    assert {grant.task_id: grant.trunk_id for grant in plan.grants} == {1: 2, 2: 4}
    assert plan.waiting == {3: "there is no trunk to dial through"}


def test_a_call_may_not_leave_after_its_window_has_closed() -> None:
    closes = task(1, 5, windows=(Window(7 * 60, 8 * 60 + 1),))
    world = World(NOW_US + 59_600_000, 9, [trunk()], [closes])
    assert world.plan().grants
    world.now_us = NOW_US + 59_700_000
    plan = world.plan()
    assert plan.grants == []
    assert plan.waiting == {1: "outside the calling windows of its numbers"}
    assert plan.wake_us == NOW_US + 23 * 3_600_000_000


def test_lines_that_the_worker_lacks_are_not_blamed_on_the_trunk() -> None:
    plan = World(NOW_US, 0, [trunk()], [task(1, 5)]).plan()
    assert plan.waiting == {1: "all lines of the telephony engine are busy"}
    plan = World(NOW_US, 9, [trunk(channels=2, busy=2)], [task(1, 5)]).plan()
    assert plan.waiting == {1: "all lines of trunk t1 are busy"}
    assert plan.wake_us is None


def test_when_all_is_given_out_only_an_event_brings_more() -> None:
    plan = World(NOW_US, 9, [trunk()], [task(1, 2)]).plan()
    assert [len(grant.slots_us) for grant in plan.grants] == [2]
    assert plan.wake_us is None


def open_breaker(retry_in_ms: int) -> Breaker:
    return Breaker(
        failures=5, cause="no response", opened_at=NOW_MS - 1, retry_at=NOW_MS + retry_in_ms, tries=1, openings=1
    )


def test_a_shut_trunk_gives_nothing_until_its_next_try_and_then_one_call() -> None:
    world = World(NOW_US, 9, [trunk(breaker=open_breaker(10_000))], [task(1, 5), task(2, 5)])
    plan = world.plan()
    reason = "trunk t1 is shut: no response to 5 calls in a row; next try at 08:00:10 UTC"
    assert (plan.grants, plan.waiting) == ([], {1: reason, 2: reason})
    assert plan.wake_us == NOW_US + 10_000_000
    world.now_us = NOW_US + 9_950_000
    plan = world.plan()
    assert [(grant.task_id, grant.slots_us) for grant in plan.grants] == [(1, [NOW_US + 10_000_000])]
    assert plan.probes == {1}
    assert plan.waiting.keys() == {2}
    assert plan.wake_us == NOW_US + 10_000_000 + PROBE_PATIENCE_MS * 1000
    world.apply(plan)
    plan = world.plan()
    assert plan.grants == []
    assert plan.waiting[1] == "trunk t1 is shut: no response to 5 calls in a row; one call is trying it now"


def test_a_probe_needs_a_line_and_no_headroom() -> None:
    shut = open_breaker(0)
    plan = World(NOW_US, 9, [trunk(breaker=shut, headroom=0)], [task(1, 5)]).plan()
    assert plan.probes == {1}
    plan = World(NOW_US, 9, [trunk(breaker=shut, channels=2, busy=2)], [task(1, 5)]).plan()
    assert (plan.grants, plan.waiting) == ([], {1: "all lines of trunk t1 are busy"})


def test_a_trunk_that_does_not_respond_is_not_dialled_on() -> None:
    plan = World(NOW_US, 99, [trunk(rate=1000.0, headroom=2)], [task(1, 50)]).plan()
    assert [len(grant.slots_us) for grant in plan.grants] == [2]
    assert plan.wake_us is None
    plan = World(NOW_US, 99, [trunk(headroom=0)], [task(1, 50)]).plan()
    assert plan.waiting == {1: "trunk t1 has not responded to the last 30 calls"}
