"""What a seed means: the trunks, tasks, deeds of users and faults of one run, drawn before it begins."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from ringback.model.audience import RecallType
from ringback.model.flow import MAX_INTERVAL_MINUTES, FlowSpec
from ringback.model.numbers import zones
from ringback.model.sandbox_numbers import FORBIDDEN, SERVICE_UNAVAILABLE, SILENT, Behaviour
from ringback.model.task import Limits
from ringback.model.windows import MINUTES_A_DAY, Window
from ringback.simulator.stage import INTENTS, TEMPLATES

DAY_SECONDS = 86_400.0
#: Beginnings of numbers: one time zone each, some of them with summer time, north and south.
_PREFIXES = ("4930", "4930", "4930", "1212555", "81801", "442071", "61291", "551191", "749512")
#: May be anywhere in America; nowhere that is known; denied to everybody.
DENIED_PREFIX = "88162"
_ODD_PREFIXES = ("1800555", "99912", DENIED_PREFIX)
#: Shortly after these instants a zone of the prefixes changes its clocks: epoch ms.
_CLOCK_CHANGES_MS = (
    1_774_746_000_000,  # 2026-03-29 01:00 UTC: Berlin and London go forward
    1_792_890_000_000,  # 2026-10-25 01:00 UTC: and back
    1_772_953_200_000,  # 2026-03-08 07:00 UTC: New York goes forward
    1_793_512_800_000,  # 2026-11-01 06:00 UTC: and back
    1_775_318_400_000,  # 2026-04-04 16:00 UTC: Sydney goes back
)
_YEAR_2026_MS = 1_767_225_600_000


class Ill(StrEnum):
    """The kinds of faults."""

    KILL = "kill"
    FREEZE = "freeze"
    RESTART = "restart"  # in good order
    CLOCK_SET = "clock set"
    TRUNK_DOWN = "trunk down"
    EVENTS_LATE = "events late"
    ENDS_LOST = "ends lost"
    ENGINE_SLOW = "engine slow"
    STORE_REFUSES = "store refuses"
    COMMIT_FAILS = "commit fails"
    COMMIT_IN_DOUBT = "commit in doubt"  # it was committed, and the caller gets an error
    COMMIT_SLOW = "commit slow"
    NEWS_LOST = "news lost"  # between hosts; when they come again, every host looks


#: Chosen as often as they are here.
ALL_ILLS = (*Ill, Ill.KILL, Ill.KILL, Ill.FREEZE, Ill.FREEZE, Ill.TRUNK_DOWN)
_OUTAGES = (SILENT, SILENT, SERVICE_UNAVAILABLE, FORBIDDEN)


class Wish(StrEnum):
    """What users do."""

    PAUSE = "pause"
    CANCEL_TASK = "cancel task"
    CANCEL_ROUND = "cancel round"  # the task of a round
    PAUSE_ROUND = "pause round"
    EDIT_FLOW = "edit flow"
    CANCEL_FLOW = "cancel flow"
    CANCEL_FLOW_OF_TASK = "cancel flow of task"
    CANCEL_NODE = "cancel node"
    REPEAT = "repeat"  # the same request once more
    RETIRE_TEMPLATE = "retire template"


class TrunkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A trunk. Where there are several, a route for all numbers goes through each."""

    name: str
    rate: float
    channels: int
    priority: int
    weight: int


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A task that a user makes ``at`` seconds after the start; ``send_in``: so many seconds later it is due."""

    name: str
    at: float
    send_in: float | None
    numbers: tuple[str, ...]
    limits: Limits
    template: str
    flow: FlowSpec | None


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A user does something to the task with that index. ``at_due``: not now but about when its next round is due,
    ``offset`` seconds later or earlier. ``seconds``: how long a pause lasts. ``flow``: what an edit wants.
    """

    at: float
    wish: Wish
    task: int
    at_due: bool
    offset: float
    seconds: float
    flow: FlowSpec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Something goes wrong from ``at`` on for ``seconds``. ``steps``: a kill or freeze strikes after so many steps of
    the host. ``slot``: the worker it strikes; ``trunk`` the trunk; ``size`` in seconds, ``chance`` per event.
    """

    at: float
    ill: Ill
    seconds: float
    steps: int
    slot: int
    trunk: int
    outage: Behaviour
    size: float
    chance: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``seconds``: when users and faults have come to an end."""

    seed: int
    start_ms: int
    seconds: float
    workers: int
    #: The engine can be asked for the calls of a dead worker.
    can_be_asked: bool
    lines: int
    trunks: tuple[TrunkPlan, ...]
    tasks: tuple[TaskPlan, ...]
    deeds: tuple[Deed, ...]
    faults: tuple[Fault, ...]


class Knobs(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller chooses. ``days`` 0: a quarter of an hour or so. ``workers`` 0: one to three, by seed.
    ``ills``: the faults that may be drawn.
    """

    days: float = 0.0
    workers: int = 0
    ills: tuple[Ill, ...] = ALL_ILLS


def draw(seed: int, knobs: Knobs) -> Plan:
    """The plan of a seed: always the same for the same knobs."""
    rng = Random(f"ringback {seed}")  # noqa: S311 - chance by seed, no secret
    seconds = knobs.days * DAY_SECONDS or rng.choice((300.0, 600.0, 900.0, 1800.0))
    start_ms = _start(rng, seconds)
    trunks = tuple(
        TrunkPlan(
            name=f"t{number}",
            rate=rng.choice((0.5, 1.0, 2.5, 5.0, 10.0, 10.0, 20.0, 50.0)),
            channels=rng.choice((1, 2, 3, 5, 10, 100)),
            priority=rng.choice((1, 1, 2)),
            weight=rng.choice((1, 1, 3)),
        )
        for number in range(1, rng.choice((1, 1, 1, 2)) + 1)
    )
    tasks = tuple(_task(rng, number, start_ms, seconds) for number in range(rng.choice((1, 1, 1, 2))))
    busy = tuple(task.at + (task.send_in or 0.0) for task in tasks)
    deeds = tuple(_deed(rng, busy, seconds, len(tasks)) for _ in range(rng.choice((0, 0, 1, 1, 2, 3))))
    count = rng.choice((0, 1, 1, 2, 2, 3, 4, 6)) if knobs.ills else 0
    workers = knobs.workers or rng.choice((1, 2, 2, 3))
    faults = tuple(_fault(rng, busy, seconds, knobs, trunks=len(trunks), workers=workers) for _ in range(count))
    return Plan(
        seed=seed,
        start_ms=start_ms,
        seconds=seconds,
        workers=workers,
        can_be_asked=rng.random() < 0.5,
        lines=rng.choice((1, 3, 1000, 1000, 1000)),
        trunks=trunks,
        tasks=tasks,
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at)),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )


def _start(rng: Random, seconds: float) -> int:
    if rng.random() < 0.4:
        return rng.choice(_CLOCK_CHANGES_MS) - round(rng.uniform(0, min(seconds, DAY_SECONDS)) * 1000)
    return _YEAR_2026_MS + rng.randrange(365 * 86_400_000)


def _task(rng: Random, number: int, start_ms: int, seconds: float) -> TaskPlan:
    at = 0.0 if number == 0 else rng.uniform(0, 0.5 * seconds)
    numbers = _numbers(rng, number)
    windows: tuple[Window, ...] = ()
    if rng.random() < 0.25:
        windows = _windows(rng, numbers, start_ms + round(at * 1000), seconds)
    limits = Limits(
        ring_seconds=rng.choice((5, 10, 20)),
        call_seconds=rng.choice((5, 30, 60)),
        lines=rng.choice((None, None, 1, 2, 5)),
        windows=windows,
    )
    return TaskPlan(
        name=f"task {number}",
        at=at,
        send_in=rng.uniform(0, 0.2 * seconds) if rng.random() < 0.2 else None,
        numbers=numbers,
        limits=limits,
        template=rng.choice(TEMPLATES),
        flow=_flow(rng, seconds) if rng.random() < 0.8 else None,
    )


def _numbers(rng: Random, task: int) -> tuple[str, ...]:
    # Long lists are what a dead trunk could burn; they cost time, so they are rare.
    count = rng.randint(60, 90) if rng.random() < 0.003 else rng.choice((1, 2, 2, 3, 3, 4, 5, 6))
    home = rng.choice(_PREFIXES)
    found = []
    for number in range(count):
        prefix = rng.choice(_ODD_PREFIXES) if rng.random() < 0.04 else home
        if rng.random() < 0.1:
            prefix = rng.choice(_PREFIXES)
        ending = rng.choice((rng.randrange(40), rng.randrange(40, 60), rng.randrange(60, 80), rng.randrange(80, 100)))
        found.append(f"{prefix}{task}{number:02d}{ending:02d}")
    return tuple(found)


def _windows(rng: Random, numbers: tuple[str, ...], at_ms: int, seconds: float) -> tuple[Window, ...]:
    """Windows that are open, or open soon, where one of the numbers is."""
    known = zones(rng.choice(numbers)) or ("UTC",)
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(known[0]))
    minute = local.hour * 60 + local.minute
    span = max(3, min(round(seconds / 60), 600))
    start = minute + rng.randint(-span, span)
    end = start + rng.randint(2, 3 * span)
    first = Window(start % MINUTES_A_DAY, end % MINUTES_A_DAY or MINUTES_A_DAY)
    if rng.random() < 0.7:
        return (first,)
    second = end + rng.randint(1, span)
    return (first, Window(second % MINUTES_A_DAY, (second + span) % MINUTES_A_DAY or MINUTES_A_DAY))


def _flow(rng: Random, seconds: float) -> FlowSpec:
    rounds = rng.choice((1, 1, 1, 2, 2, 3))
    longest = max(1, min(MAX_INTERVAL_MINUTES, round(seconds / 60 / 3)))
    intents = tuple(intent for intent in INTENTS if rng.random() < 0.4) if rng.random() < 0.4 else ()
    return FlowSpec(
        recall_type=rng.choice((RecallType.FAILED, RecallType.FAILED, RecallType.ALL)),
        interval_minutes=rng.randint(1, longest),
        rounds=rounds,
        intents=intents,
    ).checked()


def _deed(rng: Random, busy: tuple[float, ...], seconds: float, tasks: int) -> Deed:
    return Deed(
        at=_soon(rng, busy, seconds),
        wish=rng.choice(tuple(Wish)),
        task=rng.randrange(tasks),
        at_due=rng.random() < 0.5,
        offset=rng.choice((-0.05, -0.001, 0.0, 0.0, 0.001, 0.002, 0.05)),
        seconds=rng.choice((0.0, 1.0, 10.0, 0.2 * seconds)),
        flow=_flow(rng, seconds),
    )


def _fault(rng: Random, busy: tuple[float, ...], seconds: float, knobs: Knobs, *, trunks: int, workers: int) -> Fault:
    return Fault(
        at=_soon(rng, busy, seconds),
        ill=rng.choice(knobs.ills),
        seconds=_between(rng, 0.3, min(90.0, seconds / 4)),
        steps=rng.choice((1, rng.randint(1, 30), rng.randint(1, 300))),
        slot=rng.randrange(workers),
        trunk=rng.randrange(trunks),
        outage=rng.choice(_OUTAGES),
        size=_between(rng, 0.05, 5.0),
        chance=rng.choice((0.2, 0.5, 1.0)),
    )


def _soon(rng: Random, busy: tuple[float, ...], seconds: float) -> float:
    """Most of all while calls are made: from the instant at which a task is due."""
    if rng.random() < 0.3:
        return rng.uniform(0, seconds)
    return min(seconds, rng.choice(busy) + rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 30))))


def _between(rng: Random, low: float, high: float) -> float:
    """Small and large ones alike."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
