"""The door on a real socket of this machine: what only a server can do wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tracemalloc
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from ringback.api.server import AddressInUse, HttpService, bind
from tests.api.vendor_world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

pytestmark = pytest.mark.enable_socket

DETAIL = "/voice/recallFlow/queryDetail"
SEND = "/voice/group/call/send/agent"
MEGABYTE = b" " * 1_000_000
LONGEST_WAIT = 10


class Line(msgspec.Struct, frozen=True):
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def ask(self, path: str, headers: Mapping[str, str]) -> None:
        """Send the head of a POST request."""
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", *(f"{name}: {text}" for name, text in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def send(self, parts: Iterator[bytes]) -> None:
        """Send parts of a body."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> dict[str, object]:
        """The answer to the request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        (length,) = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        found = msgspec.json.decode(await self.reader.readexactly(int(length)))
        assert isinstance(found, dict)
        return found


@contextlib.asynccontextmanager
async def served(world: World, *, trusted_proxies: Sequence[str] = ()) -> AsyncIterator[int]:
    """The world's application behind a port."""
    listening = bind("127.0.0.1", 0)
    service = HttpService(world.app, listening, trusted_proxies=trusted_proxies)
    running = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(LONGEST_WAIT):
            yield listening.getsockname()[1]
    finally:
        service.stop()
        await running
        listening.close()


@contextlib.asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_a_body_that_is_cut_short(world: World) -> None:
    """Its sender went away, so there is no answer; and it is no fault of ours, so there is nothing in the log."""

    async def story() -> None:
        before = await world.contents()
        with capture_logs() as logs:
            async with served(world) as port, line_to(port) as line:
                line.ask(SEND, world.headers() | {"Content-Length": "1000"})
                await line.send(iter([b'{"appId": "default", ']))
                line.writer.write_eof()
                assert await line.reader.read() == b""
            # The server has ended, and so has the request.
        assert logs == []
        assert await world.contents() == before

    world.run(story())


def test_bodies_that_are_too_large(world: World) -> None:
    """100 MB announced, and more than the operation can need without announcing it; then a right one."""

    async def story() -> None:
        before = await world.contents()
        async with served(world) as port:
            tracemalloc.start()
            try:
                async with line_to(port) as line:
                    line.ask(SEND, world.headers() | {"Content-Length": str(100 * len(MEGABYTE))})
                    await line.send(iter([MEGABYTE] * 100))
                    refused = await line.answer()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert (refused["code"], refused["msg"]) == (-22, "body: is larger than 64 MB")
            assert peak < 10 * len(MEGABYTE), "a body announced as too large is not kept"

            async with line_to(port) as line:
                line.ask(DETAIL, world.headers() | {"Transfer-Encoding": "chunked"})
                chunk = b"%x\r\n" % len(MEGABYTE) + MEGABYTE + b"\r\n"
                await line.send(iter([chunk, chunk, b"0\r\n\r\n"]))
                refused = await line.answer()
                assert (refused["code"], refused["msg"]) == (-22, "body: is larger than 1 MB")
                # The connection is in order: the next request on it is understood.
                line.ask(DETAIL, world.headers() | {"Content-Length": "15"})
                await line.send(iter([b'{"keyId":', b" 4711}"]))
                assert (await line.answer())["msg"] == "keyId: there is no recall flow 4711"
        assert await world.contents() == before

    world.run(story())


def test_a_stranger_s_large_body_is_not_read(world: World) -> None:
    async def story() -> None:
        async with served(world) as port, line_to(port) as line:
            line.ask(SEND, world.headers() | {"Sign": "0" * 32, "Content-Length": str(50 * len(MEGABYTE))})
            # The answer is there before the body is.
            assert (await line.answer())["code"] == -1

    world.run(story())


def test_a_port_in_use_is_named(world: World) -> None:
    async def story() -> None:
        async with served(world) as port:
            with pytest.raises(AddressInUse) as raised:
                bind("127.0.0.1", port)
            assert str(raised.value) == (f"127.0.0.1:{port} is in use by another program; choose another with --listen")

    world.run(story())


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(AddressInUse, match=r"^cannot listen on 192\.0\.2\.1:8700: "):
        bind("192.0.2.1", 8700)


def test_ipv6_addresses_are_shown_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with pytest.raises(AddressInUse, match=r"^cannot listen on \[2001:db8::1\]:8700: "):
        bind("2001:db8::1", 8700)


@pytest.mark.parametrize(
    ("proxies", "forwarded", "code"),
    [
        ((), "203.0.113.9", -2),
        (("127.0.0.1",), "203.0.113.9", -22),
        (("127.0.0.0/8",), "203.0.113.9", -22),
        (("127.0.0.1",), "198.51.100.1", -2),
        # The caller's own word stands left of what the proxy saw.
        (("127.0.0.1",), "203.0.113.9, 198.51.100.1", -2),
        (("10.0.0.1",), "203.0.113.9", -2),
    ],
)
def test_only_a_trusted_proxy_says_where_a_request_comes_from(
    world: World, proxies: tuple[str, ...], forwarded: str, code: int
) -> None:
    async def story() -> None:
        listed = await world.tenant("listed", "listed", "s", networks=["203.0.113.0/24"])
        async with served(world, trusted_proxies=proxies) as port, line_to(port) as line:
            line.ask(DETAIL, world.headers(listed) | {"X-Forwarded-For": forwarded, "Content-Length": "2"})
            await line.send(iter([b"{}"]))
            assert (await line.answer())["code"] == code

    world.run(story())
