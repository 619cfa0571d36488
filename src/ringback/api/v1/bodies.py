"""JSON bodies, decoded strictly into what the handler takes: no text for a number, no member that nobody knows."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from litestar import Request

from ringback.api.v1.problems import FieldError, Kind, Problem

_WHERE = re.compile(r"(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)


class StrictRequest(Request[Any, Any, Any]):
    """The framework's own way would decode into dictionaries first, and take "1" for 1."""

    async def json(self) -> Any:
        """The body as the type of the handler's ``data``. Raises :class:`~.problems.Problem`."""
        field = self.route_handler.parsed_data_field
        wanted = Any if field is None else field.annotation
        body = await self.body()
        try:
            return msgspec.json.decode(body, type=wanted)
        except msgspec.ValidationError as error:
            raise _refused(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _unreadable(f"is no JSON: {error}") from None
        except RecursionError:
            raise _unreadable("is nested too deeply") from None


def _refused(error: msgspec.ValidationError) -> Problem:
    found = _WHERE.fullmatch(str(error))
    assert found is not None, "everything matches"
    path = (found["path"] or "").removeprefix("$").lstrip(".") or "body"
    text = found["text"][:1].lower() + found["text"][1:]
    return Problem(Kind.INVALID, f"{path}: {text}", errors=[FieldError(path, text)])


def _unreadable(why: str) -> Problem:
    return Problem(Kind.INVALID, f"body: {why}", errors=[FieldError("body", why)])
