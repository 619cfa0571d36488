"""The vendor's answers: HTTP 200 always, the result in the body, in one or both of the published envelopes."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.enums import MediaType

if TYPE_CHECKING:
    from collections.abc import Mapping


class Code(IntEnum):
    """Status codes of the voice pages."""

    SUCCESS = 0
    AUTHENTICATION = -1
    ADDRESS_NOT_ALLOWED = -2
    NO_BALANCE = -10
    TIMESTAMP_EXPIRED = -16
    SYSTEM = -18
    EXISTS = -20
    VALIDATION = -21
    PARAMETER = -22
    LIMIT = -23
    NOT_FOUND = -24
    NO_RATE = -26
    NOTHING_LEFT = -34
    TASK_WRONG = -54


#: Messages that repeat what was sent are cut here.
MAX_MESSAGE_CHARACTERS = 2_000


class VendorError(Exception):
    """Ends a request with a status code and a message for the caller."""

    def __init__(self, code: int, message: str) -> None:
        if len(message) > MAX_MESSAGE_CHARACTERS:
            message = message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        super().__init__(message)
        self.code = code
        self.message = message


def bad(field: str, message: str) -> VendorError:
    """A parameter is wrong: names the field."""
    return VendorError(Code.PARAMETER, f"{field}: {message}")


def answer(
    code: int,
    message: str,
    data: Any = None,
    *,
    envelope: str = "both",
    warning: str = "",
    also: Mapping[str, Any] = {},
) -> Response[bytes]:
    """The response: ``code`` (number) and ``msg``, ``status`` (text) and ``reason``, or both pairs at once.

    ``warning``, when there is something to say about a request that succeeded, is a member of its own; ``also`` are
    others that stand beside ``data``.
    """
    body: dict[str, Any] = {}
    if envelope != "status":
        body |= {"code": int(code), "msg": message}
    if envelope != "code":
        body |= {"status": str(int(code)), "reason": message}
    body["data"] = data
    body.update(also or {})
    if warning:
        body["warning"] = warning
    return Response(msgspec.json.encode(body), status_code=200, media_type=MediaType.JSON)
