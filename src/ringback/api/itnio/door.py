"""One way in for every operation of the vendor's door: who calls, the body, the answer.

An operation is a function from an authenticated :class:`Call` to the answer's data. It raises
:class:`~ringback.api.itnio.envelope.VendorError` for everything that is the caller's fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar import Request, Response, get, post

from ringback.api.itnio.envelope import Code, VendorError, answer, bad
from ringback.api.itnio.signature import check_caller, required_headers
from ringback.clock import Clock
from ringback.settings import Settings
from ringback.store import accounts
from ringback.store.accounts import Account
from ringback.store.database import Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.handlers import HTTPRouteHandler


log = structlog.get_logger(__name__)

#: The published front doors; both lead to the same operations.
PREFIXES = ("/voice", "/v3/voice")

AnyRequest = Request[Any, Any, Any]


class Door(msgspec.Struct, frozen=True):
    """What every operation needs."""

    store: Store
    clock: Clock
    settings: Settings


class Call(msgspec.Struct, frozen=True):
    """One authenticated request. ``path_id`` is the id in the path, when the operation has one."""

    door: Door
    account: Account
    body: bytes = b""
    path_id: str = ""

    @property
    def now_ms(self) -> int:
        """Wall-clock time, epoch ms."""
        return self.door.clock.now_ms()


class Success(msgspec.Struct, frozen=True):
    """The answer's data, and a warning about a request that succeeded all the same."""

    data: Any = None
    warning: str = ""


if TYPE_CHECKING:
    Operation = Callable[[Call], Awaitable[Success]]


def post_route(door: Door, path: str, operation: Operation) -> HTTPRouteHandler:
    """A POST operation under every prefix."""

    @post([prefix + path for prefix in PREFIXES], status_code=200, operation_id=_operation_id(path))
    async def handle(request: AnyRequest) -> Response[bytes]:
        return await _answer(door, request, operation, "")

    return handle


def get_route(door: Door, path: str, operation: Operation) -> HTTPRouteHandler:
    """A GET operation with the id at the end of its path, under every prefix."""

    @get([f"{prefix}{path}/{{path_id:str}}" for prefix in PREFIXES], operation_id=_operation_id(path))
    async def handle(request: AnyRequest, path_id: str) -> Response[bytes]:
        return await _answer(door, request, operation, path_id)

    return handle


async def _answer(door: Door, request: AnyRequest, operation: Operation, path_id: str) -> Response[bytes]:
    envelope = "both"
    try:
        account = await _authenticate(door, request)
        envelope = account.envelope
        body = await _read_body(request, door.settings.max_body_megabytes * 1_000_000)
        done = await operation(Call(door, account, body, path_id))
    except VendorError as error:
        return answer(error.code, error.message, envelope=envelope)
    except Exception:
        log.exception("request_failed", path=request.url.path)
        return answer(Code.SYSTEM, "system exception; the server's log tells more", envelope=envelope)
    return answer(Code.SUCCESS, "success", done.data, envelope=envelope, warning=done.warning)


async def _authenticate(door: Door, request: AnyRequest) -> Account:
    api_key, timestamp, signature = required_headers(request.headers)
    async with door.store.read() as tx:
        account = await accounts.by_key(tx, api_key)
    return check_caller(
        account,
        api_key=api_key,
        timestamp=timestamp,
        signature=signature,
        address=request.client.host if request.client else "",
        now_ms=door.clock.now_ms(),
        tolerance_seconds=door.settings.timestamp_tolerance_seconds,
    )


async def _read_body(request: AnyRequest, limit: int) -> bytes:
    """The whole body. One that is too large is read on but dropped, so that the sender gets the answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > 4 * limit:
            break
        if size > limit:
            chunks.clear()
        else:
            chunks.append(chunk)
    if size > limit:
        raise bad("body", f"is larger than {limit // 1_000_000} MB")
    return b"".join(chunks)


def _operation_id(path: str) -> str:
    return "itnio" + "".join(part[:1].upper() + part[1:] for part in path.split("/") if part)
