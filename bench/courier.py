"""Reports a second through one courier to a receiver in a process of its own on loopback.

The store is filled with ended calls first, so that only the courier works: a real one, over real HTTP.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Report
from ringback.clock import RealClock
from ringback.model.destinations import read_networks
from ringback.model.numbers import zone_key
from ringback.model.outcome import Outcome
from ringback.model.report import Form
from ringback.model.task import NewCall, TaskSpec
from ringback.model.template import Hangup, Template
from ringback.roles.courier import Courier
from ringback.roles.post import HttpPost
from ringback.store import accounts, calls, leases, report_endpoints, submission, tasks, templates, trunks, workers
from ringback.store.calls import CallResult
from ringback.store.opening import open_store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

    from ringback.store.database import Store

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
REPORTS = int(os.environ.get("BENCH_REPORTS", "10000"))
GOAL = 1_000


class _Receiver(asyncio.Protocol):
    """Counts requests by what ends their body, and answers each; no HTTP library, so that it is no bound."""

    def __init__(self, taken: Synchronized[int]) -> None:
        self._taken = taken
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._taken.value += max(1, body.count(b'"voiceId"'))
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]  # a TCP one


def _receive(told: Connection, taken: Synchronized[int]) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Receiver(taken), "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def _fill(store: Store, clock: RealClock, url: str, *, form: Form, count: int, campaigns: int) -> None:
    """So many ended calls, in so many campaigns, whose reports wait."""
    now = clock.now_ms()
    async with store.write() as tx:
        account_id = await accounts.create(
            tx,
            name="a",
            api_key="k",
            api_secret="s",
            time_zone="UTC",
            envelope="both",
            allowed_networks=[],
            now_ms=now,
        )
        application = await accounts.application_of(tx, account_id, accounts.DEFAULT_APP_ID)
        assert application is not None
        await trunks.add(tx, name="t", engine="sandbox", calls_per_second=1_000_000, channels=1_000_000, now_ms=now)
        template = Template(name="bye", initial_node="first", nodes={"first": [Hangup()]})
        template_id = await templates.add(tx, template, {}, account_id=None, now_ms=now)
        await report_endpoints.add(
            tx,
            account_id=account_id,
            application_id=None,
            url=url,
            form=form,
            secret=SECRET if form is Form.EVENTS else "",
            events=[],
            now_ms=now,
        )
        for campaign in range(campaigns):
            callees = [f"4930{campaign:03}{one:07}" for one in range(count // campaigns)]
            numbers = [NewCall(callee, zone_key(callee), None) for callee in callees]
            spec = TaskSpec(name=f"task {campaign}", template_id=template_id, application_id=application.id)
            await tasks.create(tx, account_id, spec, numbers, now)
        worker_id = await workers.register(tx, engine="sandbox", pid=1, now_ms=now)
        await submission.submit_due(tx, now, campaigns, minute_seconds=60)
    left, lease_no = count, 0
    while left > 0:
        lease_no += 1
        async with store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=worker_id,
                lease_no=lease_no,
                engine="sandbox",
                now_us=clock.now_us(),
                horizon_us=1_000_000,
                grace_us=0,
                free_lines=1_000,
            )
            ended = [
                CallResult(call_id=one.call_id, lease_no=one.lease_no, outcome=Outcome.BUSY, ended_at=now)
                for one in batch.leases
            ]
            await calls.ended(tx, worker_id, ended, now, minute_seconds=60)
        left -= len(batch.leases)


async def _measure(report: Report, name: str, form: Form, campaigns: int) -> None:
    clock = RealClock()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    taken = context.Value("i", 0)
    receiver = context.Process(target=_receive, args=(theirs, taken), daemon=True)
    receiver.start()
    port = ours.recv()
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"sqlite:///{Path(folder) / 'bench.db'}", clock)
        try:
            await _fill(store, clock, f"http://127.0.0.1:{port}/", form=form, count=REPORTS, campaigns=campaigns)
            courier = Courier(store, clock, lambda: HttpPost(clock, read_networks("127.0.0.0/8")))
            cpu = time.process_time()
            began = time.monotonic()
            running = asyncio.create_task(courier.run())
            # Calls alone are counted in batches; events have one report a task besides.
            wanted = REPORTS + (campaigns if form is Form.EVENTS else 0)
            while taken.value < wanted:
                if time.monotonic() - began > 120:
                    raise RuntimeError(f"only {taken.value} of {wanted} reports arrived")
                await asyncio.sleep(0.01)
            seconds = time.monotonic() - began
            used = time.process_time() - cpu
            courier.stop()
            await running
        finally:
            await store.close()
            receiver.terminate()
            receiver.join()
    report.figure(f"courier {name}", wanted / seconds, "reports/s", goal=GOAL, better="more")
    report.figure(f"courier {name}, its processor time", 1_000 * used / wanted, "s/1,000 reports")


def main() -> int:
    """Measure each form, in one campaign and in fifty."""
    report = Report("courier")
    for form in (Form.EVENTS, Form.SINGLE, Form.AGENT):
        for campaigns in (1, 50):
            asyncio.run(_measure(report, f"{form}, {campaigns} campaigns", form, campaigns))
    report.table()
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
