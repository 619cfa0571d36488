"""Recall rounds and stops: a child task of 200,000 candidates, 1,000 nodes due at once, pause and cancel."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.dialling import Dialling
from bench.engine_rig import rig, share
from ringback.clock import RealClock
from ringback.roles.control import cancel_tasks, pause_task

if TYPE_CHECKING:
    from typing import Any

    from bench.engine_rig import Rig
    from bench.figures import Report
    from tests.parts.postgres_process import PostgresProcess

CANDIDATES = 200_000
#: Who qualifies, and the state of the parent that it takes.
AUDIENCES = {"all": "finished busy", "tenth": "finished"}
BESIDE_RATE = 50
NODES = 1_000
CANDIDATES_A_NODE = 20
#: How far ahead the nodes are due when they are stored.
AHEAD_MS = 2_000
STOP_RATE = 1_000
STOPS = 6
#: Longer than any call could still be on its way to the engine.
AFTER_SECONDS = 1.0
WARM_SECONDS = 3.0
#: How long the rate of two workers is measured before the first stop.
RATE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02


def child(report: Report, server: PostgresProcess, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` lessens the candidates."""
    for name, state in AUDIENCES.items():
        asyncio.run(_child(report, server, name, state, max(10_000, round(CANDIDATES * scale))))


async def _child(report: Report, server: PostgresProcess, name: str, state: str, candidates: int) -> None:
    async with rig(server, rate=BESIDE_RATE) as here:
        parent_id = await here.task(candidates, state=state)
        node_id = await here.flow(parent_id)
        await here.task(100_000)
        await here.settle_down()
        bare = await _bare_copy(here, parent_id, busy_only=name == "tenth")
        async with Dialling(here.url, (1.0, 5.0), conductor=True) as roles:
            here.announce()
            await asyncio.sleep(WARM_SECONDS)
            await roles.ask("reset")
            await here.sql.execute("UPDATE node SET due_at = $2 WHERE id = $1", node_id, RealClock().now_ms())
            here.announce()
            starts = await _started(roles, 1)
            # A tick that it held up ends after it.
            await asyncio.sleep(1)
            stats = await roles.ask("stats")
            qualified = await here.sql.fetchval("SELECT qualified FROM node WHERE id = $1", node_id)
    ((began, ended, _),) = starts
    print(f"  {qualified} of {candidates} qualified", flush=True)
    report.figure(f"child_{name}_bare_copy", bare, "s")
    report.figure(f"child_{name}_qualify", ended - began, "s", goal=1.0)
    report.figure(f"child_{name}_tick_late", 1_000 * max(stats["ticks"]), "ms", goal=200)
    report.figure(f"child_{name}_longest_lease", 1_000 * max(stats["leases"]), "ms")


async def _bare_copy(here: Rig, parent_id: int, *, busy_only: bool) -> float:
    """What the rows of the child cost the database alone, seconds. Nothing of it stays."""
    copying = here.sql.transaction()
    await copying.start()
    began = time.monotonic()
    child_id = await here.sql.fetchval(
        "INSERT INTO task (account_id, application_id, name, template_id, limits, send_at, total, queued, created_at,"
        " modified_at) SELECT account_id, application_id, 'bare', template_id, limits, 0, 0, 0, 0, 0"
        " FROM task WHERE id = $1 RETURNING id",
        parent_id,
    )
    await here.sql.execute(
        "INSERT INTO call (task_id, callee, zone, texts, route_prefix) SELECT $2, callee, zone, texts, '' FROM call"
        " WHERE task_id = $1 AND state = 'ended' AND (outcome = 'busy' OR NOT $3) ORDER BY id",
        parent_id,
        child_id,
        busy_only,
    )
    took = time.monotonic() - began
    await copying.rollback()
    await here.sql.execute("VACUUM call")
    return took


def due(report: Report, server: PostgresProcess, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` lessens the nodes."""
    asyncio.run(_due(report, server, max(100, round(NODES * scale))))
    asyncio.run(_stops(report, server))


async def _due(report: Report, server: PostgresProcess, nodes: int) -> None:
    async with rig(server, rate=BESIDE_RATE) as here:
        for _ in range(nodes):
            await here.flow(await here.task(CANDIDATES_A_NODE, state="finished busy"))
        await here.settle_down()
        async with Dialling(here.url, (1.0, 5.0), conductor=True) as roles:
            due_ms = RealClock().now_ms() + AHEAD_MS
            await here.sql.execute("UPDATE node SET due_at = $1", due_ms)
            here.announce()
            starts = await _started(roles, nodes)
    late = [ended - due_ms / 1_000 for _, ended, started in starts for _ in range(started)]
    report.figure("due_late_p99", share(late, 0.99), "s", goal=0.5)
    report.figure("due_late_median", share(late, 0.5), "s")


async def _started(roles: Dialling, nodes: int) -> list[Any]:
    """When the conductor has started so many: its transactions."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        starts: list[Any] = [one for one in await roles.ask("starts") if one[2]]
        if sum(started for _, _, started in starts) >= nodes:
            return starts
        if time.monotonic() > deadline:
            raise RuntimeError(f"{nodes} nodes have not started in {PATIENCE_SECONDS:g} s")
        await asyncio.sleep(POLL_SECONDS)


async def _stops(report: Report, server: PostgresProcess) -> None:
    async with rig(server, rate=STOP_RATE) as here:
        task_ids = [await here.task(50_000) for _ in range(STOPS)]
        await here.settle_down()
        async with Dialling(here.url, (0.5, 1.0)) as one, Dialling(here.url, (0.5, 1.0)) as other:
            workers = (one, other)
            here.announce()
            await asyncio.sleep(WARM_SECONDS)
            for worker in workers:
                await worker.ask("reset")
            began = time.monotonic()
            await asyncio.sleep(RATE_SECONDS)
            took_all = time.monotonic() - began
            placed = [(await worker.ask("stats"))["placed"] / took_all for worker in workers]
            too_late, took = 0, []
            for number, task_id in enumerate(task_ids):
                asked = time.monotonic()
                if number % 2:
                    await cancel_tasks(here.store, RealClock(), [task_id])
                else:
                    await pause_task(here.store, RealClock(), task_id)
                took.append(time.monotonic() - asked)
                at_us = RealClock().now_us()
                await asyncio.sleep(AFTER_SECONDS)
                too_late += sum([await worker.ask("after", task_id, at_us) for worker in workers])
            await _check_placed(here)
    print(f"  workers placed {placed[0]:.0f} and {placed[1]:.0f} calls/s", flush=True)
    report.figure("stop_rate_of_two_workers", sum(placed), "calls/s")
    report.figure("stop_calls_after_the_answer", too_late, "calls", goal=0)
    report.figure("stop_answered_after", 1_000 * max(took), "ms")


async def _check_placed(here: Rig) -> None:
    """Every one of the tasks had been dialled: else nothing was stopped."""
    idle = await here.sql.fetchval("SELECT count(*) FROM task WHERE queued = total")
    if idle:
        raise RuntimeError(f"{idle} tasks were never dialled")
