"""Serves the application over HTTP, as one service among others."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litestar import Litestar


class AddressInUse(Exception):
    """The address cannot be listened on; the text says which and why."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on the address; port 0 picks a free one. Raises :class:`AddressInUse`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, for asyncio turns Nagle's algorithm off only then: with it the end of an answer waits 40 ms for the
    # acknowledgement of its beginning.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        where = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{where} is in use by another program; choose another with --listen") from None
        raise AddressInUse(f"cannot listen on {where}: {error.strerror or error}") from None
    return listening


class HttpService:
    """Runs until stopped; open requests end first.

    ``trusted_proxies`` are addresses or networks whose X-Forwarded-For is believed. Without any, the caller's address
    is that of the connection, so nobody can talk himself past an account's address list.
    """

    def __init__(self, app: Litestar, listening: socket.socket, *, trusted_proxies: Sequence[str] = ()) -> None:
        self._listening = listening
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=10,
            lifespan="on",
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
        )
        self._server = _Server(config)

    async def run(self) -> None:
        """Serve until stopped."""
        await self._server.serve(sockets=[self._listening])

    def stop(self) -> None:
        """Accept no more, and return when open requests are answered."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the process's own decide."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
