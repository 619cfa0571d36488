"""One way in for every operation of the vendor's door: who calls, the body, the answer.

An operation is a function from an authenticated :class:`Call` and its typed body to the answer's data. It raises
:class:`~ringback.api.itnio.envelope.VendorError` for everything that is the caller's fault.
"""

from __future__ import annotations

import asyncio
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec
import structlog
from litestar import Request, Response, get, post

from ringback.api.itnio.described import described, described_file
from ringback.api.itnio.envelope import Code, VendorError, answer, bad
from ringback.api.itnio.families import VOICE, Family
from ringback.api.itnio.fields import decode
from ringback.api.itnio.signature import check_address, check_signature, check_timestamp, required_headers
from ringback.store import accounts, flows
from ringback.store.accounts import Account
from ringback.store.lookups import Lookups

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar.handlers import HTTPRouteHandler

    from ringback.clock import Clock
    from ringback.settings import Settings
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: Bodies of operations that take no numbers. Decoding holds up everything else, and nothing honest is larger.
SMALL_BODY_MEGABYTES = 1
#: A sender that is silent for so long in the middle of a body is given up.
BODY_SILENCE_SECONDS = 30.0

#: The member of a route's ``opt`` that names its operation by method and first path.
OPERATION = "itnio_operation"

AnyRequest = Request[Any, Any, Any]
B = TypeVar("B")


class Door:
    """What every operation needs."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.accounts = Lookups(store, accounts.BY_API_KEY)
        self.flows = Lookups(store, flows.BY_ID)


class Call(msgspec.Struct, frozen=True):
    """One authenticated request."""

    door: Door
    account: Account

    @property
    def now_ms(self) -> int:
        """Wall-clock time, epoch ms."""
        return self.door.clock.now_ms()


class Success(msgspec.Struct, frozen=True):
    """The answer's data, and a warning about a request that succeeded all the same. ``also``: what stands beside."""

    data: Any = None
    warning: str = ""
    also: dict[str, Any] = {}


if TYPE_CHECKING:
    Operation = Callable[[Call, B], Awaitable[Success]]


def post_route(
    door: Door,
    path: str,
    body: type[B],
    operation: Operation[B],
    *,
    answers: Any = None,
    family: Family = VOICE,
    max_megabytes: int = SMALL_BODY_MEGABYTES,
) -> list[HTTPRouteHandler]:
    """A POST operation under every prefix of its family.

    ``answers`` is the type of the answer's data, for the description. ``max_megabytes`` is the largest body it reads.
    """

    async def run(call: Call, request: AnyRequest) -> Success:
        return await operation(call, decode(await _read_body(request, max_megabytes), body))

    operations = [(post, prefix + path) for prefix in family.prefixes]
    return _handlers(
        door, family, run, operations, operation_class=described(body, answers), text=operation.__doc__ or path
    )


def get_route(
    door: Door, path: str, operation: Operation[str], *, answers: Any = None, family: Family = VOICE
) -> list[HTTPRouteHandler]:
    """A GET operation under every prefix of its family; what stands behind the path's last slash is its body."""

    async def run(call: Call, request: AnyRequest) -> Success:
        return await operation(call, str(request.path_params["key"]))

    operations = [(get, f"{prefix}{path}/{{key:str}}") for prefix in family.prefixes]
    return _handlers(
        door, family, run, operations, operation_class=described(None, answers), text=operation.__doc__ or path
    )


def plain_get_route(
    door: Door, path: str, operation: Callable[[Call], Awaitable[Success]], *, answers: Any, family: Family
) -> list[HTTPRouteHandler]:
    """A GET operation without a body under every prefix of its family."""

    async def run(call: Call, _: AnyRequest) -> Success:
        return await operation(call)

    operations = [(get, prefix + path) for prefix in family.prefixes]
    return _handlers(
        door,
        family,
        run,
        operations,
        operation_class=described(None, answers, keyed=False),
        text=operation.__doc__ or path,
    )


def stream_route(
    door: Door, path: str, operation: Callable[[Call, str], Awaitable[Response[bytes]]], *, parameter: str
) -> list[HTTPRouteHandler]:
    """A GET operation that answers with a file; its query has one parameter. Who may not ask gets the envelope."""
    text = cleandoc(operation.__doc__ or path)

    async def handle(request: AnyRequest) -> Response[bytes]:
        key = request.query_params.get(parameter, "")
        found: list[Response[bytes]] = []

        async def run(call: Call) -> Success:
            if not key:
                raise bad(parameter, "is missing")
            found.append(await operation(call, key))
            return Success()

        refused = await _answer(door, VOICE, request, run)
        return found[0] if found else refused

    return [
        get(
            prefix + path,
            status_code=200,
            operation_id=_operation_id(prefix + path),
            operation_class=described_file(parameter),
            opt={OPERATION: f"GET {VOICE.prefixes[0]}{path}"},
            summary=text.partition("\n")[0],
            description=text,
        )(handle)
        for prefix in VOICE.prefixes
    ]


def _handlers(
    door: Door,
    family: Family,
    run: Callable[[Call, AnyRequest], Awaitable[Success]],
    operations: Sequence[tuple[Callable[..., Any], str]],
    *,
    operation_class: type[Any],
    text: str,
) -> list[HTTPRouteHandler]:
    text = cleandoc(text)

    async def handle(request: AnyRequest) -> Response[bytes]:
        return await _answer(door, family, request, lambda call: run(call, request))

    return [
        method(
            path,
            status_code=200,
            operation_id=_operation_id(path),
            operation_class=operation_class,
            # What the operation is called, whichever prefix it is asked for under.
            opt={OPERATION: f"{method.__name__.upper()} {operations[0][1]}"},
            summary=text.partition("\n")[0],
            description=text,
        )(handle)
        for method, path in operations
    ]


async def _answer(
    door: Door, family: Family, request: AnyRequest, run: Callable[[Call], Awaitable[Success]]
) -> Response[bytes]:
    envelope = "both"
    try:
        api_key, timestamp, signature = required_headers(request.headers, family.missing_header)
        found = await door.accounts.get(api_key)
        account = check_signature(found, api_key=api_key, timestamp=timestamp, signature=signature)
        # Only from here on, or an answer's form would tell which keys exist.
        envelope = account.envelope
        check_timestamp(
            timestamp, now_ms=door.clock.now_ms(), tolerance_seconds=door.settings.timestamp_tolerance_seconds
        )
        check_address(account, request.client.host if request.client else "")
        done = await run(Call(door, account))
    except VendorError as error:
        return answer(family.code(error.code), error.message, envelope=envelope)
    except Exception:
        log.exception("request_failed", path=request.url.path)
        return answer(Code.SYSTEM, "system exception; the server's log tells more", envelope=envelope)
    return answer(Code.SUCCESS, "success", done.data, envelope=envelope, warning=done.warning, also=done.also)


async def _read_body(request: AnyRequest, max_megabytes: int) -> bytes:
    """The whole body. One that is too large is read on but not kept, so that the sender gets the answer."""
    limit = max_megabytes * 1_000_000
    announced = request.headers.get("content-length", "")
    keep = not (announced.isdecimal() and (len(announced) > 18 or int(announced) > limit))
    chunks: list[bytes] = []
    size = 0
    more = True
    while more and size <= 4 * limit:
        chunk, more = await _next_chunk(request)
        size += len(chunk)
        if size > limit:
            keep = False
            chunks.clear()
        if keep:
            chunks.append(chunk)
    if not keep:
        raise bad("body", f"is larger than {max_megabytes} MB")
    return b"".join(chunks)


async def _next_chunk(request: AnyRequest) -> tuple[bytes, bool]:
    """The next part of a body, and whether there may be more."""
    try:
        async with asyncio.timeout(BODY_SILENCE_SECONDS):
            # The server's own message: the framework's stream would ask twice more to hear that nothing follows.
            message = await request.receive()
    except TimeoutError:
        raise bad("body", f"did not arrive: nothing came for {BODY_SILENCE_SECONDS:g} seconds") from None
    if message["type"] == "http.disconnect":
        # Nobody reads the answer, and it is no fault of ours.
        raise bad("body", "ended early: the connection was closed")
    return cast("bytes", message.get("body", b"")), bool(message.get("more_body", False))


def _operation_id(path: str) -> str:
    parts = (part for part in path.split("/") if part and not part.startswith("{"))
    return "itnio" + "".join(part[:1].upper() + part[1:] for part in parts)
