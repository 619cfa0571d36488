"""1,000 calls a second of 5 to 60 s, held: what that costs with a backlog of 1,000,000 numbers, and with one of 10,000.

The backlog is five tasks, topped up as they are dialled, so the two differ in nothing but their size.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.dialling import Dialling
from bench.engine_rig import Rig, rig, server_cpu_seconds, share
from bench.processes import rss_mb

if TYPE_CHECKING:
    from bench.figures import Report
    from tests.parts.postgres_process import PostgresProcess

RATE = 1_000
TASKS = 5
BACKLOGS = {"small": 10_000, "large": 1_000_000}
SECONDS = (5.0, 60.0)
HELD_SECONDS = 60
#: After so long as many calls end as begin.
RAMP_SECONDS = 60
TOP_UP_EVERY_SECONDS = 1.0


class Steady(NamedTuple):
    """Of the held time. CPU in shares of the machine; memory in MB; lateness of results in seconds;
    ``waited`` is the share of the time that the dialler waited for a processor, which is a busy machine's doing."""

    rate: float
    ended: float
    own: float
    server: float
    own_mb: float
    server_mb: float
    late: float
    waited: float


def run(report: Report, server: PostgresProcess, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it, and the calls with it; and it shrinks the large backlog."""
    found: dict[str, Steady] = {}
    for name, numbers in BACKLOGS.items():
        backlog = numbers if name == "small" else max(50_000, round(numbers * scale))
        found[name] = one = asyncio.run(_held(server, backlog, scale))
        report.figure(f"steady_{name}_backlog_rate", one.rate, "calls/s", goal=0.99 * RATE, better="more")
        report.figure(f"steady_{name}_backlog_ended", one.ended, "calls/s")
        report.figure(f"steady_{name}_backlog_cpu", 100 * one.own, "% of the machine")
        report.figure(f"steady_{name}_backlog_postgresql_cpu", 100 * one.server, "% of the machine")
        report.figure(f"steady_{name}_backlog_memory", one.own_mb, "MB")
        report.figure(f"steady_{name}_backlog_postgresql_memory", one.server_mb, "MB")
        report.figure(f"steady_{name}_backlog_waited_for_processor", 100 * one.waited, "% of the time")
        report.figure(f"steady_{name}_backlog_results_late_p99", 1_000 * one.late, "ms")
    small, large = ((one.own + one.server) / one.rate for one in (found["small"], found["large"]))
    report.figure("steady_cost_large_beside_small", large / small, "times", goal=1.1)


async def _held(server: PostgresProcess, backlog: int, scale: float) -> Steady:
    held, ramp = max(5.0, HELD_SECONDS * scale), max(5.0, RAMP_SECONDS * scale)
    shortest, longest = SECONDS
    # A shorter run has shorter calls, or none would end in it.
    seconds = (min(shortest, ramp / 12), min(longest, ramp))
    async with rig(server, rate=RATE) as here:
        task_ids = [await here.task(backlog // TASKS) for _ in range(TASKS)]
        await here.settle_down()
        async with Dialling(here.url, seconds, profile=os.environ.get("BENCH_PROFILE", "")) as dialler:
            here.announce()
            filling = asyncio.create_task(_top_up(here, task_ids, backlog // TASKS))
            await asyncio.sleep(ramp)
            await dialler.ask("reset")
            began, own, servers = time.monotonic(), dialler.cpu_seconds, server_cpu_seconds(server)
            waited = dialler.waited_seconds
            await asyncio.sleep(held)
            took, own, servers = (
                time.monotonic() - began,
                dialler.cpu_seconds - own,
                server_cpu_seconds(server) - servers,
            )
            waited = (dialler.waited_seconds - waited) / took
            stats = await dialler.ask("stats")
            memory = dialler.rss_mb, rss_mb(server.pid)
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
        machine = took * (os.cpu_count() or 1)
        late = share(stats["results"], 0.99)
        rates = stats["placed"] / took, len(stats["results"]) / took
        return Steady(*rates, own / machine, servers / machine, *memory, late, waited)


async def _top_up(here: Rig, task_ids: list[int], most: int) -> None:
    """Keep the tasks at so many numbers each."""
    while True:
        for task_id in task_ids:
            await asyncio.sleep(TOP_UP_EVERY_SECONDS / len(task_ids))
            queued = await here.sql.fetchval("SELECT queued FROM task WHERE id = $1", task_id)
            if queued < most:
                await here.top_up(task_id, most - queued)
                here.announce()
