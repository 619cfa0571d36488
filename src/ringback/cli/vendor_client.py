"""A small client of the vendor's API, for `ringback run` and the demo: signed requests, errors for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec

from ringback.api.itnio.signature import sign
from ringback.cli.common import UserError

if TYPE_CHECKING:
    from ringback.clock import Clock


class VendorClient:
    """Use as an async context manager."""

    def __init__(self, base_url: str, api_key: str, api_secret: str, clock: Clock) -> None:
        self._base_url = base_url.rstrip("/")
        self._api_key = api_key
        self._api_secret = api_secret
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def post(self, path: str, body: object) -> dict[str, Any]:
        """The whole answer of a POST. Raises :class:`UserError` when it is not a success."""
        return await self._request("POST", path, msgspec.json.encode(body))

    async def get(self, path: str) -> dict[str, Any]:
        """The whole answer of a GET. Raises :class:`UserError` when it is not a success."""
        return await self._request("GET", path, None)

    async def _request(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        assert self._session is not None
        timestamp = str(self._clock.now_ms() // 1000)
        headers = {
            "Content-Type": "application/json;charset=UTF-8",
            "Api-Key": self._api_key,
            "Timestamp": timestamp,
            "Sign": sign(self._api_key, self._api_secret, timestamp),
        }
        try:
            async with self._session.request(method, self._base_url + path, data=body, headers=headers) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UserError(f"the server at {self._base_url} does not answer: {error}") from None
        try:
            answer: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError:
            raise UserError(f"the server at {self._base_url} is not a Ringback server") from None
        if answer.get("code") not in (0, "0") and answer.get("status") not in (0, "0"):
            raise UserError(f"{path}: {answer.get('msg') or answer.get('reason')}")
        return answer
