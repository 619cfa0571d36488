"""The cap on lines, and how well they are used while there are numbers left.

Both are measured at the carrier: from the arrival of an INVITE to the end of its call there. What the store calls busy
includes our own time before and after, and would hide it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from bench.carrier import Carrier
from bench.rolling import SECOND
from bench.served import STAY, Served
from tests.parts.asterisk_process import AsteriskProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.figures import Report

LINES = 50
TALK_SECONDS = (2.0, 5.0)
CALLS = 700


def run(report: Report, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it."""
    calls = max(3 * LINES, round(CALLS * scale))
    embedded = {"RINGBACK_TELEPHONY": "sip", "RINGBACK_SIP_WORKERS": "2"}
    judge(report, "embedded", capped_calls(embedded, calls))
    with AsteriskProcess() as asterisk:
        judge(report, "asterisk", capped_calls(asterisk.environ, calls))


def capped_calls(environ: dict[str, str], calls: int) -> list[tuple[int, int]]:
    """Calls that the carrier ends after 2 to 5 s, over a trunk of 50 lines. Returns begin and end of each, ns."""
    with (
        Carrier(answers=TALK_SECONDS) as carrier,
        Served(environ, carrier.port, cps=200, channels=LINES, template=STAY) as server,
    ):
        server.finished(server.call(calls), seconds=30 + 2 * calls / LINES * TALK_SECONDS[1])
        seen = carrier.close()["calls"]
    open_ends = [begin for begin, end in seen if end is None]
    if open_ends:
        raise RuntimeError(f"{len(open_ends)} calls never ended at the carrier")
    return seen


def judge(report: Report, engine: str, calls: Sequence[tuple[int, int]]) -> None:
    """Report one run."""
    most = 0
    up: list[int] = []
    full_at: int | None = None
    begins = sorted(calls)
    for begin, end in begins:
        while up and up[0] <= begin:
            heapq.heappop(up)
        heapq.heappush(up, end)
        most = max(most, len(up))
        if full_at is None and len(up) == LINES:
            full_at = begin
    if full_at is None:
        raise RuntimeError(f"the lines were never all in use: {most} at most")
    # Numbers remain until the last INVITE; before the lines were full for the first time the trunk's rate ruled.
    last = begins[-1][0]
    used = sum(max(0, min(end, last) - max(begin, full_at)) for begin, end in calls)
    share = used / (LINES * (last - full_at))
    calls_in_time = sum(begin > full_at for begin, _ in begins)
    report.figure(f"lines_{engine}_most_at_once", most, "calls", goal=LINES)
    report.figure(f"lines_{engine}_used", share, "of line-seconds", goal=0.97, better="more")
    unused_ms = (1 - share) * LINES * (last - full_at) / SECOND * 1_000 / calls_in_time
    report.figure(f"lines_{engine}_unused_per_call", unused_ms, "ms")
