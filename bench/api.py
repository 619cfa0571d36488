"""The vendor's door on SQLite: ``queryDetail``, ``queryPage``, and ``send/agent`` with 1, 1,000 and 200,000 numbers,
beside an empty endpoint of the same server and beside the bare work. `make bench-api`.

All are asked in short turns, one after the other, so that a busy machine hurts all alike; what counts is their ratio,
the median over the turns. Queries are asked over many connections, tasks sent over one: the bare work has one, too.
One server, with 10,000 flows and 200,000 calls stored, serves everything; its memory is that of all.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import api_bare, intake, query_detail
from bench.asking import Question, Rate, turn
from bench.dialling import ROOT
from bench.figures import Report
from bench.processes import finish

FLOWS = 10_000
CALLS_A_FLOW = 20
TURNS = 8
TURN_SECONDS = 1.0
CONNECTIONS = 32
SIZES = (1, 1_000, 200_000)
PAGE_SIZE = 10


class Beside(NamedTuple):
    """A turn of an operation, of the empty endpoint, and of the bare work if there is such."""

    ours: Rate
    empty: Rate
    bare: api_bare.Bare | None = None


def main() -> None:
    """Measure and report."""
    report = Report("api")
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as name:
        folder = Path(name)
        template_id = intake.furnish(folder)
        database = folder / "ringback.db"
        fill(database, template_id)
        api_bare.prepare(database)
        for size in SIZES:
            (folder / str(size)).write_bytes(intake.body("bare", template_id, size))
        command = [sys.executable, "-m", "bench.query_detail", f"sqlite:///{database}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                measure(report, server.pid, port, folder)
                report.figure("api_peak_memory", intake.peak_mb(server.pid), "MB", goal=300)
            finally:
                finish(server)
    report.table()
    report.write()


def measure(report: Report, pid: int, port: int, folder: Path) -> None:
    """Each operation in turn, the largest last."""

    def asked(question: Question, connections: int, seconds: float = TURN_SECONDS) -> Rate:
        return asyncio.run(turn(pid, port, question, connections=connections, seconds=seconds))

    empty = query_detail.nothing(FLOWS)
    for name, question in {"queryDetail": query_detail.detail(FLOWS), "queryPage": pages()}.items():
        # The first turn warms up.
        turns = [Beside(asked(question, CONNECTIONS), asked(empty, CONNECTIONS)) for _ in range(TURNS + 1)][1:]
        tell(report, name, turns)
    for size in SIZES:
        question = tasks((folder / str(size)).read_bytes())
        seconds = 0.0 if size == max(SIZES) else TURN_SECONDS
        turns = [
            Beside(
                asked(question, 1, seconds),
                asked(empty, 1),
                api_bare.run(folder / "bare.db", folder / str(size), seconds),
            )
            for _ in range(TURNS + 1)
        ][1:]
        tell(report, f"send_{size}", turns, large=size == max(SIZES))


def tell(report: Report, name: str, turns: list[Beside], *, large: bool = False) -> None:
    """The medians over the turns. ``large``: turns of one request, too few for a percentile; it is the slowest then."""
    late = (max if large else statistics.median)(one.ours.late for one in turns)
    report.figure(f"api_{name}", statistics.median(one.ours.clock for one in turns), "requests/s")
    report.figure(f"api_{name}_p99", 1_000 * late, "ms")
    report.figure(f"api_{name}_empty_endpoint", statistics.median(one.empty.clock for one in turns), "requests/s")
    report.figure(f"api_{name}_empty_endpoint_p99", 1_000 * statistics.median(one.empty.late for one in turns), "ms")
    report.figure(
        f"api_{name}_beside_empty", statistics.median(one.ours.clock / one.empty.clock for one in turns), "times"
    )
    bare = [(one.bare, one.ours) for one in turns if one.bare is not None]
    if bare:
        report.figure(f"api_{name}_bare", statistics.median(beside.clock for beside, _ in bare), "requests/s")
        report.figure(f"api_{name}_bare_p99", 1_000 * statistics.median(beside.late for beside, _ in bare), "ms")
        times = statistics.median(beside.clock / ours.clock for beside, ours in bare)
        report.figure(f"api_{name}_times_bare", times, "times", goal=2.5 if large else None)


def pages() -> Question:
    """``queryPage`` of any page."""
    number = itertools.count()
    period = b'{"strTime":"1970-01-01 00:00:00","endTime":"2099-01-01 00:00:00"}'

    def body() -> bytes:
        current = next(number) * 7919 % (FLOWS // PAGE_SIZE) + 1
        return b'{"current":%d,"size":%d,"params":%s}' % (current, PAGE_SIZE, period)

    wanted = b'"total":%d,' % FLOWS
    return Question("/voice/recallFlow/queryPage", body, lambda _, answer: wanted in answer)


def tasks(body: bytes) -> Question:
    """``send/agent`` of that body, each time under another name."""
    before, name, after = body.partition(b'"bare"')
    assert name
    number = itertools.count()
    return Question(
        "/voice/group/call/send/agent",
        lambda: b'%s"task%d-%d"%s' % (before, len(body), next(number), after),
        lambda _, answer: json.loads(answer)["code"] == 0,
    )


def fill(database: Path, template_id: int) -> None:
    """So many flows of three rounds, each on a finished task of its own."""
    sql = sqlite3.connect(database, isolation_level=None)
    sql.execute("BEGIN")
    count = "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < ?)"
    sql.execute(
        f"{count} INSERT INTO task (id, account_id, application_id, name, template_id, total, failed, queued, state,"
        " limits, send_at, created_at, modified_at, finished_at)"
        " SELECT n, 1, 1, 'stored' || n, ?, ?, ?, 0, 'finished', '{}', 0, 0, 0, 0 FROM series",
        (FLOWS, template_id, CALLS_A_FLOW, CALLS_A_FLOW),
    )
    sql.execute(
        f"{count} INSERT INTO call (task_id, callee, zone, state, outcome, worker_id, trunk_id)"
        " SELECT task.id, '4930' || (1000000 + n), '', 'ended', 'busy', 1, 1 FROM task, series",
        (CALLS_A_FLOW,),
    )
    sql.execute(
        f"{count} INSERT INTO flow (id, account_id, parent_task_id, recall_type, recall_intents, interval_minutes,"
        " rounds, created_at, modified_at) SELECT n, 1, n, 1, '[]', 60, 3, 0, 0 FROM series",
        (FLOWS,),
    )
    sql.execute(
        f"{count} INSERT INTO node (flow_id, position, template_id) SELECT flow.id, n, ? FROM flow, series",
        (3, template_id),
    )
    sql.execute("COMMIT")
    sql.close()


if __name__ == "__main__":
    main()
