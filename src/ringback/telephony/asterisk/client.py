"""A thin client of ARI, Asterisk's REST interface: requests, and the event stream of one application."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec
from aiohttp.payload import BytesPayload

from ringback.telephony.asterisk.events import AriEvent, read_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from ringback.telephony.asterisk.address import NodeAddress

#: An Asterisk that needs longer than this for an answer is in trouble.
REQUEST_SECONDS: Final = 5.0
#: Asterisk closes a connection after 15 s without a request; one that it is just closing must not be used again.
KEEP_ALIVE_SECONDS: Final = 8.0
#: Requests under way at once; each costs Asterisk a thread.
CONNECTIONS: Final = 40
#: Between two pings on the event stream: half of it without an answer, and the stream is taken for dead.
HEARTBEAT_SECONDS: Final = 10.0
#: How long a goodbye on the event stream is waited for: one that works no more gives none.
GOODBYE_SECONDS: Final = 1.0
#: Statuses with which a proxy says that it got no answer: what Asterisk did is not known.
_NO_ANSWER: Final = (502, 504)
#: Far more than any event has.
_LONGEST_EVENT: Final = 1 << 20


class AriRefused(Exception):
    """Asterisk answered, and the answer is no. ``status`` is the HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class AriUnreachable(Exception):
    """No answer. ``sent`` is false when the request certainly did not reach Asterisk."""

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(text)
        self.sent = sent


class _TooLate(OSError):
    pass


class _InTime(BytesPayload):
    """A body that is written only if it may still leave: a process that stood still since it was asked to send it has
    been taken for dead by others, perhaps. The headers leave with it."""

    def __init__(self, data: bytes, in_time: Callable[[], bool]) -> None:
        super().__init__(data, content_type="application/json")
        self._in_time = in_time
        self.too_late = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._in_time():
            self.too_late = True
            raise _TooLate
        await super().write_with_length(writer, content_length)


class AriClient:
    """Talks to one Asterisk. Use :meth:`close` at the end."""

    def __init__(self, address: NodeAddress) -> None:
        self._base = address.base_url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(address.user, address.password)},
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            raise_for_status=False,
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Any = None,
        leave_within: float | None = None,
        in_time: Callable[[], bool] | None = None,
    ) -> bytes:
        """Send one request; returns the body of the answer. ``body`` is sent as JSON.

        ``leave_within``: seconds that may pass until it leaves; while every connection is in use it waits for one.
        ``in_time`` is asked for the last time when its bytes are written: whether they may.

        Raises:
            AriRefused: Asterisk said no.
            AriUnreachable: it said nothing.
        """
        data: bytes | _InTime | None = None if body is None else msgspec.json.encode(body)
        if in_time is not None and isinstance(data, bytes):
            data = _InTime(data, in_time)
        headers = None if body is None else {"Content-Type": "application/json"}
        if self._session.closed:
            raise AriUnreachable("the connection was closed", sent=False)
        try:
            async with self._session.request(
                method,
                self._base + path,
                params=params,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, connect=leave_within),
                allow_redirects=False,  # an order that is sent on could be carried out twice
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise AriUnreachable(_text(error), sent=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            late = isinstance(data, _InTime) and data.too_late
            raise AriUnreachable("it was too late to ask" if late else _text(error), sent=not late) from error
        if answer.status in _NO_ANSWER:
            raise AriUnreachable(f"{answer.status} {_message(content)}", sent=True)
        if answer.status >= 300:
            raise AriRefused(answer.status, _message(content))
        return content

    async def download(self, path: str, chunk_bytes: int = 1 << 16) -> AsyncGenerator[bytes, None]:
        """The body of a GET, piece by piece. Raises as :meth:`request`."""
        if self._session.closed:
            raise AriUnreachable("the connection was closed", sent=False)
        # However long it takes as a whole: something must come all the time.
        patience = aiohttp.ClientTimeout(total=None, connect=REQUEST_SECONDS, sock_read=REQUEST_SECONDS)
        try:
            async with self._session.get(self._base + path, timeout=patience, allow_redirects=False) as answer:
                if answer.status >= 300:
                    raise AriRefused(answer.status, _message(await answer.read()))
                async for chunk in answer.content.iter_chunked(chunk_bytes):
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AriUnreachable(_text(error), sent=True) from error

    @contextlib.asynccontextmanager
    async def events(self, app: str) -> AsyncIterator[AsyncIterator[AriEvent]]:
        """The event stream of ``app``, which exists at Asterisk from here on. It ends when the connection does.

        Raises:
            AriRefused: wrong user or password, or no ARI there.
            AriUnreachable: nobody answers.
        """
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                stream = await self._session.ws_connect(
                    self._base + "/events",
                    params={"app": app, "subscribeAll": "false"},
                    heartbeat=HEARTBEAT_SECONDS,
                    timeout=aiohttp.ClientWSTimeout(ws_close=GOODBYE_SECONDS),
                    max_msg_size=_LONGEST_EVENT,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise AriRefused(error.status, error.message) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise AriUnreachable(_text(error), sent=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AriUnreachable(_text(error), sent=True) from error
        try:
            yield _read(stream)
        finally:
            await stream.close()


async def _read(stream: aiohttp.ClientWebSocketResponse) -> AsyncIterator[AriEvent]:
    async for message in stream:
        if message.type is aiohttp.WSMsgType.TEXT:
            yield read_event(message.data)


def _message(content: bytes) -> str:
    """Asterisk's own words in an error answer."""
    try:
        said = msgspec.json.decode(content, type=dict[str, object])
        return str(said["message"] if "message" in said else said["error"])
    except (msgspec.DecodeError, KeyError):
        return content[:200].decode(errors="replace").strip()


def _text(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno and error.os_error.errno > 0:
        return os.strerror(error.os_error.errno).lower()  # whoever reads it knows the address already
    return str(error) or type(error).__name__
