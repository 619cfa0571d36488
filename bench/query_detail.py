"""``recallFlow/queryDetail`` beside an empty POST endpoint of the same server, with 1,000 and with 10,000 flows stored,
while calls are dialled in the same database.

Both are asked in short turns, one after the other, by the same client over the same kept connections, so that a busy
machine hurts both alike; what counts is their ratio. The larger database holds 2,000,000 calls.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING

from litestar import post

from bench.asking import Question, Rate, turn
from bench.dialling import ROOT, Dialling
from bench.engine_rig import Rig, rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.figures import Report
    from tests.parts.postgres_process import PostgresProcess

FLOWS = {"tenth": 1_000, "full": 10_000}
CALLS_A_FLOW = 200
DIALLED_A_SECOND = 200
#: Enough for the longest run.
TO_DIAL = 50_000
CONNECTIONS = 32
TURNS = 8
TURN_SECONDS = 1.0
DETAIL = "/voice/recallFlow/queryDetail"
EMPTY = "/empty"


def run(report: Report, server: PostgresProcess, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` lessens what is stored."""
    found: dict[str, float] = {}
    for name, flows in FLOWS.items():
        turns, dialled = asyncio.run(_measured(server, max(100, round(flows * scale))))
        empty, ours = (Rate(*map(statistics.median, zip(*of, strict=True))) for of in zip(*turns, strict=True))
        report.figure(f"detail_{name}_empty_endpoint", empty.clock, "requests/s")
        report.figure(f"detail_{name}", ours.clock, "requests/s")
        found[name] = statistics.median(one.clock / beside.clock for beside, one in turns)
        report.figure(f"detail_{name}_ratio", found[name], "times", goal=0.4, better="more")
        # The client takes its share of the machine: this is without it.
        ratio = statistics.median(one.processor / beside.processor for beside, one in turns)
        report.figure(f"detail_{name}_processor_ratio", ratio, "times")
        report.figure(f"detail_{name}_empty_endpoint_p99", 1_000 * empty.late, "ms")
        report.figure(f"detail_{name}_p99", 1_000 * ours.late, "ms")
        report.figure(f"detail_{name}_dialled_meanwhile", dialled, "calls/s")
    report.figure("detail_tenth_beside_full", found["tenth"] / found["full"], "times", goal=1.2)


async def _measured(server: PostgresProcess, flows: int) -> tuple[list[tuple[Rate, Rate]], float]:
    """The turns of the empty endpoint and of ours; and how many calls a second were placed meanwhile."""
    async with rig(server, rate=DIALLED_A_SECOND) as here:
        await _fill(here, flows)
        await here.task(TO_DIAL)
        await here.settle_down()
        command = [sys.executable, "-m", "bench.query_detail", here.url]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            async with Dialling(here.url, (1.0, 5.0)) as dialler:
                here.announce()
                await asyncio.sleep(2)
                await dialler.ask("reset")
                began = time.monotonic()
                turns = await _turns(process.pid, port, flows)
                took = time.monotonic() - began
                dialled = (await dialler.ask("stats"))["placed"] / took
        finally:
            process.terminate()
            await process.wait()
    return turns, dialled


async def _fill(here: Rig, flows: int) -> None:
    """So many flows of three rounds, each on a task of its own with ended calls."""
    sql, owner = here.sql, (here.account_id, here.application_id, here.template_id)
    async with here.unchecked():
        await sql.execute(
            "INSERT INTO task (id, account_id, application_id, name, template_id, total, failed, queued, state, limits,"
            " send_at, created_at, modified_at, finished_at)"
            " SELECT n, $1, $2, 'stored' || n, $3, $5, $5, 0, 'finished', '{}', 0, 0, 0, 0"
            " FROM generate_series(1, $4::bigint) n",
            *owner,
            flows,
            CALLS_A_FLOW,
        )
        await sql.execute(
            "INSERT INTO call (task_id, callee, zone, state, outcome, worker_id, trunk_id)"
            " SELECT task_id, '4930' || lpad(n::text, 7, '0'), '', 'ended', 'busy', 1, 1"
            " FROM generate_series(1, $1::bigint) task_id, generate_series(1, $2::bigint) n",
            flows,
            CALLS_A_FLOW,
        )
        await sql.execute(
            "INSERT INTO flow (id, account_id, parent_task_id, recall_type, recall_intents, interval_minutes, rounds,"
            " created_at, modified_at) SELECT n, $1, n, 1, '[]', 60, 3, 0, 0 FROM generate_series(1, $2::bigint) n",
            here.account_id,
            flows,
        )
        await sql.execute(
            "INSERT INTO node (flow_id, position, template_id) SELECT n, position, $1"
            " FROM generate_series(1, $2::bigint) n, generate_series(1, 3) position",
            here.template_id,
            flows,
        )
        await sql.execute("SELECT setval(pg_get_serial_sequence('task', 'id'), $1::bigint)", flows)


async def _turns(pid: int, port: int, count: int) -> list[tuple[Rate, Rate]]:
    """Those of the empty endpoint and of ours, each with the one beside it."""

    async def asked(question: Question) -> Rate:
        return await turn(pid, port, question, connections=CONNECTIONS, seconds=TURN_SECONDS)

    # The first turn warms up.
    return [(await asked(nothing(count)), await asked(detail(count))) for _ in range(TURNS + 1)][1:]


def detail(flows: int) -> Question:
    """``queryDetail`` of any of so many flows."""
    return Question(DETAIL, _key_ids(flows), lambda sent, answer: b'"data":%s,' % sent[:-1] in answer)


def nothing(flows: int) -> Question:
    """The same, of the empty endpoint."""
    return Question(EMPTY, _key_ids(flows), lambda _, __: True)


def _key_ids(flows: int) -> Callable[[], bytes]:
    chosen = random.Random(flows)
    return lambda: b'{"keyId":%d}' % chosen.randint(1, flows)


async def serve(url: str) -> None:
    """The server's own application with one more, empty, endpoint."""
    from ringback.api.app import create_app
    from ringback.api.server import HttpService, bind
    from ringback.clock import RealClock
    from ringback.settings import Settings
    from ringback.store.opening import open_store

    @post(EMPTY, status_code=200)
    async def empty() -> None:
        """Nothing."""

    store = await open_store(url, RealClock())
    app = create_app(store, RealClock(), Settings())
    app.register(empty)
    listening = bind("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    await HttpService(app, listening).run()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
