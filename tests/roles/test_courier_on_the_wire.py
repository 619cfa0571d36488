"""A real receiver that fails in every documented way: each report arrives in the end, signed, under one id."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

import pytest
from sqlalchemy import insert, text
from standardwebhooks import Webhook

from ringback.clock import RealClock
from ringback.model.destinations import read_networks
from ringback.model.report import Event, Form
from ringback.roles.courier import Courier
from ringback.roles.post import HttpPost
from ringback.store import report_endpoints
from ringback.store.database import Store
from ringback.store.opening import open_store
from ringback.store.schema_reports import report
from tests.store.rig import Database, Rig, SetClock

pytestmark = pytest.mark.enable_socket

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CLOCK = RealClock()
LOOPBACK = read_networks("127.0.0.0/8")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Failing = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(status: str, *headers: str) -> Failing:
    async def failing(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, "Content-Length: 0", "", ""]
        writer.write("\r\n".join(lines).encode())

    return failing


async def back_at_a_date(writer: asyncio.StreamWriter) -> None:
    await says("503 Busy", f"Retry-After: {formatdate(CLOCK.now_ms() / 1000 + 1, usegmt=True)}")(writer)


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def resets_in_the_answer(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 O")
    await writer.drain()
    writer.transport.abort()


async def hangs(writer: asyncio.StreamWriter) -> None:
    await CLOCK.sleep(30)


async def talks_garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example.net ESMTP\r\n\r\n")
    writer.close()


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


WAYS: dict[str, Failing] = {
    "reset": resets,
    "reset in the answer": resets_in_the_answer,
    "hang": hangs,
    "garbage": talks_garbage,
    "endless": endless,
    "500": says("500 Oops"),
    "400": says("400 No"),
    "503": says("503 Busy", "Retry-After: 1"),
    "503 until a date": back_at_a_date,
    "429": says("429 Slowly", "Retry-After: 1"),
    "302": says("302 Elsewhere", "Location: /elsewhere"),
}


class Receiver:
    """Fails the first try of chosen reports, each in its way."""

    def __init__(self) -> None:
        self.fails: dict[str, str] = {}
        self.tries: Counter[str] = Counter()
        self.paths: set[str] = set()
        self.taken: list[str] = []
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, bound: socket.socket) -> None:
        self._server = await asyncio.start_server(self._serve, sock=bound)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while not writer.is_closing():
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.paths.add(first.split()[1])
        Webhook(SECRET).verify(body, headers)
        name = headers["webhook-id"]
        self.tries[name] += 1
        if self.tries[name] == 1 and name in self.fails:
            await WAYS[self.fails[name]](writer)
            return
        self.taken.append(name)
        writer.write(OK)
        await writer.drain()


async def add_receiver(store: Store, account_id: int, url: str) -> int:
    async with store.write() as tx:
        return await report_endpoints.add(
            tx,
            account_id=account_id,
            application_id=None,
            url=url,
            form=Form.EVENTS,
            secret=SECRET,
            events=(),
            now_ms=CLOCK.now_ms(),
        )


async def put(store: Store, to: int, count: int) -> list[str]:
    """Reports on the outbox. Returns their ids as receivers see them."""
    now = CLOCK.now_ms()
    row = {"endpoint_id": to, "event": str(Event.TASK_FINISHED), "subject_id": 1, "flow_key": 1, "body": "{}"}
    async with store.write() as tx:
        await tx.execute(insert(report), [{**row, "created_at": now, "due_at": now}] * count)
        ids = await tx.scalars(text("SELECT id FROM report WHERE endpoint_id = :id ORDER BY id"), {"id": to})
        return [f"msg_{one}" for one in ids]


async def until_delivered(store: Store, to: int, *, seconds: float) -> None:
    began = CLOCK.monotonic()
    query = text("SELECT count(*) FROM report WHERE endpoint_id = :id AND state <> 'delivered'")
    while True:
        async with store.read() as tx:
            left = await tx.scalar(query, {"id": to})
        if left == 0:
            return
        assert CLOCK.monotonic() - began < seconds, f"{left} have not arrived"
        await CLOCK.sleep(0.05)


def test_every_way_to_fail(tmp_path: Path) -> None:
    database = Database("sqlite-file", f"sqlite:///{tmp_path}/ringback.db")

    async def main() -> None:
        async with database.opened(SetClock(CLOCK.now_ms())) as rig:
            await rig.furnish()
            await story(rig)

    async def story(rig: Rig) -> None:
        store = await open_store(database.url, CLOCK)
        bad, late = Receiver(), Receiver()
        sockets = []
        for one in (bad, late):
            bound = socket.socket()
            bound.bind(("127.0.0.1", 0))
            one.url = f"http://127.0.0.1:{bound.getsockname()[1]}/hook"
            sockets.append(bound)
        await bad.listen(sockets[0])
        failing = await add_receiver(store, rig.account, bad.url)
        refused = await add_receiver(store, rig.account, late.url)  # nobody listens yet
        ids = await put(store, failing, 12 * len(WAYS))
        # Between two that fail there are some that do not, or the receiver counts as in trouble as a whole.
        bad.fails = {ids[12 * place + 6]: way for place, way in enumerate(WAYS)}
        late_ids = await put(store, refused, 50)
        courier = Courier(store, CLOCK, lambda: HttpPost(CLOCK, LOOPBACK, total_seconds=1.0))
        running = asyncio.create_task(courier.run())
        try:
            await CLOCK.sleep(1)
            assert late.taken == []
            await late.listen(sockets[1])
            await until_delivered(store, failing, seconds=60)
            await until_delivered(store, refused, seconds=60)
        finally:
            courier.stop()
            await running
            await bad.close()
            await late.close()
            await store.close()
        assert Counter(bad.taken) == Counter(ids), "each was taken once"
        assert Counter(late.taken) == Counter(late_ids)
        assert bad.paths == {"/hook"}, "no redirect was followed"
        tried = {way: bad.tries[name] for name, way in bad.fails.items()}
        assert all(count >= 2 for count in tried.values()), tried

    asyncio.run(main())


def test_an_endless_answer_that_says_yes_is_a_yes() -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while not writer.is_closing():
                    writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                    sent["bytes"] += 0x10000
                    await writer.drain()
            except OSError:
                pass
            finally:
                writer.close()

        sent: defaultdict[str, int] = defaultdict(int)
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        post = HttpPost(CLOCK, LOOPBACK, total_seconds=5)
        tried = await post.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, "{}")
        await post.close()
        server.close()
        assert tried.status == 200
        assert sent["bytes"] < 20_000_000, "it was not read to its end"

    asyncio.run(main())
