"""A client of the vendor's door that asks as fast as it is answered, over kept connections, and times each answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.engine_rig import KEY, SECRET, share
from bench.processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable


class Question(NamedTuple):
    """What is asked: a path, each next body, and whether content (body, answer) is the answer to it."""

    path: str
    body: Callable[[], bytes]
    right: Callable[[bytes, bytes], bool]


class Rate(NamedTuple):
    """Requests a second of the clock, and of the server's own processor time; and the 99th percentile, seconds.

    Of fewer than a hundred answers that is the slowest one.
    """

    clock: float
    processor: float
    late: float


async def turn(pid: int, port: int, question: Question, *, connections: int, seconds: float) -> Rate:
    """Ask again and again on each connection, at least once. Raises RuntimeError at an answer that is not right."""
    loop = asyncio.get_running_loop()
    before, started = cpu_seconds(pid), time.perf_counter()
    asking = [_Asking(question, started + seconds) for _ in range(connections)]
    for one in asking:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]  # bound at once
    took = [each for of in await asyncio.gather(*(one.done for one in asking)) for each in of]
    clock, processor = time.perf_counter() - started, cpu_seconds(pid) - before
    return Rate(len(took) / clock, len(took) / processor if processor else 0.0, share(took, 0.99))


class _Asking(asyncio.Protocol):
    """One kept connection: the next request goes out when the answer to the last one is in."""

    def __init__(self, question: Question, until: float) -> None:
        stamp = str(int(time.time()))
        sign = hashlib.md5(f"{KEY}{SECRET}{stamp}".encode()).hexdigest()
        self._head = (
            f"POST {question.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Api-Key: {KEY}\r\nTimestamp: {stamp}\r\nSign: {sign}\r\nContent-Length: "
        ).encode()
        self._question, self._until = question, until
        self._answers: list[float] = []
        self._asked = 0.0
        self._sent = self._received = b""
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, content = self._received.partition(b"\r\n\r\n")
        if not end or len(content) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]):
            return
        now = time.perf_counter()
        if not self._question.right(self._sent, content):
            self._fail(f"not the answer: {content!r}")
            return
        self._received = b""
        self._answers.append(now - self._asked)
        if now < self._until:
            self._ask()
        else:
            self.done.set_result(self._answers)
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._fail("the server hung up")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(f"{self._question.path}: {why}"))

    def _ask(self) -> None:
        self._sent = self._question.body()
        request = b"%s%d\r\n\r\n%s" % (self._head, len(self._sent), self._sent)
        self._asked = time.perf_counter()
        self._transport.write(request)
