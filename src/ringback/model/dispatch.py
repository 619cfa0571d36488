"""Which calls may start now: one pure decision over all trunks and tasks, taken inside the lease transaction.

The plan never exceeds a trunk's rate or channels, a task's lines, its calling windows, or the free lines of the
worker that asks. Slots of a trunk go round its tasks one by one, the longest unserved first, so a task of 200,000
numbers does not starve one of ten. A task that gets nothing has a reason that people can read.
"""

from __future__ import annotations

import msgspec

from ringback.model.breaker import MOST_UNANSWERED, PROBE_PATIENCE_MS, Breaker
from ringback.model.pacing import take_slots
from ringback.model.windows import Window, is_open, next_opening


class TrunkView(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs of a trunk. ``rate`` in calls per second; ``next_slot_us`` epoch microseconds.

    ``headroom``: how many more calls may leave before one gets a response; ``None`` when nobody counts.
    """

    id: int
    name: str
    rate: float
    channels: int
    busy: int
    next_slot_us: int
    breaker: Breaker = Breaker()
    headroom: int | None = None


class LaneView(msgspec.Struct, frozen=True):
    """The queued numbers of a task that share a time zone."""

    zone: str
    queued: int


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs of a task that is calling. ``trunk_id`` ``None``: the first trunk there is.

    ``served_us``: the latest slot it was given, epoch microseconds.
    """

    id: int
    trunk_id: int | None
    lines: int | None
    active: int
    windows: tuple[Window, ...]
    lanes: tuple[LaneView, ...]
    served_us: int


class Grant(msgspec.Struct, frozen=True):
    """Calls of one lane may start on a trunk at these slots (epoch microseconds)."""

    task_id: int
    zone: str
    trunk_id: int
    slots_us: list[int]


class Plan(msgspec.Struct, frozen=True):
    """The decision. ``wake_us``: when time alone can change it (``None``: only an event can).

    ``next_slot_us`` holds every trunk whose next slot has moved, with or without a grant. ``probes``: trunks whose
    only granted call tries whether they are back.
    """

    grants: list[Grant]
    next_slot_us: dict[int, int]
    waiting: dict[int, str]
    wake_us: int | None
    probes: set[int]


class _Wish(msgspec.Struct):
    """A task that could start calls now: where, how many more, and what it was given."""

    task_id: int
    allowance: int
    lanes: list[LaneView]
    given: list[tuple[str, int]]

    def take(self, slot_us: int) -> None:
        lane = self.lanes[0]
        self.given.append((lane.zone, slot_us))
        self.allowance -= 1
        if lane.queued > 1:
            self.lanes[0] = LaneView(lane.zone, lane.queued - 1)
        else:
            del self.lanes[0]


def plan_lease(
    *,
    now_us: int,
    horizon_us: int,
    grace_us: int,
    free_lines: int,
    trunks: list[TrunkView],
    tasks: list[TaskView],
) -> Plan:
    """Decide which calls may start within ``horizon_us`` from now, and leave up to ``grace_us`` later than planned."""
    plan = Plan([], {}, {}, None, set())
    wakes: list[int] = []
    by_trunk: dict[int, list[_Wish]] = {}
    known = {trunk.id: trunk for trunk in trunks}
    default = min(known, default=None)
    # A task served in the future was served before the clock was set back: it must not wait for that time again.
    soonest_us = now_us + horizon_us
    for task in sorted(tasks, key=lambda task: (task.served_us if task.served_us <= soonest_us else 0, task.id)):
        trunk_id = default if task.trunk_id is None else task.trunk_id
        if trunk_id is None or trunk_id not in known:
            plan.waiting[task.id] = "there is no trunk to dial through"
            continue
        wish, opening_us = _wish(task, now_us // 1000, (now_us + horizon_us + grace_us) // 1000)
        if opening_us is not None:
            wakes.append(opening_us)
        if isinstance(wish, str):
            plan.waiting[task.id] = wish
        else:
            by_trunk.setdefault(trunk_id, []).append(wish)
    for trunk_id, wishes in by_trunk.items():
        trunk = known[trunk_id]
        limit = _limit(trunk, free_lines, now_us)
        lines = limit.lines if limit.from_us <= now_us + horizon_us else 0
        wanted = sum(min(wish.allowance, sum(lane.queued for lane in wish.lanes)) for wish in wishes)
        slots, next_slot = take_slots(
            now_us=limit.from_us if lines > 0 else now_us,
            next_slot_us=trunk.next_slot_us,
            rate=trunk.rate,
            horizon_us=now_us + horizon_us - limit.from_us if lines > 0 else horizon_us,
            limit=max(0, min(lines, wanted)),
        )
        if slots and limit.probe:
            plan.probes.add(trunk_id)
        if slots or next_slot < trunk.next_slot_us:
            plan.next_slot_us[trunk_id] = next_slot
        _share(slots, wishes)
        for wish in wishes:
            plan.grants.extend(_grants(wish, trunk_id))
            if not wish.given:
                used_up = len(slots) >= lines
                plan.waiting[wish.task_id] = limit.reason if used_up else f"trunk {trunk.name} is at its rate"
        free_lines -= len(slots)
        wakes += _chances(limit, slots, next_slot, lines=lines, wanted=wanted, now_us=now_us)
    return msgspec.structs.replace(plan, wake_us=min(wakes, default=None))


def _wish(task: TaskView, now_ms: int, last_ms: int) -> tuple[_Wish | str, int | None]:
    """What the task could start now, or why not; and when a closed window of it opens next.

    ``last_ms`` is the latest instant at which such a call may leave: its window must still be open then.
    """
    lanes = [lane for lane in task.lanes if lane.queued > 0]
    open_lanes: list[LaneView] = []
    openings: list[int] = []
    for lane in lanes:
        opening = next_opening(task.windows, lane.zone, now_ms)
        if opening == now_ms:
            if is_open(task.windows, lane.zone, last_ms):
                open_lanes.append(lane)
                continue
            opening = next_opening(task.windows, lane.zone, last_ms)
        if opening is not None:
            openings.append(opening)
    opening_us = min(openings) * 1000 if openings else None
    queued = sum(lane.queued for lane in open_lanes)
    allowance = queued if task.lines is None else min(queued, task.lines - task.active)
    if not lanes:
        return "every number has been dialled", None
    if not open_lanes:
        return "outside the calling windows of its numbers", opening_us
    if allowance <= 0:
        return f"all {task.lines} lines of the task are in use", opening_us
    return _Wish(task.id, allowance, open_lanes, []), opening_us


def _share(slots: list[int], wishes: list[_Wish]) -> None:
    """Hand out the slots one by one, round the tasks, in the order of ``wishes``."""
    hungry = [wish for wish in wishes if wish.allowance > 0]
    turn = 0
    for slot in slots:
        turn %= len(hungry)
        wish = hungry[turn]
        wish.take(slot)
        if wish.allowance <= 0 or not wish.lanes:
            del hungry[turn]
        else:
            turn += 1


class _Limit(msgspec.Struct, frozen=True):
    """How many calls a trunk may start, its rate apart, from when on, and why a task that gets none must wait.

    ``probe``: the one call is to find out whether the trunk is back.
    """

    lines: int
    reason: str
    from_us: int
    probe: bool = False


def _limit(trunk: TrunkView, free_lines: int, now_us: int) -> _Limit:
    """The tightest limit of the trunk when the worker has so many lines left."""
    limits = [
        _Limit(trunk.channels - trunk.busy, f"all lines of trunk {trunk.name} are busy", now_us),
        _Limit(free_lines, "all lines of the telephony engine are busy", now_us),
    ]
    retry_ms = trunk.breaker.retry_ms(now_us // 1000)
    if retry_ms is None and trunk.headroom is not None:
        reason = f"trunk {trunk.name} has not responded to the last {MOST_UNANSWERED} calls"
        limits.append(_Limit(trunk.headroom, reason, now_us))
    tightest = min(limits, key=lambda limit: limit.lines)
    if retry_ms is None or (retry_ms * 1000 <= now_us and tightest.lines <= 0):
        return tightest
    reason = f"trunk {trunk.name} is shut: {trunk.breaker.reason}; {trunk.breaker.next_try(now_us // 1000)}"
    return _Limit(min(1, tightest.lines), reason, max(now_us, retry_ms * 1000), probe=True)


def _chances(limit: _Limit, slots: list[int], next_slot: int, *, lines: int, wanted: int, now_us: int) -> list[int]:
    """When time alone can bring the trunk's tasks more than these slots, if it can."""
    if lines > len(slots) and wanted > len(slots):
        return [next_slot]
    if limit.probe and slots:
        return [slots[0] + PROBE_PATIENCE_MS * 1000]
    return [limit.from_us] if limit.from_us > now_us else []


def _grants(wish: _Wish, trunk_id: int) -> list[Grant]:
    by_zone: dict[str, list[int]] = {}
    for zone, slot in wish.given:
        by_zone.setdefault(zone, []).append(slot)
    return [Grant(wish.task_id, zone, trunk_id, slots) for zone, slots in by_zone.items()]
