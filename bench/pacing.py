"""Pacing as the carrier sees it: one worker, a trunk with a configured rate, every call refused at once.

Counted are the arrivals of first INVITEs by the kernel's clock. The placer's guard knows of each INVITE only when it
was handed over and when the engine confirmed it; what an engine does to it after that confirmation is the only thing
that can put more into a second than the guard allows, and the excess figure says by how much time.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.carrier import Carrier
from bench.rolling import SECOND, gaps, mean_rate, most_in_a_second, seconds_over
from bench.served import Served
from tests.parts.asterisk_process import AsteriskProcess

if TYPE_CHECKING:
    from bench.figures import Report

RATES = (5, 50, 200)
SECONDS = 60
#: More than a trunk that is refused at once ever needs at these rates.
LINES = 400


def run(report: Report, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it."""
    seconds = max(5, round(SECONDS * scale))
    with AsteriskProcess() as asterisk:
        engines = {
            "asterisk": {**asterisk.environ, "RINGBACK_ASTERISK": f"{asterisk.address}?lines={LINES}"},
            "embedded": {"RINGBACK_TELEPHONY": "sip", "RINGBACK_SIP_WORKERS": "1"},
        }
        # Few calls disturb nobody: both engines at the same time.
        seen = refused_calls(engines, RATES[0], seconds)
        for engine, arrivals in seen.items():
            judge(report, engine, RATES[0], arrivals)
        for rate in RATES[1:]:
            for engine, environ in engines.items():
                judge(report, engine, rate, refused_calls({engine: environ}, rate, seconds)[engine])


def refused_calls(engines: dict[str, dict[str, str]], rate: int, seconds: int) -> dict[str, list[int]]:
    """Dial for so long through each of the engines, at the same time. Returns the arrival times by engine, ns."""
    numbers = rate * seconds + 1
    with ExitStack() as stack:
        running: dict[str, tuple[Any, ...]] = {}
        for engine, environ in engines.items():
            carrier = stack.enter_context(Carrier())
            server = stack.enter_context(Served(environ, carrier.port, cps=rate, channels=LINES))
            running[engine] = (carrier, server, server.call(numbers))
        seen = {}
        for engine, (carrier, server, task_id) in running.items():
            server.finished(task_id, seconds=2 * seconds + 30)
            summary = carrier.close()
            arrivals = sorted(at for at, _ in summary["calls"])
            if len(arrivals) != numbers or summary["repeats"]:
                print(f"  {engine}: {len(arrivals)} of {numbers} calls, {summary['repeats']} INVITEs repeated")
            seen[engine] = arrivals
        return seen


def judge(report: Report, engine: str, rate: int, arrivals: list[int]) -> None:
    """Report one run."""
    name = f"pacing_{engine}_{rate}"
    report.figure(f"{name}_mean", mean_rate(arrivals) / rate, "of the rate", goal=0.99, better="more")
    most, where = most_in_a_second(arrivals)
    report.figure(f"{name}_most_in_a_second", most, "INVITEs", goal=rate + 1)
    over, early_ms = seconds_over(arrivals, rate + 1)
    report.figure(f"{name}_excess", early_ms, "ms")
    if over:
        print(f"  {over} rolling seconds hold too many, by {early_ms:.3f} ms at worst")
        print(f"  distances, in parts of 1/rate: {gaps(arrivals, SECOND // rate)}")
        worst = arrivals[where - most + 1 : where + 1]
        late = [round((at - worst[0]) / 1e6 - 1_000 * index / rate, 1) for index, at in enumerate(worst)]
        print(f"  the worst second, how late each was after an even spread, ms: {late[:: max(1, most // 20)]}")
