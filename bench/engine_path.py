"""The whole path of a call that costs nothing: lease, engine, result, counters; and what others need for less.

There is no report to the user in it yet: no outbox exists in this version.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.dialling import ROOT, Dialling
from bench.engine_rig import rig, server_cpu_seconds
from bench.processes import cpu_seconds, finish

if TYPE_CHECKING:
    from bench.figures import Report
    from tests.parts.postgres_process import PostgresProcess

CALLS = 60_000
BARE_CALLS = 60_000
#: Of fewer the slow start and the last group of results are too large a part.
LEAST_CALLS = 20_000
JOBS = {"dbos": 2_000, "procrastinate": 4_000}
ROUNDS = 3
RATE = 1_000_000.0
PATIENCE_SECONDS = 300
#: Made by `make bench-engine`.
OTHERS = ROOT / ".cache" / "bench-venv" / "bin" / "python"


class Cost(NamedTuple):
    """Calls a second, and the CPU seconds of 1,000 calls: of the process, and of PostgreSQL."""

    rate: float
    own: float
    server: float


def run(report: Report, server: PostgresProcess, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it."""
    found: dict[str, list[Cost]] = {"ringback": [], "bare": [], **{name: [] for name in JOBS}}
    for _ in range(ROUNDS):
        # In turn, so that a busy machine hurts all alike.
        found["ringback"].append(asyncio.run(_ringback(server, max(LEAST_CALLS, round(CALLS * scale)))))
        found["bare"].append(asyncio.run(_bare(server, max(LEAST_CALLS, round(BARE_CALLS * scale)))))
        for name, jobs in JOBS.items():
            found[name].append(_jobs(server, name, max(500, round(jobs * scale))))
        print("  " + ", ".join(f"{name} {of[-1].rate:.0f}/s" for name, of in found.items()), flush=True)
    best = {name: max(of) for name, of in found.items()}
    for name, cost in best.items():
        report.figure(f"path_{name}", cost.rate, "calls/s")
        report.figure(f"path_{name}_cpu", cost.own, "s/1000 calls")
        report.figure(f"path_{name}_postgresql_cpu", cost.server, "s/1000 calls")
    own, other = best["ringback"].rate, max(best[name].rate for name in JOBS)
    report.figure("path_beside_job_engines", own / other, "times", goal=10, better="more")
    report.figure("path_beside_bare_loop", own / best["bare"].rate, "times", goal=0.25, better="more")


async def _ringback(server: PostgresProcess, calls: int) -> Cost:
    async with rig(server, rate=RATE) as here:
        # The first calls prepare statements and fill caches.
        warm, measured = await here.task(1_000), 0
        async with Dialling(here.url, profile=os.environ.get("BENCH_PROFILE", "")) as dialler:
            here.announce()
            await here.until_finished([warm], seconds=PATIENCE_SECONDS)
            measured = await here.task(calls)
            await here.settle_down()
            await dialler.ask("reset")
            own, servers = dialler.cpu_seconds, server_cpu_seconds(server)
            here.announce()
            took = await here.until_finished([measured], seconds=PATIENCE_SECONDS)
            own, servers = dialler.cpu_seconds - own, server_cpu_seconds(server) - servers
            if "BENCH_VERBOSE" in os.environ:
                stats = await dialler.ask("stats")
                leases = stats["leases"]
                print(f"  {len(leases)} leases of {calls / len(leases):.0f}, {1000 * sum(leases) / len(leases):.1f} ms")
        return Cost(calls / took, 1_000 * own / calls, 1_000 * servers / calls)


async def _bare(server: PostgresProcess, calls: int) -> Cost:
    async with rig(server, rate=RATE) as here:
        task_id = await here.task(calls)
        await here.settle_down()
        command = [sys.executable, "-m", "bench.bare_leases", here.url, str(task_id), str(here.trunk_id)]
        return await asyncio.to_thread(_measured, server, command, calls)


def _jobs(server: PostgresProcess, name: str, jobs: int) -> Cost:
    database = f"jobs_{name}"
    server.create_database(database)
    try:
        program = str(Path(__file__).with_name("job_engines.py"))
        return _measured(server, [str(OTHERS), program, name, server.url(database), str(jobs)], jobs)
    finally:
        server.drop_database(database)


def _measured(server: PostgresProcess, command: list[str], calls: int) -> Cost:
    """Of a program that says ``began``, and at the end the seconds, each on a line."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        own, servers = cpu_seconds(process.pid), server_cpu_seconds(server)
        process.stdin.write("go\n")
        process.stdin.flush()
        took = float(process.stdout.readline())
        own, servers = cpu_seconds(process.pid) - own, server_cpu_seconds(server) - servers
    finally:
        finish(process)
    return Cost(calls / took, 1_000 * own / calls, 1_000 * servers / calls)
