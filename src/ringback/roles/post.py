"""Sending one report: a port, and the HTTP client behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import aiohttp

from ringback import __version__
from ringback.model.delivery import Tried, parse_retry_after
from ringback.model.destinations import InvalidDestination, check_url
from ringback.roles.checked_connector import NotConnected, SystemLookUp, make_connector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringback.clock import Clock
    from ringback.model.destinations import Network
    from ringback.roles.checked_connector import LookUp

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
#: Of an answer only its status matters; so much is read, so that the connection can be used again.
MOST_READ_BYTES = 4_096


class Post(Protocol):
    """Sends requests. Whatever goes wrong comes back as what the try came to."""

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Tried:
        """POST the body once."""

    async def close(self) -> None:
        """Give up every connection."""


class HttpPost:
    """Sends over HTTP. Redirects are not followed, no cookie is kept, no proxy of the environment is used.

    It connects to public addresses, and to those in ``networks``. ``look_up`` finds the addresses of names.
    """

    def __init__(
        self,
        clock: Clock,
        networks: Sequence[Network] = (),
        *,
        look_up: LookUp | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._clock = clock
        self._networks = tuple(networks)
        self._look_up = look_up
        self._timeout = aiohttp.ClientTimeout(total=total_seconds, sock_connect=CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Tried:
        try:
            check_url(url, self._networks)
        except InvalidDestination as error:
            return Tried(None, f"its URL {error}")
        try:
            async with self._client().post(
                url,
                data=body.encode(),
                headers={"Content-Type": "application/json;charset=UTF-8", **headers},
                allow_redirects=False,
            ) as response:
                # The status stands, whatever comes of the rest.
                try:
                    await response.content.read(MOST_READ_BYTES)
                    if not response.content.at_eof():
                        response.close()
                except (aiohttp.ClientError, TimeoutError, OSError):
                    response.close()
                asked = parse_retry_after(response.headers.get("Retry-After"), self._clock.now_ms())
                return Tried(response.status, retry_after=asked)
        except TimeoutError:
            return Tried(None, "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            return Tried(None, _said(error))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=make_connector(self._networks, self._look_up or SystemLookUp()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"Ringback/{__version__}"},
                auto_decompress=False,
                trust_env=False,
                requote_redirect_url=False,
            )
        return self._session


def _said(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, NotConnected):
        return str(error.os_error)
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 200 else text[:199] + "…"
