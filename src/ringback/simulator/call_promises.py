"""The promises about each call, checked in the instant in which it is placed.

Each takes the call and the book, in which the call has been entered already, and returns what is wrong, or ``None``.
They know nothing of how the product decides. The promises about a whole run are in :mod:`.run_promises`.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ringback.model.breaker import FIRST_WAIT_MS, MOST_UNANSWERED
from ringback.model.numbers import zones
from ringback.simulator.plan import DENIED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.model.windows import Window
    from ringback.simulator.book import Book
    from ringback.simulator.carrier import PlacedCall

#: What a dead trunk may cost beside the unanswered calls: results on their way to the breaker.
_IN_FLIGHT = 20


def at_most_once(call: PlacedCall, book: Book) -> str | None:
    """A number is never dialled twice within one task."""
    times = len(book.to_number[call.task_id, call.callee])
    return f"task {call.task_id} dials {call.callee} for the {times}. time" if times > 1 else None


def claimed_first(call: PlacedCall, book: Book) -> str | None:
    """*Dialling* is committed before the INVITE leaves."""
    state = book.state_of(call.call_id)
    return None if state == "dialling" else f"an INVITE of call {call.call_id} leaves, which is {state or 'not there'}"


def spread(call: PlacedCall, book: Book) -> str | None:
    """At most rate + 1 calls of a trunk in any rolling second."""
    most = math.floor(book.trunks[call.trunk].rate + 1)
    found = len(book.lately[call.trunk])
    return f"trunk {call.trunk}: {found} calls within a second, at most {most} are allowed" if found > most else None


def lines_of_trunk(call: PlacedCall, book: Book) -> str | None:
    """No more calls are up than the trunk has channels."""
    up = sum(one.trunk == call.trunk for one in book.live())
    most = book.trunks[call.trunk].channels
    return f"trunk {call.trunk}: {up} calls up on {most} channels" if up > most else None


def lines_of_task(call: PlacedCall, book: Book) -> str | None:
    """No more calls of a task are up than it has lines."""
    plan = book.plan_of(call.task_id)
    if plan is None or plan.limits.lines is None:
        return None
    up = sum(one.task_id == call.task_id for one in book.live())
    most = plan.limits.lines
    return f"task {call.task_id}: {up} calls up on {most} lines" if up > most else None


def inside_windows(call: PlacedCall, book: Book) -> str | None:
    """A callee is called inside the calling windows of the task, in every zone where the number may be."""
    plan = book.plan_of(call.task_id)
    if plan is None or not plan.limits.windows:
        return None
    places = zones(call.callee)
    if not places:
        return f"{call.callee} is called in a window, and nobody knows where it is"
    for place in places:
        instants = (call.at_us - book.tolerance_us, call.at_us, call.at_us + book.tolerance_us)
        if not any(_holds(plan.limits.windows, place, at_us) for at_us in instants):
            local = datetime.fromtimestamp(call.at_us / 1_000_000, ZoneInfo(place))
            return f"{call.callee} is called at {local:%H:%M:%S} in {place}, outside its windows"
    return None


def stop_means_stop(call: PlacedCall, book: Book) -> str | None:
    """After a pause or cancel has returned, no new call of that task starts."""
    stop = book.stopped.get(call.task_id)
    return None if stop is None else f"task {call.task_id} dials after its {stop} has returned"


def denied_is_spared(call: PlacedCall, _book: Book) -> str | None:
    """A number with a denied prefix is never dialled."""
    return f"{call.callee} is denied, and dialled" if call.callee.startswith(DENIED_PREFIX) else None


def dead_trunk_is_spared(call: PlacedCall, book: Book) -> str | None:
    """A dead trunk costs a few calls, and then single probes."""
    outage = book.outages.get(call.trunk)
    if outage is None:
        return None
    probes = 3 + (call.at_us - outage.since_us) // (FIRST_WAIT_MS * 1000)
    # What a worker has learned in memory dies with it.
    most = (MOST_UNANSWERED + _IN_FLIGHT) * (1 + outage.starts) + probes
    return f"trunk {call.trunk} is down and costs {outage.calls} calls" if outage.calls > most else None


#: All of them, by the name in the report.
OF_A_CALL: dict[str, Callable[[PlacedCall, Book], str | None]] = {
    "at most once": at_most_once,
    "claimed before the INVITE": claimed_first,
    "calls per second": spread,
    "lines of a trunk": lines_of_trunk,
    "lines of a task": lines_of_task,
    "calling windows": inside_windows,
    "stop means stop": stop_means_stop,
    "denied numbers": denied_is_spared,
    "a dead trunk is spared": dead_trunk_is_spared,
}


def _holds(windows: tuple[Window, ...], place: str, at_us: int) -> bool:
    local = datetime.fromtimestamp(at_us / 1_000_000, ZoneInfo(place))
    minute = local.hour * 60 + local.minute
    for window in windows:
        inside = window.start <= minute < window.end
        round_midnight = window.end < window.start and (minute >= window.start or minute < window.end)
        if inside or round_midnight:
            return True
    return False
