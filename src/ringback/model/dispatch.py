"""Which calls may start now: one pure decision over all trunks and tasks, taken inside the lease transaction.

The plan never exceeds a trunk's rate or channels, a task's lines, its calling windows, or the free lines of the
worker that asks, nor an account's lines or its balance. Calls are handed out one by one, round the accounts and round
the tasks of each, the longest unserved first, so a task of 200,000 numbers does not starve one of ten, nor an account
of many tasks one of few; each takes the earliest slot of the best trunk of the task's next lane. A task that gets
nothing has a reason that people can read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ringback.model.queue_views import AccountView, LaneView, TaskView
from ringback.model.routing import Choice, in_service, least_loaded
from ringback.model.supply import Supply, TrunkView

if TYPE_CHECKING:
    from collections.abc import Sequence


class Grant(msgspec.Struct, frozen=True):
    """Calls of one lane may start on a trunk at these slots (epoch microseconds)."""

    task_id: int
    zone: str
    prefix: str
    trunk_id: int
    slots_us: list[int]


class Plan(msgspec.Struct, frozen=True):
    """The decision. ``wake_us``: when time alone can change it (``None``: only an event can).

    ``next_slot_us`` holds every trunk whose next slot has moved, with or without a grant. ``waiting`` are the tasks
    that got nothing; ``stuck`` the lanes, by task, zone and prefix, that no trunk can carry as things are. ``probes``
    are the trunks whose only granted call tries whether they are back.
    """

    grants: list[Grant]
    next_slot_us: dict[int, int]
    waiting: dict[int, str]
    stuck: dict[tuple[int, str, str], str]
    wake_us: int | None
    probes: frozenset[int] = frozenset()


class _Lane:
    """An open lane: how many numbers it has left, and the trunks of its priority."""

    def __init__(self, view: LaneView, known: list[Choice], supplies: dict[int, Supply]) -> None:
        self.view = view
        self.left = view.queued
        self.known = known
        self._by_trunk = supplies
        self.choices = self._in_service()

    @property
    def supplies(self) -> list[Supply]:
        """What its trunks have."""
        return [self._by_trunk[choice.trunk_id] for choice in self.choices]

    def best(self) -> Supply | None:
        """The trunk whose turn it is, of those that have a slot."""
        while True:
            ready = [choice for choice in self.choices if self._by_trunk[choice.trunk_id].has_slot]
            chosen = least_loaded(ready, lambda trunk_id: self._by_trunk[trunk_id].busy)
            if chosen is not None:
                return self._by_trunk[chosen.trunk_id]
            # A trunk that has given out its probe carries nothing more: the next priority takes over.
            others = self._in_service()
            if not others or others == self.choices:
                return None
            self.choices = others

    def _in_service(self) -> list[Choice]:
        return in_service(self.known, lambda trunk_id: self._by_trunk[trunk_id].in_service)


class _Wish:
    """A task that could start calls now: where, how many more, and what it was given."""

    def __init__(self, task_id: int, account_id: int, allowance: int, lanes: list[_Lane]) -> None:
        self.task_id = task_id
        self.account_id = account_id
        self.allowance = allowance
        self.lanes = lanes
        #: Lanes whose trunks have no slot left; they get none any more in this plan.
        self.dry: list[_Lane] = []
        self.given: dict[tuple[str, str, int], list[int]] = {}

    def take_one(self) -> bool:
        """Take a slot for the next number. False when there is none for any of its lanes."""
        while self.lanes:
            lane = self.lanes[0]
            supply = lane.best()
            if supply is None:
                self.dry.append(self.lanes.pop(0))
                continue
            key = (lane.view.zone, lane.view.prefix, supply.trunk.id)
            self.given.setdefault(key, []).append(supply.take())
            self.allowance -= 1
            lane.left -= 1
            if lane.left == 0:
                del self.lanes[0]
            return True
        return False


class _Party:
    """The wishes of one account, and how many more lines it may take."""

    def __init__(self, view: AccountView) -> None:
        self.view = view
        self.left = view.left()
        self._hungry: deque[_Wish] = deque()

    def join(self, wish: _Wish) -> None:
        """One more task of the account."""
        self._hungry.append(wish)

    def take_one(self) -> bool:
        """Take a slot for the task whose turn it is. False when there is none for any of them."""
        while self._hungry and self.left > 0:
            wish = self._hungry.popleft()
            if wish.take_one():
                self.left -= 1
                if wish.allowance > 0 and wish.lanes:
                    self._hungry.append(wish)
                return True
        return False


def plan_lease(
    *,
    now_us: int,
    horizon_us: int,
    grace_us: int,
    free_lines: int,
    trunks: list[TrunkView],
    tasks: list[TaskView],
    accounts: Sequence[AccountView] = (),
    reach_us: int | None = None,
    engine_trouble: str = "",
) -> Plan:
    """Decide which calls may start within ``horizon_us`` from now, and leave up to ``grace_us`` later than planned.

    ``accounts``: those with a limit, and whose turn it is; others have none, and are served first.
    ``reach_us``: how far ahead the lease of any worker ends at most (``horizon_us`` unless given): what was served
    later than that was served before the clock was set back. ``engine_trouble``: why the worker's engine takes no
    call, when that is more than busy lines; no call is planned then.
    """
    reach_us = horizon_us if reach_us is None else reach_us
    if engine_trouble:
        free_lines = 0
    plan = Plan([], {}, {}, {}, None)
    wakes: list[int] = []
    wishes: list[_Wish] = []
    supplies = {trunk.id: Supply(trunk, now_us, horizon_us, reach_us) for trunk in trunks}
    # A task served in the future was served before the clock was set back: it must not wait for that time again.
    latest_us = now_us + reach_us
    for task in sorted(tasks, key=lambda task: _turn(task, latest_us)):
        lanes, problems = _carried(task, supplies)
        plan.stuck.update(problems)
        if problems and not lanes:
            plan.waiting[task.id] = next(iter(problems.values()))
            continue
        wish, opening_us = _wish(task, lanes, now_us // 1000, (now_us + horizon_us + grace_us) // 1000)
        if opening_us is not None:
            wakes.append(opening_us)
        if isinstance(wish, str):
            plan.waiting[task.id] = wish
        else:
            wishes.append(wish)
    asked = {choice.trunk_id for wish in wishes for lane in wish.lanes for choice in lane.known}
    parties = _parties(wishes, accounts, latest_us)
    lines_left = _share(list(parties.values()), free_lines)
    for wish in wishes:
        plan.grants.extend(Grant(wish.task_id, *where, slots) for where, slots in wish.given.items())
        if not wish.given:
            party = parties[wish.account_id]
            plan.waiting[wish.task_id] = (
                _shortage(wish, lines_left, engine_trouble) if party.left else party.view.why_none()
            )
        if wish.allowance > 0 and lines_left > 0:
            wakes.extend(supply.slot_us for lane in wish.dry for supply in lane.supplies if not supply.full)
    awaited = {choice.trunk_id for task in tasks for lane in task.lanes if lane.queued > 0 for choice in lane.choices}
    retries = (supplies[trunk_id].retry_after_us() for trunk_id in awaited & supplies.keys())
    wakes.extend(at for at in retries if at is not None)
    probes = frozenset(supply.trunk.id for supply in supplies.values() if supply.retry_us is not None and supply.taken)
    plan.next_slot_us.update({one: supplies[one].slot_us for one in asked if supplies[one].moved})
    return msgspec.structs.replace(plan, wake_us=min(wakes, default=None), probes=probes)


def _carried(task: TaskView, supplies: dict[int, Supply]) -> tuple[list[_Lane], dict[tuple[int, str, str], str]]:
    """The task's lanes that a trunk in service can carry, and why the others are stuck."""
    lanes: list[_Lane] = []
    stuck: dict[tuple[int, str, str], str] = {}
    for view in task.lanes:
        if view.queued <= 0:
            continue
        known = [choice for choice in view.choices if choice.trunk_id in supplies]
        lane = _Lane(view, known, supplies)
        if lane.choices:
            lanes.append(lane)
            continue
        shut = "; ".join(supplies[choice.trunk_id].why_none() for choice in known)
        problem = shut or view.problem or "there is no trunk to dial through"
        stuck[task.id, view.zone, view.prefix] = problem
    return lanes, stuck


def _wish(task: TaskView, lanes: list[_Lane], now_ms: int, last_ms: int) -> tuple[_Wish | str, int | None]:
    """What the task could start now, or why not; and when a closed window of it opens next.

    ``last_ms`` is the latest instant at which such a call may leave: its window must still be open then.
    """
    open_lanes: list[_Lane] = []
    openings: list[int] = []
    for lane in lanes:
        zone = lane.view.zone
        opening = task.next_opening(zone, now_ms)
        if opening == now_ms:
            if task.is_open(zone, last_ms):
                open_lanes.append(lane)
                continue
            opening = task.next_opening(zone, last_ms)
        if opening is not None:
            openings.append(opening)
    opening_us = min(openings) * 1000 if openings else None
    queued = sum(lane.left for lane in open_lanes)
    allowance = queued if task.lines is None else min(queued, task.lines - task.active)
    if not lanes:
        return "every number has been dialled", None
    if not open_lanes:
        return "outside the calling windows of its numbers", opening_us
    if allowance <= 0:
        return f"all {task.lines} lines of the task are in use", opening_us
    return _Wish(task.id, task.account_id, allowance, open_lanes), opening_us


def _turn(one: TaskView | AccountView, latest_us: int) -> tuple[int, int]:
    return one.served_us if one.served_us <= latest_us else 0, one.id


def _parties(wishes: list[_Wish], accounts: Sequence[AccountView], latest_us: int) -> dict[int, _Party]:
    """The wishes by account, the account first that has waited longest."""
    views = {view.id: view for view in accounts}
    asking = {wish.account_id: views.get(wish.account_id) or AccountView(id=wish.account_id) for wish in wishes}
    parties = {view.id: _Party(view) for view in sorted(asking.values(), key=lambda view: _turn(view, latest_us))}
    for wish in wishes:
        parties[wish.account_id].join(wish)
    return parties


def _share(parties: list[_Party], free_lines: int) -> int:
    """Hand out slots one by one, round the accounts in this order. Returns the free lines that are left."""
    hungry = deque(parties)
    while hungry and free_lines > 0:
        party = hungry.popleft()
        if party.take_one():
            free_lines -= 1
            hungry.append(party)
    return free_lines


def _shortage(wish: _Wish, free_lines: int, engine_trouble: str) -> str:
    """Why a task got no slot, when these ``free_lines`` of the worker were left."""
    for lane in wish.lanes:
        lane.best()  # its priority may have nothing more than a probe that another task was given
    trunks = {supply.trunk.id: supply for lane in wish.dry + wish.lanes for supply in lane.supplies}
    slow = [supply.trunk.name for supply in trunks.values() if not supply.full]
    if not slow:
        reasons = [supply.why_none() for supply in trunks.values()]
        busy = [supply.trunk.name for supply, reason in zip(trunks.values(), reasons, strict=True) if not reason]
        lines = [f"all lines of {_named(busy, verb=False)} are busy"] if busy else []
        return "; ".join([*filter(None, reasons), *lines])
    if free_lines <= 0:
        return engine_trouble or "all lines of the telephony engine are busy"
    return f"{_named(slow)} at {'its' if len(slow) == 1 else 'their'} rate"


def _named(names: list[str], *, verb: bool = True) -> str:
    """``trunk a is``, ``trunks a, b are``; or without the verb."""
    many = len(names) > 1
    return f"trunk{'s' if many else ''} {', '.join(names)}" + ((" are" if many else " is") if verb else "")
