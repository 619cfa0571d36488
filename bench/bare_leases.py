"""The least that a program can do to take calls from the same tables under the same limits and store what came of them:
a lease of 200 in one transaction, their results in another, on one connection. Nothing of Ringback but its schema.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Final

import asyncpg

AT_ONCE: Final = 200

LOCK_TRUNK: Final = "SELECT busy, channels, next_slot_us FROM trunk WHERE id = $1 FOR NO KEY UPDATE"
TAKE: Final = """
WITH taken AS (
    SELECT id FROM call WHERE task_id = $1 AND zone = 'Europe/Berlin' AND route_prefix = '' AND state = 'queued'
    AND id > $6 ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE call SET state = 'dialling', worker_id = $3, trunk_id = $4, lease_no = $7, started_at = $5
FROM taken WHERE call.id = taken.id RETURNING call.id
"""
LEASED_LANE: Final = "UPDATE lane SET queued = queued - $2, cursor = $3 WHERE task_id = $1"
LEASED_TASK: Final = "UPDATE task SET queued = queued - $2, active = active + $2, served_us = $3 WHERE id = $1"
LEASED_TRUNK: Final = "UPDATE trunk SET busy = busy + $2, next_slot_us = $3 WHERE id = $1"
HELD: Final = (
    "SELECT id FROM call WHERE id = ANY($1) AND worker_id = $2 AND state = 'dialling' ORDER BY id FOR NO KEY UPDATE"
)
STORE: Final = """
UPDATE call SET state = 'ended', outcome = given.outcome, ended_at = given.ended_at, sip_code = given.sip_code,
    reason = 'busy'
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::smallint[]) AS given (id, outcome, ended_at, sip_code)
WHERE call.id = given.id
"""
ENDED_TRUNK: Final = "UPDATE trunk SET busy = busy - $2 WHERE id = $1"
ENDED_TASK: Final = (
    "UPDATE task SET active = active - $2, failed = failed + $2,"
    " state = CASE WHEN queued = 0 AND active = $2 THEN 'finished' ELSE state END,"
    " finished_at = CASE WHEN queued = 0 AND active = $2 THEN $3::bigint END WHERE id = $1"
)


async def main(url: str, task: str, trunk: str) -> None:
    """Say ``ready``; asked to, dial one task to its end and print the seconds; then wait for the input to end."""
    task_id, trunk_id, worker_id = int(task), int(trunk), 1
    sql = await asyncpg.connect(url)
    last_id, lease_no = 0, 0
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    while True:
        now_ms = time.time_ns() // 1_000_000
        lease_no += 1
        async with sql.transaction():
            await sql.fetchrow(LOCK_TRUNK, trunk_id)
            rows = await sql.fetch(TAKE, task_id, AT_ONCE, worker_id, trunk_id, now_ms, last_id, lease_no)
            if not rows:
                break
            ids = sorted(row["id"] for row in rows)
            last_id = ids[-1]
            await sql.execute(LEASED_TRUNK, trunk_id, len(ids), now_ms * 1000)
            await sql.execute(LEASED_TASK, task_id, len(ids), now_ms * 1000)
            await sql.execute(LEASED_LANE, task_id, len(ids), last_id)
        async with sql.transaction():
            await sql.fetch(HELD, ids, worker_id)
            await sql.execute(STORE, ids, ["busy"] * len(ids), [now_ms] * len(ids), [486] * len(ids))
            await sql.execute(ENDED_TRUNK, trunk_id, len(ids))
            await sql.execute(ENDED_TASK, task_id, len(ids), now_ms)
    print(time.perf_counter() - began, flush=True)
    # Whoever measures reads what this and its connection have used before they are gone.
    await asyncio.to_thread(sys.stdin.read)
    await sql.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
