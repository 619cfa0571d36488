"""The limits as the carrier saw them: calls per second of each trunk, lines of trunks, tasks and accounts."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from bench.rolling import most_in_a_second, seconds_over
from chaos.compare import TRANSIT_MS, Check
from chaos.evidence import MS, Evidence, Seen

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How much closer together than they should be INVITEs may arrive, milliseconds: Asterisk's threads, the machine's
#: load, and several workers on one trunk, each of which is late by itself. Seconds that are too full by less are
#: counted apart.
JITTER_MS: Final = 50


def every_limit(evidence: Evidence) -> list[Check]:
    """A check a limit."""
    of_task = {task.id: task.account_id for task in evidence.tasks}
    checks = [_rate(evidence, trunk, rate) for trunk, rate in evidence.limits.rate.items()]
    for trunk, channels in evidence.limits.channels.items():
        mine = [one for one in evidence.seen if one.trunk == trunk]
        checks.append(_lines(f"lines of trunk {trunk}", evidence, mine, channels))
    for task, lines in evidence.limits.task_lines.items():
        mine = [one for one in evidence.seen if one.task == task]
        checks.append(_lines(f"lines of task {task}", evidence, mine, lines))
    for account, lines in evidence.limits.account_lines.items():
        mine = [one for one in evidence.seen if of_task.get(one.task or 0) == account]
        checks.append(_lines(f"lines of account {account}", evidence, mine, lines))
    return checks


def _rate(evidence: Evidence, trunk: str, rate: float) -> Check:
    """At most rate + 1 in any rolling second."""
    mine = sorted((one for one in evidence.seen if one.trunk == trunk), key=lambda one: one.at_ns)
    arrivals = [one.at_ns for one in mine]
    worker_of = {row.id: row.worker_id for row in evidence.calls}
    allowed = math.floor(rate + 1)
    over, worst_ms = seconds_over(arrivals, allowed)
    most, _ = most_in_a_second(arrivals)
    broken = []
    for index, (first, last) in enumerate(zip(arrivals, arrivals[allowed:], strict=False)):
        if last - first < (1000 - JITTER_MS) * MS:
            by = Counter(worker_of.get(one.call or 0) for one in mine[index : index + allowed + 1])
            broken.append(
                f"{allowed + 1} INVITEs within {(last - first) / MS:.0f} ms from {first}, by worker {dict(by)}"
            )
    note = f"{most} in a second at most, allowed {allowed}"
    if over:
        note += f"; {over} seconds too full, by {worst_ms:.1f} ms at most"
    return Check(promise=f"calls per second of trunk {trunk}", checked=len(arrivals), broken=broken, note=note)


def _lines(name: str, evidence: Evidence, seen: Sequence[Seen], allowed: int) -> Check:
    """From the INVITE's arrival to the end, both at the carrier."""
    # A number that never says a word takes no line there.
    spans = [(one.at_ns, end) for one in seen if (end := line_free_at(one, evidence.asterisk_deaths_ns)) is not None]
    orphans = sum(
        one.ended_ns is not None and line_free_at(one, evidence.asterisk_deaths_ns) != one.ended_ns for one in seen
    )
    most, _ = most_at_once(spans, allowed)
    settled = [(begin, max(begin, end - TRANSIT_MS * MS)) for begin, end in spans]
    _, too_many = most_at_once(settled, allowed)
    broken = [f"{count} at once" for count in too_many]
    note = f"{most} at once at most, allowed {allowed}"
    if orphans:
        note += f"; {orphans} orphaned by a killed Asterisk count until then"
    return Check(promise=name, checked=len(spans), broken=broken, note=note)


def line_free_at(seen: Seen, asterisk_deaths_ns: Sequence[int]) -> int | None:
    """When a call's line was free, ns: its end, or the death of the Asterisk that had it. ``None``: it never had one,
    for the carrier did not respond."""
    died = min((at for at in asterisk_deaths_ns if at >= seen.at_ns), default=None)
    if seen.ended_ns is None:
        return died if seen.answered_ns is not None else None
    return seen.ended_ns if died is None else min(died, seen.ended_ns)


def most_at_once(spans: Sequence[tuple[int, int]], allowed: int) -> tuple[int, list[int]]:
    """The most that overlap, and how many did at each begin that exceeded ``allowed``. Ends are not included."""
    up: list[int] = []
    most, too_many = 0, []
    for begin, end in sorted(spans):
        while up and up[0] <= begin:
            heapq.heappop(up)
        heapq.heappush(up, end)
        most = max(most, len(up))
        if len(up) > allowed:
            too_many.append(len(up))
    return most, too_many
