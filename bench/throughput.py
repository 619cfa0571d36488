"""Calls per second through one Asterisk: the whole of Ringback beside a bare ARI loop, in turn, in the same run.

A call of Ringback's is leased, paced, placed, answered, hung up, and its result is stored; the bare loop only places,
hangs up and waits for the end. Machine detection is off, so that Asterisk does the same for both.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from bench.bare_ari import bare_loop
from bench.processes import cpu_seconds
from bench.served import Served
from bench.sipp import Sipp
from tests.parts.asterisk_process import AsteriskProcess

if TYPE_CHECKING:
    from bench.figures import Report

ROUNDS = 3
CALLS = 4_000
BARE_AT_ONCE = 40
LINES = 400
WIRE_CALLS = 20_000
WIRE_RATE = 4_000
PATIENCE_SECONDS = 120


def run(report: Report, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it."""
    calls = max(500, round(CALLS * scale))
    with AsteriskProcess(rtp_ports=2_000) as asterisk, Sipp() as carrier:
        assert asterisk.process is not None
        environ = {**asterisk.environ, "RINGBACK_ASTERISK": f"{asterisk.address}?lines={LINES}"}
        plain = {**environ, "RINGBACK_ASTERISK_DETECT_MACHINES": "false"}
        bare: list[float] = []
        own: list[float] = []
        costs: list[list[float]] = []

        def beside() -> None:
            bare.append(
                calls / asyncio.run(bare_loop(asterisk.address, carrier.port, calls=calls, at_once=BARE_AT_ONCE))
            )

        with Served(plain, carrier.port, cps=1_000, channels=LINES) as server:
            pids = (asterisk.process.pid, server.pid, carrier.process.pid)
            beside()
            one_task(server, calls)
            bare.clear()
            for _ in range(ROUNDS):
                beside()
                before = [cpu_seconds(pid) for pid in pids]
                own.append(one_task(server, calls))
                costs.append([1_000 * (cpu_seconds(pid) - was) / calls for pid, was in zip(pids, before, strict=True)])
                print(f"  bare {bare[-1]:.0f}/s, own {own[-1]:.0f}/s", flush=True)
        with Served(environ, carrier.port, cps=1_000, channels=LINES) as server:
            detecting = one_task(server, calls)
        wire_calls = max(2_000, round(WIRE_CALLS * scale))
        wire_seconds, wire_failed = carrier.called_by_sipp(calls=wire_calls, rate=WIRE_RATE)
    report.figure("throughput_bare_ari", statistics.median(bare), "calls/s")
    report.figure("throughput_ringback", statistics.median(own), "calls/s")
    report.figure(
        "throughput_ratio", statistics.median(own) / statistics.median(bare), "times", goal=0.9, better="more"
    )
    report.figure("throughput_ratio_of_best", max(own) / max(bare), "times")
    report.figure("throughput_with_machine_detection", detecting, "calls/s")
    report.figure("throughput_sipp_to_sipp", wire_calls / wire_seconds, "calls/s")
    report.figure("throughput_sipp_to_sipp_failed", wire_failed, "calls")
    for name, cost in zip(("asterisk", "ringback", "sipp"), zip(*costs, strict=True), strict=True):
        report.figure(f"throughput_cpu_{name}", statistics.median(cost), "ms/call")


def one_task(server: Served, calls: int) -> float:
    """Calls per second of a task whose every call is answered."""
    took, answered, failed = server.finished(server.call(calls), seconds=PATIENCE_SECONDS)
    if failed:
        print(f"  {failed} of {answered + failed} calls failed: {server.log}", flush=True)
    return calls / took
