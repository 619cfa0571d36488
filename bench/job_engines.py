"""One job per call in two engines for jobs in PostgreSQL. Runs in the virtual environment of requirements/bench.txt.

``python bench/job_engines.py ENGINE URL JOBS``: store the jobs and say ``ready``; asked to, run them all and print the
seconds from the start of the workers to the end of the last job; wait for the input to end. Each job does nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

#: How many jobs each may run at once: the best of what was tried (20, 100, 300; 50, 200, any number).
PROCRASTINATE_AT_ONCE: Final = 100
DBOS_AT_ONCE: Final = None
#: How many are stored at once, before the time that counts.
STORED_AT_ONCE: Final = 100


async def procrastinate(url: str, jobs: int) -> float:
    """Seconds of Procrastinate: one worker, jobs deferred in bulk before."""
    import procrastinate as library

    connector = library.PsycopgConnector(conninfo=url, min_size=4, max_size=16)
    app = library.App(connector=connector)
    done = 0

    @app.task(name="call")
    async def call(number: int) -> None:
        nonlocal done
        del number
        done += 1

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, 1_000):
            await call.batch_defer_async(*({"number": n} for n in range(first, min(jobs, first + 1_000))))
        await go()
        began = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=PROCRASTINATE_AT_ONCE, install_signal_handlers=False)
        took = time.perf_counter() - began
    assert done == jobs, f"{done} of {jobs}"
    return took


async def dbos(url: str, jobs: int) -> float:
    """Seconds of DBOS: one process, a workflow per call, enqueued before."""
    import psycopg
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": url.replace("postgresql://", "postgresql+psycopg://"),
        "log_level": "ERROR",
        "run_admin_server": False,
        "sys_db_pool_size": 16,
    }
    DBOS(config=config)

    @DBOS.workflow()
    async def call(number: int) -> None:
        del number

    DBOS.launch()
    for first in range(0, jobs, STORED_AT_ONCE):
        numbers = range(first, min(jobs, first + STORED_AT_ONCE))
        await asyncio.gather(*(DBOS.enqueue_workflow_async("calls", call, number) for number in numbers))
    await go()
    began = time.perf_counter()
    # Its workers start when the queue is known.
    await DBOS.register_queue_async("calls", worker_concurrency=DBOS_AT_ONCE, polling_interval_sec=0.02)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as sql:
        while True:
            row = await (
                await sql.execute("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'")
            ).fetchone()
            if row == (jobs,):
                break
            await asyncio.sleep(0.05)
    return time.perf_counter() - began


async def go() -> None:
    """All jobs are stored: say so, and wait until told to begin."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


ENGINES: Final = {"dbos": dbos, "procrastinate": procrastinate}


if __name__ == "__main__":
    engine, url, jobs = sys.argv[1:]
    print(asyncio.run(ENGINES[engine](url, int(jobs))), flush=True)
    sys.stdin.read()
