"""``recallFlow/queryDetail`` beside an empty POST endpoint of the same server, with 1,000 and with 10,000 flows stored.

Both are asked in short turns, one after the other, by the same client over the same kept connections, so that a busy
machine hurts both alike; what counts is their ratio. The larger database holds 2,000,000 calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from litestar import post

from bench.figures import Report
from bench.intake import KEY, SECRET, furnish

#: Flows, and the calls of each one's task.
SIZES = ((1_000, 20), (10_000, 200))
CONNECTIONS = 32
TURNS = 5
TURN_SECONDS = 1.5
DETAIL = "/voice/recallFlow/queryDetail"
EMPTY = "/empty"


def main() -> None:
    """Measure and report."""
    report = Report("query_detail")
    for count, calls in SIZES:
        with tempfile.TemporaryDirectory(prefix="ringback-bench-") as name:
            folder = Path(name)
            template_id = furnish(folder)
            fill(folder, template_id, count, calls)
            empty, detail = measured(folder, count)
        report.figure(f"empty_endpoint_{count}_flows", empty.clock, "requests/s")
        report.figure(f"query_detail_{count}_flows", detail.clock, "requests/s")
        report.figure(f"query_detail_ratio_{count}_flows", detail.clock / empty.clock, "times", goal=0.4, better="more")
        # On a busy machine the client's share hides the server's: this is without it.
        ratio = detail.processor / empty.processor
        report.figure(f"query_detail_processor_ratio_{count}_flows", ratio, "times", goal=0.4, better="more")
    report.write()


def fill(folder: Path, template_id: int, count: int, calls: int) -> None:
    """So many flows of three rounds, each on a task of its own with so many ended calls."""
    with sqlite3.connect(folder / "ringback.db") as database:
        ((account_id, application_id),) = database.execute("SELECT account_id, id FROM application").fetchall()
        tasks = [(one, account_id, application_id, f"task{one}", template_id, calls) for one in range(1, count + 1)]
        database.executemany(
            "INSERT INTO task (id, account_id, application_id, name, template_id, total, failed, queued, state, limits,"
            " send_at, created_at, modified_at, finished_at) VALUES (?, ?, ?, ?, ?, ?6, ?6, 0, 'finished', '{}',"
            " 0, 0, 0, 0)",
            tasks,
        )
        database.executemany(
            "INSERT INTO call (task_id, callee, zone, state, outcome, worker_id, trunk_id) VALUES (?, ?, '', 'ended',"
            " 'busy', 1, 1)",
            ((one, f"4930{number:07d}") for one in range(1, count + 1) for number in range(calls)),
        )
        database.executemany(
            "INSERT INTO flow (id, account_id, parent_task_id, recall_type, recall_intents, interval_minutes, rounds,"
            " created_at, modified_at) VALUES (?1, ?2, ?1, 1, '[]', 60, 3, 0, 0)",
            ((one, account_id) for one in range(1, count + 1)),
        )
        database.executemany(
            "INSERT INTO node (flow_id, position, template_id) VALUES (?, ?, ?)",
            ((one, position, template_id) for one in range(1, count + 1) for position in (1, 2, 3)),
        )


class Rate(NamedTuple):
    """Requests a second of the clock, and of the server's own processor time."""

    clock: float
    processor: float


def measured(folder: Path, count: int) -> tuple[Rate, Rate]:
    """The empty endpoint and ours, the median turn of each."""
    command = [sys.executable, "-m", "bench.query_detail", "serve", str(folder / "ringback.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            return asyncio.run(_turns(server.pid, port, count))
        finally:
            server.terminate()


async def _turns(pid: int, port: int, count: int) -> tuple[Rate, Rate]:
    rates: dict[str, list[Rate]] = {EMPTY: [], DETAIL: []}
    # The first turn warms up.
    for turn in range(-1, TURNS):
        for path, found in rates.items():
            before = processor_seconds(pid)
            started = time.perf_counter()
            done = await _turn(port, path, count, started + TURN_SECONDS)
            clock, processor = time.perf_counter() - started, processor_seconds(pid) - before
            if turn >= 0:
                found.append(Rate(done / clock, done / processor))
    empty, detail = (
        Rate(statistics.median(one.clock for one in of), statistics.median(one.processor for one in of))
        for of in rates.values()
    )
    return empty, detail


async def _turn(port: int, path: str, count: int, until: float) -> int:
    """Ask again and again on many connections. Returns how many answers came."""
    loop = asyncio.get_running_loop()
    asking = [_Asking(path, count, until, random.Random(number)) for number in range(CONNECTIONS)]
    for one in asking:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]  # bound at once
    return sum(await asyncio.gather(*(one.done for one in asking)))


class _Asking(asyncio.Protocol):
    """One kept connection: the next request goes out when the answer to the last one is in."""

    def __init__(self, path: str, count: int, until: float, chosen: random.Random) -> None:
        stamp = str(int(time.time()))
        sign = hashlib.md5(f"{KEY}{SECRET}{stamp}".encode()).hexdigest()
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Api-Key: {KEY}\r\nTimestamp: {stamp}\r\nSign: {sign}\r\nContent-Length: "
        ).encode()
        self._checked = path == DETAIL
        self._count, self._until, self._chosen = count, until, chosen
        self._answers = 0
        self._key = 0
        self._received = b""
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, content = self._received.partition(b"\r\n\r\n")
        if not end or len(content) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        if self._checked and b'"data":{"keyId":%d,' % self._key not in content:
            self.done.set_exception(RuntimeError(f"not the answer: {content!r}"))
            return
        self._received = b""
        self._answers += 1
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._transport.close()
            self.done.set_result(self._answers)

    def _ask(self) -> None:
        self._key = self._chosen.randint(1, self._count)
        body = b'{"keyId":%d}' % self._key
        self._transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))


def processor_seconds(pid: int) -> float:
    """What the process has used so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def serve(database: str) -> None:
    """The server's own application with one more, empty, endpoint."""
    from ringback.api.app import create_app
    from ringback.api.server import HttpService, bind
    from ringback.clock import RealClock
    from ringback.settings import Settings
    from ringback.store.opening import open_store

    @post(EMPTY, status_code=200)
    async def empty() -> None:
        """Nothing."""

    store = await open_store(f"sqlite:///{database}", RealClock())
    app = create_app(store, RealClock(), Settings())
    app.register(empty)
    listening = bind("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    await HttpService(app, listening).run()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2]))
    else:
        main()
