"""The engine beside bare SQL and job engines, on a PostgreSQL of its own that writes through. `make bench-engine`.

Goals that compare are ratios within one run. Parts run one after another.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import asyncpg

from bench import engine_flows, engine_path, engine_steady, query_detail
from bench.engine_rig import own_postgres, share
from bench.figures import Report

if TYPE_CHECKING:
    from tests.parts.postgres_process import PostgresProcess

PARTS = {
    "path": engine_path.run,
    "steady": engine_steady.run,
    "child": engine_flows.child,
    "due": engine_flows.due,
    "detail": query_detail.run,
}
COMMITS = 300


def main() -> None:
    """Run the parts named on the command line, or all."""
    chosen = sys.argv[1:] or list(PARTS)
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    report = Report("engine")
    with own_postgres() as server:
        asyncio.run(_commit_cost(report, server))
        for name in chosen:
            began = time.monotonic()
            print(f"{name} …", flush=True)
            PARTS[name](report, server, scale)
            print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)
    report.table()
    report.write()


async def _commit_cost(report: Report, server: PostgresProcess) -> None:
    """What a commit of one row costs here: every figure below contains it."""
    sql = await asyncpg.connect(server.url())
    await sql.execute("CREATE TABLE written (id int PRIMARY KEY, number int NOT NULL)")
    await sql.execute("INSERT INTO written VALUES (1, 0)")
    took: list[float] = []
    for _ in range(COMMITS):
        began = time.perf_counter()
        await sql.execute("UPDATE written SET number = number + 1 WHERE id = 1")
        took.append(1_000 * (time.perf_counter() - began))
    await sql.execute("DROP TABLE written")
    await sql.close()
    report.figure("commit", share(took, 0.5), "ms")
    report.figure("commit_p99", share(took, 0.99), "ms")


if __name__ == "__main__":
    main()
