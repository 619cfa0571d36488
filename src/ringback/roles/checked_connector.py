"""Connections to allowed addresses only: names are looked up once, every answer is judged, and what was judged is what
is connected to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ringback.model.destinations import is_allowed, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp.connector import AddrInfoType

    from ringback.model.destinations import Network

#: How long a name may take. The library goes on for longer, in a thread that nobody waits for.
LOOK_UP_SECONDS: Final = 5.0
#: Names that are looked up at the same time; one that takes long holds one place, however often it is asked for.
AT_ONCE: Final = 128


class NotConnected(OSError):
    """Nothing was connected to: the address is not one that reports may go to, or there is none. The text is for people
    and stands alone.
    """


class LookUp(Protocol):
    """Finds the addresses of a name."""

    async def __call__(self, host: str) -> Sequence[str]:
        """Every address, as text. Raises OSError."""


class SystemLookUp:
    """Asks the system, in threads of its own: a name server that does not answer delays nothing else of this process,
    and not its end.
    """

    def __init__(self, *, seconds: float = LOOK_UP_SECONDS, at_once: int = AT_ONCE) -> None:
        self._seconds = seconds
        self._room = asyncio.Semaphore(at_once)
        self._asked: dict[str, asyncio.Task[list[str]]] = {}

    async def __call__(self, host: str) -> Sequence[str]:
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._ask(host))
            task.add_done_callback(lambda done: self._over(host, done))
        # Whoever gives up must not end it: the thread goes on, and the next one that asks waits for the same.
        done, _ = await asyncio.wait({task}, timeout=self._seconds)
        if not done:
            raise NotConnected(f"the name {host} was not found in time")
        return task.result()

    async def _ask(self, host: str) -> list[str]:
        async with self._room:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[list[str]] = loop.create_future()
            threading.Thread(target=_find, args=(host, loop, answer), name=f"look up {host}", daemon=True).start()
            return await answer

    def _over(self, host: str, task: asyncio.Task[list[str]]) -> None:
        del self._asked[host]
        if not task.cancelled():
            task.exception()  # whoever waited has seen it


def make_connector(networks: Sequence[Network], look_up: LookUp) -> aiohttp.TCPConnector:
    """A connector that connects to public addresses, and those in these networks.

    What is refused fails with :class:`NotConnected`, inside the library's error.
    """
    return aiohttp.TCPConnector(
        # Whoever sends bounds them: time spent in a queue for a socket would count as the receiver's.
        limit=0,
        resolver=_Judge(networks, look_up),
        socket_factory=_last_line(networks),
    )


class _Judge(AbstractResolver):
    """Gives the connector the addresses of a name, when all of them are allowed."""

    def __init__(self, networks: Sequence[Network], look_up: LookUp) -> None:
        self._networks = networks
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._look_up(host)
        if not found:
            raise NotConnected(f"the name {host} has no address")
        # One that is not allowed among others: somebody who has to do with the name means us to get there.
        if not all(is_allowed(address, self._networks) for address in found):
            raise NotConnected(refusal(host))
        addresses = [ipaddress.ip_address(address) for address in found]
        families = [socket.AF_INET if address.version == 4 else socket.AF_INET6 for address in addresses]
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=of,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, of in zip(addresses, families, strict=True)
            if family in (socket.AF_UNSPEC, of)
        ]

    async def close(self) -> None:
        pass


def _last_line(networks: Sequence[Network]) -> Callable[[AddrInfoType], socket.socket]:
    """Makes the sockets of the connector. Hosts that are written as addresses come here without being resolved."""

    def make(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, where = info
        address = str(where[0])
        if family not in (socket.AF_INET, socket.AF_INET6) or not is_allowed(address, networks):
            raise NotConnected(refusal(address))
        return socket.socket(family, kind, protocol)

    return make


def _find(host: str, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[list[str]]) -> None:
    """In a thread: ask, and answer in the loop."""
    found: list[str] = []
    wrong: Exception | None = None
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        # What has a zone is told with it, and so is refused.
        found = [f"{where[0]}%{where[3]}" if len(where) == 4 and where[3] else str(where[0]) for *_, where in infos]
    except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
        wrong = error

    def tell() -> None:
        if answer.done():
            return
        if wrong is None:
            answer.set_result(found)
        else:
            answer.set_exception(wrong)

    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
        loop.call_soon_threadsafe(tell)
