"""What the parts of the engine's benchmark share: the PostgreSQL, furnished databases, tasks and flows stored in bulk.

Rows are stored as Ringback would, but set-based and without its checks, for a million of them must not take minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from bench.processes import cpu_seconds
from ringback.clock import RealClock
from ringback.model.template import Gather, Template
from ringback.store import accounts, templates, trunks
from ringback.store.database import News
from ringback.store.opening import migrate, open_store
from tests.parts.parts import require_postgres
from tests.parts.postgres_process import PostgresProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ringback.store.database import Store

KEY, SECRET = "benchkey", "benchsecret"
#: The same for all that is compared: what fits a machine of a few GB, and no checkpoint every few seconds.
SETTINGS: Final = {"shared_buffers": "256MB", "max_wal_size": "2GB", "autovacuum_naptime": "10s"}
#: The callee stays on the line and nobody says anything.
QUIET: Final = Template(name="quiet", initial_node="stay", nodes={"stay": [Gather(timeout=60)]})
POLL_SECONDS: Final = 0.05
_names = itertools.count(1)


def own_postgres() -> PostgresProcess:
    """A PostgreSQL that writes to the disk before it says that something is committed."""
    require_postgres()
    return PostgresProcess(fsync=True, settings=SETTINGS)


def server_cpu_seconds(server: PostgresProcess) -> float:
    """What all of its processes have used, those that have ended too."""
    return cpu_seconds(server.pid, reaped=True)


class Rig:
    """A database of a part's own with an account, one trunk and one template. Made by :func:`rig`."""

    def __init__(self, server: PostgresProcess, url: str, store: Store, sql: asyncpg.Connection[Any]) -> None:
        self.server = server
        self.url = url
        self.store = store
        self.sql = sql
        self.account_id = self.application_id = self.template_id = self.trunk_id = 0
        self._next = itertools.count(1)

    async def furnish(self, *, rate: float, channels: int) -> None:
        """Account, trunk and template."""
        now = RealClock().now_ms()
        async with self.store.write() as tx:
            self.account_id = await accounts.create(
                tx,
                name="bench",
                api_key=KEY,
                api_secret=SECRET,
                time_zone="UTC",
                envelope="both",
                allowed_networks=[],
                now_ms=now,
            )
            application = await accounts.application_of(tx, self.account_id, accounts.DEFAULT_APP_ID)
            assert application is not None
            self.application_id = application.id
            self.trunk_id = await trunks.add(
                tx, name="out", engine="sandbox", calls_per_second=rate, channels=channels, now_ms=now
            )
            self.template_id = await templates.add(tx, QUIET, {}, account_id=None, now_ms=now)

    async def task(self, numbers: int, *, state: str = "calling") -> int:
        """A task with so many numbers: being called, or else ``finished`` with every tenth call busy and the others
        answered (``finished busy``: all busy). Returns its id; announce it with :meth:`announce`.
        """
        ended = state.startswith("finished")
        busy = numbers if state == "finished busy" else numbers // 10
        counts = (0, numbers - busy, busy) if ended else (numbers, 0, 0)
        task_id: int = await self.sql.fetchval(
            "INSERT INTO task (account_id, application_id, name, template_id, state, limits, send_at, total, queued,"
            " answered, failed, created_at, modified_at, started_at, finished_at)"
            " VALUES ($1, $2, $3, $4, $5, '{}', 0, $6, $7, $8, $9, 0, 0, 0, $10) RETURNING id",
            self.account_id,
            self.application_id,
            f"task{next(self._next)}",
            self.template_id,
            "finished" if ended else "calling",
            numbers,
            *counts,
            0 if ended else None,
        )
        if ended:
            async with self.unchecked():
                await self.sql.execute(
                    "INSERT INTO call (task_id, callee, zone, state, outcome, worker_id, trunk_id, started_at,"
                    " ended_at) SELECT $1, '4930' || lpad(n::text, 7, '0'), 'Europe/Berlin', 'ended',"
                    " CASE WHEN n * $3::bigint % $2 < $3 THEN 'busy' ELSE 'answered' END, 1, 1, 0, 0"
                    " FROM generate_series(1, $2::bigint) n",
                    task_id,
                    numbers,
                    busy,
                )
        else:
            async with self.unchecked():
                await self._insert_queued(task_id, 1, numbers)
            await self.sql.execute(
                "INSERT INTO lane (task_id, zone, route_prefix, queued) VALUES ($1, 'Europe/Berlin', '', $2)",
                task_id,
                numbers,
            )
        return task_id

    async def top_up(self, task_id: int, numbers: int) -> None:
        """So many more numbers for a task that is being called."""
        async with self.sql.transaction():
            total = await self.sql.fetchval("SELECT total FROM task WHERE id = $1 FOR NO KEY UPDATE", task_id)
            await self._insert_queued(task_id, total + 1, total + numbers)
            await self.sql.execute("UPDATE lane SET queued = queued + $2 WHERE task_id = $1", task_id, numbers)
            await self.sql.execute(
                "UPDATE task SET total = total + $2, queued = queued + $2 WHERE id = $1", task_id, numbers
            )

    async def _insert_queued(self, task_id: int, first: int, last: int) -> None:
        await self.sql.execute(
            "INSERT INTO call (task_id, callee, zone) SELECT $1, '4930' || lpad(n::text, 7, '0'), 'Europe/Berlin'"
            " FROM generate_series($2::bigint, $3::bigint) n",
            task_id,
            first,
            last,
        )

    async def flow(self, parent_task_id: int, *, due_ms: int | None = None, recall_type: int = 1) -> int:
        """A flow of one round that recalls the failed (0: all) of a finished task. Returns the id of its node."""
        flow_id = await self.sql.fetchval(
            "INSERT INTO flow (account_id, parent_task_id, recall_type, recall_intents, interval_minutes, rounds,"
            " created_at, modified_at) VALUES ($1, $2, $3, '[]', 60, 1, 0, 0) RETURNING id",
            self.account_id,
            parent_task_id,
            recall_type,
        )
        node_id: int = await self.sql.fetchval(
            "INSERT INTO node (flow_id, position, template_id, due_at) VALUES ($1, 1, $2, $3) RETURNING id",
            flow_id,
            self.template_id,
            due_ms,
        )
        return node_id

    @contextlib.asynccontextmanager
    async def unchecked(self) -> AsyncIterator[None]:
        """A transaction in which foreign keys are taken on trust: a look for each row is half of the work."""
        async with self.sql.transaction():
            await self.sql.execute("SET LOCAL session_replication_role = replica")
            yield

    async def settle_down(self) -> None:
        """Statistics as the server would have them after a while, and nothing left to write."""
        await self.sql.execute("VACUUM ANALYZE")
        await self.sql.execute("CHECKPOINT")

    def announce(self) -> None:
        """There is work."""
        self.store.announce(News.WORK)

    async def until_finished(self, task_ids: Iterable[int], *, seconds: float) -> float:
        """Wait for the end of tasks. Returns the seconds from the first lease to the last result."""
        wanted = list(task_ids)
        deadline = time.monotonic() + seconds
        while await self.sql.fetchval("SELECT count(*) FROM task WHERE id = ANY($1) AND finished_at IS NULL", wanted):
            if time.monotonic() > deadline:
                raise RuntimeError(f"tasks {wanted} were not finished in {seconds:g} s")
            await asyncio.sleep(POLL_SECONDS)
        took: float = await self.sql.fetchval(
            "SELECT ((SELECT max(finished_at) FROM task WHERE id = ANY($1))"
            " - (SELECT min(started_at) FROM call WHERE task_id = ANY($1)))::float / 1000",
            wanted,
        )
        return took


@contextlib.asynccontextmanager
async def rig(server: PostgresProcess, *, rate: float, channels: int = 100_000) -> AsyncIterator[Rig]:
    """A furnished database of its own, removed at the end."""
    name = f"bench{next(_names)}"
    server.create_database(name)
    try:
        url = server.url(name)
        await migrate(url, RealClock())
        async with contextlib.AsyncExitStack() as stack:
            store = await open_store(url, RealClock())
            stack.push_async_callback(store.close)
            sql = await asyncpg.connect(url)
            stack.push_async_callback(sql.close)
            made = Rig(server, url, store, sql)
            await made.furnish(rate=rate, channels=channels)
            yield made
    finally:
        server.drop_database(name)


def share(values: Iterable[float], part: float) -> float:
    """The value that so large a part of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
