"""The lease plan: no limit is exceeded, nobody waits without a reason or without a wake-up, all get their share."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.breaker import PROBE_PATIENCE_MS, Breaker, probing
from ringback.model.dispatch import Plan, plan_lease
from ringback.model.pacing import spacing_us
from ringback.model.queue_views import AccountView, LaneView, TaskView
from ringback.model.routing import Choice
from ringback.model.supply import TrunkView
from ringback.model.windows import Window, is_open

#: A Monday, 08:00 UTC.
NOW_US = 1_767_600_000_000_000
HORIZON_US = 100_000
GRACE_US = 250_000
DAY_MINUTES = 1440
NO_CHOICE = ("there is no trunk to dial through", "no route for numbers that begin with 49")

NOW_MS = NOW_US // 1000
breakers = st.just(Breaker()) | st.builds(
    Breaker,
    failures=st.just(5),
    cause=st.just("no response"),
    opened_at=st.just(NOW_MS - 1000),
    retry_at=st.sampled_from([0, NOW_MS - 1, NOW_MS, NOW_MS + 50, NOW_MS + 10_000, NOW_MS + 10**9]),
    tries=st.just(1),
)

SHUT = Breaker(failures=5, cause="no response", opened_at=NOW_MS - 1000, retry_at=NOW_MS + 10_000, tries=1, openings=1)

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
#: Trunk 99 does not exist.
choices = st.lists(
    st.builds(Choice, st.sampled_from([1, 1, 2, 2, 3, 99]), st.integers(0, 2), st.integers(1, 5)),
    max_size=4,
    unique_by=lambda choice: choice.trunk_id,
).map(tuple)
lane_lists = st.lists(
    st.builds(
        LaneView,
        st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York", "America/New_York,UTC", "", "Mars/Phobos"]),
        st.integers(0, 30),
        st.sampled_from(["", "49", "4930"]),
        choices,
        st.sampled_from(["", "no route for numbers that begin with 49"]),
    ),
    max_size=5,
    unique_by=lambda lane: (lane.zone, lane.prefix),
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
    accounts: list[AccountView] = []

    def plan(self) -> Plan:
        return plan_lease(
            now_us=self.now_us,
            horizon_us=HORIZON_US,
            grace_us=GRACE_US,
            free_lines=self.free_lines,
            trunks=self.trunks,
            tasks=self.tasks,
            accounts=self.accounts,
        )

    def apply(self, plan: Plan) -> None:
        """What the store does with a plan: the calls hold their lines from then on."""
        slots: dict[int, list[int]] = {}
        for grant in plan.grants:
            slots.setdefault(self.account_of(grant.task_id), []).extend(grant.slots_us)
        self.accounts = [
            msgspec.structs.replace(one, active=one.active + len(slots[one.id]), served_us=max(slots[one.id]))
            if one.id in slots
            else one
            for one in self.accounts
        ]
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
                    served_us=max(slot for other in plan.grants if other.task_id == one.id for slot in other.slots_us),
                    lanes=tuple(
                        msgspec.structs.replace(lane, queued=lane.queued - count)
                        if (lane.zone, lane.prefix) == (grant.zone, grant.prefix)
                        else lane
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
        self.accounts = [msgspec.structs.replace(one, active=0) for one in self.accounts]

    def account_of(self, task_id: int) -> int:
        """Whose task it is."""
        return next(one.account_id for one in self.tasks if one.id == task_id)

    def account_lines(self, account_id: int) -> float:
        """How many more calls the account may have."""
        known = [one for one in self.accounts if one.id == account_id and one.lines is not None]
        return min((max(0, one.lines - one.active) for one in known if one.lines is not None), default=math.inf)

    def in_service(self, trunk: TrunkView) -> bool:
        """Its breaker is closed, or a probe is due before the horizon."""
        retry_ms = trunk.breaker.retry_ms(self.now_us // 1000)
        return retry_ms is None or retry_ms * 1000 <= self.now_us + HORIZON_US

    def lines(self, trunk: TrunkView) -> int:
        """How many calls it may start now at the most."""
        lines = trunk.channels - trunk.busy
        if trunk.breaker.opened_at is not None:
            return min(lines, 1)
        return lines if trunk.headroom is None else min(lines, trunk.headroom)

    def carriers(self, lane: LaneView, probed: frozenset[int] = frozenset()) -> list[TrunkView]:
        """The trunks that may carry the lane's numbers now: those of the first priority that has one in service.

        ``probed`` are those whose probe has been given out: they carry nothing else.
        """
        trunks = {one.id: one for one in self.trunks if one.id not in probed}
        alive = [one for one in lane.choices if one.trunk_id in trunks and self.in_service(trunks[one.trunk_id])]
        return [trunks[one.trunk_id] for one in alive if one.priority == min(other.priority for other in alive)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    trunks = [
        msgspec.structs.replace(one, id=number, name=f"t{number}", busy=min(one.busy, one.channels))
        for number, one in enumerate(draw(st.lists(trunk_views, max_size=3)), start=1)
    ]
    tasks = [
        msgspec.structs.replace(one, id=number, account_id=draw(st.sampled_from([1, 1, 2, 3])))
        for number, one in enumerate(draw(st.lists(task_views, max_size=5)), start=1)
    ]
    now = NOW_US + draw(st.sampled_from([0, 1, 59_700_000, 59_999_999, 60_000_000, 3_600_000_000]))
    # Account 3 is not told of: it has no limit, and no turn.
    accounts = [
        AccountView(
            id=number,
            lines=draw(st.none() | st.integers(1, 12)),
            active=draw(st.integers(0, 12)),
            served_us=draw(st.sampled_from([0, NOW_US - 10_000, NOW_US, NOW_US + 10**10])),
        )
        for number in (1, 2)
    ]
    return World(now, draw(st.sampled_from([0, 1, 5, 1000])), trunks, draw(st.permutations(tasks)), accounts)


@settings(deadline=None, max_examples=250)
@given(worlds())
def test_no_limit_is_exceeded(world: World) -> None:
    plan = world.plan()
    tasks = {one.id: one for one in world.tasks}
    trunks = {one.id: one for one in world.trunks}
    by_trunk: dict[int, list[int]] = {}
    by_task: Counter[int] = Counter()
    by_lane: Counter[tuple[int, str, str]] = Counter()
    for grant in plan.grants:
        task, trunk = tasks[grant.task_id], trunks[grant.trunk_id]
        assert grant.slots_us
        (lane,) = [lane for lane in task.lanes if (lane.zone, lane.prefix) == (grant.zone, grant.prefix)]
        assert trunk in world.carriers(lane) or trunk in world.carriers(lane, plan.probes - {trunk.id})
        by_lane[task.id, lane.zone, lane.prefix] += len(grant.slots_us)
        assert by_lane[task.id, lane.zone, lane.prefix] <= lane.queued
        # From now until the last instant at which such a call may leave, the window is open.
        for instant in (world.now_us, max(grant.slots_us) + GRACE_US):
            assert is_open(task.windows, lane.zone, instant // 1000)
        by_trunk.setdefault(trunk.id, []).extend(grant.slots_us)
        by_task[task.id] += len(grant.slots_us)
    kinds = {(grant.task_id, grant.zone, grant.prefix, grant.trunk_id) for grant in plan.grants}
    assert len(kinds) == len(plan.grants)
    assert by_task.total() <= world.free_lines
    for task_id, count in by_task.items():
        lines = tasks[task_id].lines
        assert lines is None or tasks[task_id].active + count <= lines
    by_account: Counter[int] = Counter()
    for task_id, count in by_task.items():
        by_account[tasks[task_id].account_id] += count
    assert all(count <= world.account_lines(account_id) for account_id, count in by_account.items())
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
    given_out = Counter({one.id: 0 for one in world.trunks})
    for grant in plan.grants:
        given_out[grant.trunk_id] += len(grant.slots_us)
    for task in world.tasks:
        reason = plan.waiting.get(task.id)
        queued = [lane for lane in task.lanes if lane.queued]
        assert all(((task.id, lane.zone, lane.prefix) in plan.stuck) == (not world.carriers(lane)) for lane in queued)
        carried = [lane for lane in queued if world.carriers(lane)]
        open_now = [lane for lane in carried if is_open(task.windows, lane.zone, world.now_us // 1000)]
        last = (world.now_us + HORIZON_US + GRACE_US) // 1000
        carriers = {
            one.id: one
            for lane in open_now
            if is_open(task.windows, lane.zone, last)
            for one in world.carriers(lane, plan.probes) or world.carriers(lane)
        }
        full = [one for one in carriers.values() if given_out[one.id] == world.lines(one)]
        match reason:
            case None:
                assert open_now
            case _ if reason in NO_CHOICE or not carried:
                assert bool(queued) != (reason == "every number has been dialled")
                assert reason in NO_CHOICE or not queued or "is shut" in reason
            case "every number has been dialled":
                assert not any(lane.queued for lane in task.lanes)
            case "outside the calling windows of its numbers":
                assert not [lane for lane in open_now if is_open(task.windows, lane.zone, last)]
            case _ if reason.endswith("lines of the task are in use"):
                assert task.lines is not None
                assert task.active >= task.lines
            case _ if reason.endswith("lines of the account are in use"):
                mine = sum(
                    len(grant.slots_us) for grant in plan.grants if world.account_of(grant.task_id) == task.account_id
                )
                assert mine == world.account_lines(task.account_id)
            case _ if any(text in reason for text in ("all lines of trunk", "is shut", "has not responded")):
                assert len(full) == len(carriers) > 0
                assert all(one.name in reason for one in full)
            case "all lines of the telephony engine are busy":
                assert given_out.total() == world.free_lines
            case _:
                slow = [one for one in carriers.values() if one not in full]
                assert reason.endswith("at its rate" if len(slow) == 1 else "at their rate")
                assert slow
                for one in slow:
                    assert one.name in reason
                    # No further slot lies within the horizon.
                    next_slot = plan.next_slot_us.get(one.id, one.next_slot_us)
                    assert max(world.now_us, next_slot) > world.now_us + HORIZON_US


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
        # A trunk that is shut is tried again in time.
        if any(choice.trunk_id in {one.id for one in world.trunks} for choice in lane.choices)
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


def task(number: int, queued: int, *trunk_ids: int, **changes: object) -> TaskView:
    parts: dict[str, object] = {
        "id": number,
        "lines": None,
        "active": 0,
        "windows": (),
        "lanes": (LaneView("UTC", queued, "", tuple(Choice(one) for one in trunk_ids or (1,))),),
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


@pytest.mark.parametrize("rates", [(30.0, 30.0), (7.0, 100.0), (0.5, 45.0)])
def test_tasks_that_share_two_trunks_get_equal_shares(rates: tuple[float, float]) -> None:
    trunks = [trunk(1, rate=rates[0]), trunk(2, rate=rates[1])]
    world = World(NOW_US, 1000, trunks, [task(number, 100_000, 1, 2) for number in (1, 2, 3)])
    got = shares(world, leases=200)
    assert max(got.values()) - min(got[number] for number in (1, 2, 3)) <= max(got.values()) / 50


def test_tasks_served_before_the_clock_was_set_back_are_not_starved() -> None:
    later = NOW_US + 3_600_000_000
    world = World(NOW_US, 1000, [trunk(rate=1.0)], [task(1, 1000, served_us=later), task(2, 1000)])
    got = shares(world, leases=200)
    assert abs(got[1] - got[2]) <= 2


def test_a_trunk_whose_clock_was_set_back_dials_on() -> None:
    world = World(NOW_US, 1000, [trunk(rate=10.0, next_slot_us=NOW_US + 3_600_000_000)], [task(1, 1000)])
    assert shares(world, leases=20, tick_us=50_000)[1] >= 5


def by_trunk(plan: Plan) -> Counter[int]:
    """How many slots of each trunk were given out."""
    got: Counter[int] = Counter()
    for grant in plan.grants:
        got[grant.trunk_id] += len(grant.slots_us)
    return got


def test_a_task_uses_several_trunks_at_once_each_at_its_own_rate() -> None:
    world = World(NOW_US, 1000, [trunk(1, rate=20.0), trunk(2, rate=50.0)], [task(1, 100, 1, 2)])
    plan = world.plan()
    assert by_trunk(plan) == {1: 3, 2: 6}
    assert plan.next_slot_us == {1: NOW_US + 150_000, 2: NOW_US + 120_000}
    assert plan.wake_us == NOW_US + 120_000


def test_trunks_of_one_priority_share_by_weight() -> None:
    lanes = (LaneView("UTC", 90, "", (Choice(1, 0, 2), Choice(2, 0, 1))),)
    world = World(NOW_US, 1000, [trunk(1, rate=1000.0), trunk(2, rate=1000.0)], [task(1, 90, lanes=lanes)])
    assert by_trunk(world.plan()) == {1: 60, 2: 30}
    # What is in the air already counts.
    world.trunks = [trunk(1, rate=1000.0, busy=40), trunk(2, rate=1000.0)]
    assert by_trunk(world.plan()) == {1: 47, 2: 43}


def test_a_full_trunk_leaves_its_share_to_those_of_its_priority() -> None:
    lanes = (LaneView("UTC", 9, "", (Choice(1), Choice(2), Choice(3, 1))),)
    world = World(NOW_US, 1000, [trunk(1, channels=1), trunk(2), trunk(3)], [task(1, 9, lanes=lanes)])
    assert by_trunk(world.plan()) == {1: 1, 2: 3}
    # The next priority is for trunks that are out of service, not for busy ones.
    world.trunks = [trunk(1, channels=1, busy=1), trunk(2, channels=2, busy=2), trunk(3)]
    plan = world.plan()
    assert plan.waiting == {1: "all lines of trunks t1, t2 are busy"}
    assert plan.stuck == {}


def test_the_next_priority_takes_over_when_all_of_the_first_are_out_of_service() -> None:
    lanes = (LaneView("UTC", 9, "49", (Choice(1, 5), Choice(2, 5), Choice(3, 7))),)
    world = World(NOW_US, 1000, [trunk(1, breaker=SHUT), trunk(2), trunk(3)], [task(1, 9, lanes=lanes)])
    assert set(by_trunk(world.plan())) == {2}
    world.trunks = [trunk(1, breaker=SHUT), trunk(2, breaker=SHUT), trunk(3)]
    assert set(by_trunk(world.plan())) == {3}
    world.trunks = [trunk(number, breaker=SHUT) for number in (1, 2, 3)]
    plan = world.plan()
    shut = "; ".join(
        f"trunk t{number} is shut: no response to 5 calls in a row; next try at 08:00:10 UTC" for number in (1, 2, 3)
    )
    assert plan.waiting == {1: shut}
    assert plan.stuck == {(1, "UTC", "49"): shut}
    assert plan.wake_us == NOW_US + 10_000_000


def test_a_shut_trunk_is_tried_by_one_call_while_another_carries_the_rest() -> None:
    lanes = (LaneView("UTC", 9, "", (Choice(1, 5), Choice(2, 7))),)
    world = World(NOW_US, 1000, [trunk(1, breaker=SHUT), trunk(2)], [task(1, 9, lanes=lanes)])
    plan = world.plan()
    assert set(by_trunk(plan)) == {2}
    assert plan.probes == frozenset()
    world.now_us += 10_000_000
    plan = world.plan()
    assert by_trunk(plan) == {1: 1, 2: 3}
    assert plan.probes == {1}
    world.apply(plan)
    world.now_us += 200_000
    assert set(by_trunk(world.plan())) == {2}


def test_a_lane_that_waits_for_its_trunk_holds_up_no_other() -> None:
    lanes = (
        LaneView("Asia/Tokyo", 5, "81", (Choice(1),)),
        LaneView("UTC", 2, "", (), "no route for numbers that begin with 7"),
        LaneView("UTC", 3, "49", (Choice(2),)),
    )
    world = World(NOW_US, 9, [trunk(1, rate=0.001, next_slot_us=NOW_US + 10**9), trunk(2)], [task(1, 0, lanes=lanes)])
    plan = world.plan()
    assert {(grant.prefix, grant.trunk_id, len(grant.slots_us)) for grant in plan.grants} == {("49", 2, 3)}
    assert plan.waiting == {}
    assert plan.stuck == {(1, "UTC", ""): "no route for numbers that begin with 7"}


def test_what_no_trunk_can_carry_waits_with_its_reason() -> None:
    stuck = task(3, 1, lanes=(LaneView("UTC", 1, "", (), "no route for numbers that begin with 49"),))
    plan = World(NOW_US, 9, [trunk(4), trunk(2)], [task(1, 1, 2), task(2, 1, 9), stuck]).plan()
    assert {grant.task_id: grant.trunk_id for grant in plan.grants} == {1: 2}
    assert plan.waiting == {2: "there is no trunk to dial through", 3: "no route for numbers that begin with 49"}


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


def test_an_engine_in_trouble_gets_no_call_and_says_why() -> None:
    views = [trunk(), trunk(2, channels=2, busy=2)]
    plan = plan_lease(
        now_us=NOW_US, horizon_us=HORIZON_US, grace_us=GRACE_US, free_lines=9, trunks=views, tasks=[task(1, 5)],
        engine_trouble="no Asterisk is well",
    )  # fmt: skip
    assert plan.grants == []
    assert plan.waiting == {1: "no Asterisk is well"}


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
