"""What went wrong, as RFC 9457 has it: ``application/problem+json`` with a closed list of types."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:ringback:problem:"


class Kind(Enum):
    """The types of problems: HTTP status and title."""

    INVALID = (400, "The request is not valid")
    UNAUTHENTICATED = (401, "No valid key")
    FORBIDDEN = (403, "The key may not do this")
    NOT_FOUND = (404, "There is no such thing")
    METHOD_NOT_ALLOWED = (405, "The method is not offered here")
    CONFLICT = (409, "The thing is not in a state, or has not a name, that allows this")
    CHANGED = (412, "The thing has changed since it was read")
    TOO_LARGE = (413, "The body is too large")
    MEDIA_TYPE = (415, "The body is of a type that is not read here")
    KEY_REUSED = (422, "The Idempotency-Key was used with another request")
    TOO_MANY = (429, "Too many requests")
    INTERNAL = (500, "The server failed")
    UNAVAILABLE = (503, "The server cannot do this now")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def urn(self) -> str:
        """The member ``type``."""
        return _TYPE + self.name.lower().replace("_", "-")


class FieldError(msgspec.Struct, frozen=True):
    """One fault. ``field``: the member or parameter, as in ``numbers[3].number``."""

    field: str
    message: str


class ProblemOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem. ``type`` is one of a closed list, ``detail`` is for people, ``errors`` names each field at fault."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Problem(Exception):
    """The request ends with this."""

    def __init__(
        self, kind: Kind, detail: str, *, errors: Iterable[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def answer(self) -> Response[bytes]:
        """As an answer."""
        _, title = self.kind.value
        body = ProblemOut(
            type=self.kind.urn, title=title, status=self.kind.status, detail=self.detail, errors=self.errors
        )
        return Response(
            msgspec.json.encode(body), status_code=self.kind.status, media_type=MEDIA_TYPE, headers=self.headers
        )


def invalid(field: str, message: str) -> Problem:
    """One field is at fault."""
    return Problem(Kind.INVALID, f"{field}: {message}", errors=[FieldError(field, message)])


def not_found(what: str, key: object) -> Problem:
    """It is not there, or somebody else's: both look alike."""
    return Problem(Kind.NOT_FOUND, f"there is no {what} {key}")


def answer_problem(_: Request[Any, Any, Any], error: Problem) -> Response[bytes]:
    """For the framework: a problem that was raised."""
    return error.answer()


_BY_STATUS = {kind.status: kind for kind in Kind if kind is not Kind.KEY_REUSED}


def answer_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """For the framework: what it refused by itself."""
    if isinstance(error, ValidationException):
        return Problem(Kind.INVALID, "the request is not valid", errors=_field_errors(error)).answer()
    kind = _BY_STATUS.get(error.status_code, Kind.INVALID if error.status_code < 500 else Kind.INTERNAL)
    details = {
        Kind.NOT_FOUND: f"there is nothing at {request.url.path}",
        Kind.METHOD_NOT_ALLOWED: f"{request.method} is not offered at {request.url.path}",
    }
    return Problem(kind, details.get(kind, error.detail), headers=error.headers or {}).answer()


def answer_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """For the framework: a fault of ours."""
    log.error("request_failed", path=request.url.path, exc_info=error)
    return Problem(Kind.INTERNAL, "the server's log tells more").answer()


def _field_errors(error: ValidationException) -> list[FieldError]:
    found = []
    for one in error.extra if isinstance(error.extra, list) else []:
        message = str(one.get("message", "is not valid"))
        where = str(one.get("key") or one.get("source") or "body")
        text, _, path = message.partition(" - at `$")
        inner = path.rstrip("`").lstrip(".")
        # A body's members are named without the word for the whole.
        field = inner if where in ("data", "body") and inner else where if not inner else f"{where}.{inner}"
        found.append(FieldError(field, text))
    return found or [FieldError("body", error.detail)]
