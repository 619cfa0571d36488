"""A real server on loopback and the real client: what may not go there makes no connection, whatever is tried."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import text

from ringback.clock import RealClock
from ringback.model.delivery import Tried
from ringback.model.destinations import Network, read_networks
from ringback.roles import checked_connector
from ringback.roles.checked_connector import LookUp, SystemLookUp, make_connector
from ringback.roles.courier import Courier
from ringback.roles.post import HttpPost
from ringback.store import report_endpoints
from ringback.store.opening import open_store
from tests.roles.test_courier_on_the_wire import add_receiver, put, until_delivered
from tests.store.rig import Database, SetClock

pytestmark = pytest.mark.enable_socket

CLOCK = RealClock()
LOOPBACK = read_networks("127.0.0.0/8, ::1")
#: Public by the rule, and given to nobody: no connection there comes to be.
PUBLIC = "3000::1"
NOT_ALLOWED = "the address of {} is not one that reports may go to (setting report_networks)"


class Server:
    """Takes every report; counts connections, and keeps what was said first on each."""

    def __init__(self) -> None:
        self.accepted = 0
        self.said: list[bytes] = []
        self.port = 0
        self.open: set[asyncio.BaseTransport] = set()
        self.changed = asyncio.Event()

    async def saw_none(self) -> None:
        """Fails when there was a connection, also one that was still waiting to be accepted: they come in turn."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        await writer.wait_closed()
        await self.changed.wait()
        assert self.accepted == 1, "only the one that was just made"

    async def close(self) -> None:
        """Wait until every connection is over."""
        while self.open:
            self.changed.clear()
            for one in self.open:
                one.close()
            await self.changed.wait()


class Connection(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.accepted += 1
        self._server.open.add(transport)
        self._server.changed.set()

    def data_received(self, data: bytes) -> None:
        self._server.said.append(data)
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")  # type: ignore[attr-defined]  # a TCP one
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.open.discard(self._transport)
        self._server.changed.set()


class Names:
    """A name server: each name's answers, one after the other; the last one stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: list(listed) for name, listed in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        listed = self._answers[host]
        return listed.pop(0) if len(listed) > 1 else listed[0]


@contextlib.asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server()
    served = await asyncio.get_running_loop().create_server(lambda: Connection(server), host, 0)
    server.port = served.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        served.close()
        await server.close()


async def tried(
    url: str, networks: Sequence[Network] = (), look_up: LookUp | None = None, seconds: float = 10
) -> Tried:
    post = HttpPost(CLOCK, networks, look_up=look_up, total_seconds=seconds)
    try:
        return await post.send(url, {}, "{}")
    finally:
        await post.close()


def test_in_an_allowed_network_it_is_delivered() -> None:
    async def main() -> None:
        async with listening() as server:
            names = Names(crm=[["127.0.0.1"]])
            for host in ("127.0.0.1", "crm", "localhost"):
                look_up = names if host == "crm" else None
                found = await tried(f"http://{host}:{server.port}/", LOOPBACK, look_up)
                assert found == Tried(200), host
            assert server.accepted == 3
            assert names.asked == ["crm"], "once"

    asyncio.run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_an_address_that_is_not_allowed_is_not_connected_to(host: str) -> None:
    async def main() -> None:
        async with listening() as server:
            found = await tried(f"http://{host}:{server.port}/")
            assert found == Tried(None, f"its URL is refused: {NOT_ALLOWED.format(host)}")
            assert str(server.port) not in found.why()
            await server.saw_none()

    asyncio.run(main())


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "127%2e0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "localhost",
        "LOCALHOST.",
        "ⓛocalhost",
        "[::]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "me@127.0.0.1",
        "crm.example.com@127.0.0.1",
        "127.0.0.1\\@crm.example.com",
    ],
)
def test_no_spelling_leads_to_loopback(host: str) -> None:
    """The client itself, with the names of the system: the first rule that refuses is enough, but one does."""

    async def main() -> None:
        async with listening() as server:
            found = await tried(f"http://{host}:{server.port}/")
            assert found.status is None
            await server.saw_none()
        async with listening() as server, aiohttp.ClientSession(connector=make_connector((), SystemLookUp())) as client:
            # Without the rule for URLs: the connector alone.
            with pytest.raises((aiohttp.ClientError, ValueError)):
                await client.post(f"http://{host}:{server.port}/", allow_redirects=False)
            await server.saw_none()

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["8.8.8.8", "::ffff:127.0.0.1"],
        ["8.8.8.8", "fe80::1%1"],
        ["8.8.8.8", "169.254.169.254"],
        ["0x7f.1"],
        ["localhost"],
        [""],
    ],
)
def test_a_name_with_an_address_that_is_not_allowed_is_not_connected_to(answer: list[str]) -> None:
    async def main() -> None:
        async with listening() as server:
            found = await tried(f"http://crm:{server.port}/", look_up=Names(crm=[answer]))
            assert found == Tried(None, NOT_ALLOWED.format("crm"))
            await server.saw_none()

    asyncio.run(main())


def test_a_name_that_changes_its_address_is_connected_to_where_it_was_judged() -> None:
    async def main() -> None:
        async with listening() as server:
            names = Names(crm=[[PUBLIC], ["127.0.0.1"]])
            url = f"http://crm:{server.port}/"
            found = await tried(url, look_up=names, seconds=1)
            assert found.status is None
            assert names.asked == ["crm"], "once, so there is nothing that could change"
            assert await tried(url, look_up=names) == Tried(None, NOT_ALLOWED.format("crm"))
            await server.saw_none()

    asyncio.run(main())


def test_the_address_that_was_judged_is_the_one_that_is_connected_to() -> None:
    """With an allowed one in the public one's place: the second answer leads elsewhere, and nobody asks for it."""

    async def main() -> None:
        async with listening("127.0.0.7") as right, listening() as wrong:
            names = Names(crm=[["127.0.0.7"], ["127.0.0.1"]])
            found = await tried(f"http://crm:{right.port}/", read_networks("127.0.0.7"), names)
            assert (found, right.accepted) == (Tried(200), 1)
            refused = await tried(f"http://crm:{wrong.port}/", read_networks("127.0.0.7"), names)
            assert refused == Tried(None, NOT_ALLOWED.format("crm"))
            await wrong.saw_none()

    asyncio.run(main())


def test_tls_is_asked_for_by_name() -> None:
    async def main() -> None:
        async with listening() as server:
            names = Names(**{"hooks.example.com": [["127.0.0.1"]]})
            found = await tried(f"https://hooks.example.com:{server.port}/", LOOPBACK, names)
            assert found.status is None
            assert b"hooks.example.com" in server.said[0], "the name is in the hello"

    asyncio.run(main())


def test_a_name_without_an_address() -> None:
    async def main() -> None:
        found = await tried("http://crm/", look_up=Names(crm=[[]]))
        assert found == Tried(None, "the name crm has no address")

        async def knows_none(host: str) -> Sequence[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        assert "Name or service not known" in (await tried("http://crm/", look_up=knows_none)).why()

    asyncio.run(main())


def test_a_url_that_became_wrong_is_not_sent_to() -> None:
    async def main() -> None:
        async with listening() as server:
            found = await tried(f"http://me:word@127.0.0.1:{server.port}/", LOOPBACK)
            assert found.why().startswith("its URL must be http://HOST")
            await server.saw_none()

    asyncio.run(main())


def test_a_name_server_that_hangs_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """One name holds one thread, however often it is asked for; what it says late is there for who still waits."""
    answering, threads = threading.Event(), []
    real = socket.getaddrinfo

    def hangs(host: str, *args: object, **more: int) -> object:
        if host != "slow":
            return real(host, *args, **more)  # type: ignore[call-overload]  # passed on as they come
        threads.append(threading.current_thread())
        assert answering.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(checked_connector.socket, "getaddrinfo", hangs)

    async def main() -> None:
        async with listening() as server:
            post = HttpPost(CLOCK, LOOPBACK, look_up=SystemLookUp(seconds=0.1, at_once=2))
            late = Tried(None, "the name slow was not found in time")
            try:
                url = f"http://slow:{server.port}/"
                assert await asyncio.gather(*(post.send(url, {}, "{}") for _ in range(5))) == [late] * 5
                assert await post.send(url, {}, "{}") == late
                assert (len(threads), threads[0].daemon) == (1, True)
                assert await post.send(f"http://localhost:{server.port}/", {}, "{}") == Tried(200)
                answering.set()
                while (found := await post.send(url, {}, "{}")) == late:
                    pass
                assert found == Tried(200)
            finally:
                answering.set()
                await post.close()

    asyncio.run(main())


def test_a_report_waits_until_its_receiver_is_allowed(tmp_path: Path) -> None:
    database = Database("sqlite-file", f"sqlite:///{tmp_path}/ringback.db")

    async def main() -> None:
        async with database.opened(SetClock(CLOCK.now_ms())) as rig, listening() as server:
            await rig.furnish()
            store = await open_store(database.url, CLOCK)
            try:
                receiver = await add_receiver(store, rig.account, f"http://crm:{server.port}/")
                await put(store, receiver, 1)
                names = Names(crm=[["127.0.0.1"]])
                courier = Courier(store, CLOCK, lambda: HttpPost(CLOCK, look_up=names))
                running = asyncio.create_task(courier.run())
                standing = None
                while standing is None or not standing.last_error:
                    await CLOCK.sleep(0.05)
                    async with store.read() as tx:
                        (standing,) = await report_endpoints.standings(tx)
                courier.stop()
                await running
                assert (standing.last_error, standing.retrying, standing.dead) == (NOT_ALLOWED.format("crm"), 1, 0)
                assert server.accepted == 0
                async with store.write() as tx:
                    await tx.execute(text("UPDATE report SET due_at = 0"))
                courier = Courier(store, CLOCK, lambda: HttpPost(CLOCK, LOOPBACK, look_up=names))
                running = asyncio.create_task(courier.run())
                await until_delivered(store, receiver, seconds=30)
                courier.stop()
                await running
                assert server.accepted == 1
            finally:
                await store.close()

    asyncio.run(main())
