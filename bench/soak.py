"""Memory of the server and of Asterisk over many calls, as fast as they go.

PJSIP keeps what a transaction used for 32 s after its end, so Asterisk's memory follows the calls of the last half
minute: it must rise at first, and must not go on rising.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.processes import cpu_seconds, rss_mb
from bench.served import Served
from bench.sipp import Sipp
from tests.parts.asterisk_process import AsteriskProcess

if TYPE_CHECKING:
    from bench.figures import Report

CALLS = 50_000
LINES = 400
POINTS = 10
PATIENCE_SECONDS = 400


def run(report: Report, scale: float = 1.0) -> None:
    """Measure and report. ``BENCH_SOAK`` sets the number of calls, else ``scale`` shortens it."""
    calls = int(os.environ.get("BENCH_SOAK", "0")) or max(2_000, round(CALLS * scale))
    with AsteriskProcess() as asterisk, Sipp() as carrier:
        assert asterisk.process is not None
        environ = {
            **asterisk.environ,
            "RINGBACK_ASTERISK": f"{asterisk.address}?lines={LINES}",
            "RINGBACK_ASTERISK_DETECT_MACHINES": "false",
        }
        with Served(environ, carrier.port, cps=1_000, channels=LINES) as server:
            pids = {"server": server.pid, "asterisk": asterisk.process.pid}
            print("  calls  " + "  ".join(f"{name} MB" for name in pids) + "  calls/s")
            points = [(0, {name: rss_mb(pid) for name, pid in pids.items()})]
            show(*points[0], 0.0)
            task_id, began = server.call(calls), time.monotonic()
            spent = sum(map(cpu_seconds, pids.values()))
            for point in range(1, POINTS + 1):
                done = calls * point // POINTS
                server.wait_for(
                    "SELECT answered + failed >= ? FROM task WHERE id = ?", done, task_id, seconds=PATIENCE_SECONDS
                )
                points.append((done, {name: rss_mb(pid) for name, pid in pids.items()}))
                show(*points[-1], done / (time.monotonic() - began))
            spent = sum(map(cpu_seconds, pids.values())) - spent
            took, _, failed = server.finished(task_id, seconds=PATIENCE_SECONDS)
    middle, last = points[POINTS // 2], points[-1]
    for name in pids:
        grown = last[1][name] - middle[1][name]
        report.figure(f"soak_{name}_memory", last[1][name], "MB")
        report.figure(f"soak_{name}_growth_of_last_half", 100 * grown / middle[1][name], "%")
        report.figure(f"soak_{name}_growth_a_call", 1_024 * grown / (last[0] - middle[0]), "KB/call")
    report.figure("soak_rate", calls / took, "calls/s")
    report.figure("soak_cpu", 1_000 * spent / calls, "ms/call")
    report.figure("soak_failed", failed, "calls", goal=0)


def show(calls: int, memory: dict[str, float], rate: float) -> None:
    """Print one point."""
    print(
        f"  {calls:6}  " + "  ".join(f"{megabytes:8.0f}" for megabytes in memory.values()) + f"  {rate:.0f}", flush=True
    )
