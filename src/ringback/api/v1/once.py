"""``Idempotency-Key``: the same request sent again is answered as it was the first time, and does nothing more.

The answer is stored in the transaction that does the work, so there is none without the other, whatever is killed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from litestar import Response

from ringback.api.v1.problems import Kind, Problem, invalid
from ringback.store import replays

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Request

    from ringback.api.v1.door import Caller
    from ringback.store.database import Tx

T = TypeVar("T")

HEADER = "Idempotency-Key"
MAX_KEY = 128
#: So long an answer can be asked for again.
KEPT_MS = 24 * 3_600_000


class Made(Response[T], Generic[T]):
    """What was made; ``Idempotent-Replayed: true`` when it had been made before."""


async def once(
    request: Request[Any, Any, Any], caller: Caller, work: Callable[[Tx], Awaitable[T]], *, status: int
) -> Made[T]:
    """Do the work in a transaction of its own, once for each ``Idempotency-Key``.

    Raises :class:`Problem` for a key that came with another request.
    """
    key = request.headers.get(HEADER)
    if key is None:
        async with caller.store.write() as tx:
            return Made(await work(tx), status_code=status)
    if not (1 <= len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise invalid(HEADER, f"must have 1 to {MAX_KEY} printable ASCII characters")
    digest = await _digest(request)
    async with caller.store.write() as tx:
        before = await replays.claim(tx, caller.account_id, key, digest, caller.now_ms, keep_ms=KEPT_MS)
        if before is not None:
            if before.digest != digest:
                raise Problem(Kind.KEY_REUSED, f"{HEADER}: was used with another request")
            # It is JSON of the same type, which only the request's own operation can have stored.
            body: Any = msgspec.Raw(before.answer.encode())
            return Made(body, status_code=before.status, headers={"Idempotent-Replayed": "true"})
        made = await work(tx)
        await replays.keep(tx, caller.account_id, key, status, msgspec.json.encode(made).decode())
    return Made(made, status_code=status)


async def _digest(request: Request[Any, Any, Any]) -> str:
    found = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    found.update(await request.body())
    return found.hexdigest()
