"""``ETag`` and ``If-Match``: an edit is refused when the thing has changed since it was read (RFC 9110, 13.1.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar import Response

from ringback.api.v1.problems import Kind, Problem

if TYPE_CHECKING:
    from litestar import Request

T = TypeVar("T")


def etag_of(shown: object) -> str:
    """The tag of a thing as it is answered: it changes with everything that is seen of it."""
    return '"' + hashlib.sha256(msgspec.json.encode(shown)).hexdigest()[:32] + '"'


def tagged(shown: T) -> Response[T]:
    """The answer with its tag."""
    return Response(shown, headers={"ETag": etag_of(shown)})


def check_unchanged(request: Request[Any, Any, Any], shown: object) -> None:
    """Pass when there is no If-Match, or it names what is there now. Raises :class:`Problem`."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if etag_of(shown) not in [one.strip() for one in wanted.split(",")]:
        raise Problem(Kind.CHANGED, "If-Match: it has changed since it was read; read it again")
