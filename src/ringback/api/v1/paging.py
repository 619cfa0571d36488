"""Lists by cursor: a page, and where the next one begins. Cursors are opaque to callers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from ringback.api.v1.problems import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

MOST = 1_000
USUAL = 50
MAX_ID = 2**63 - 1

Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description="How many at most.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=64, description="The `next` of the page before; left out: the first page.")
]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a list. ``next`` is the cursor of the next page, null when this is the last one."""

    items: list[T]
    next: str | None = None


def page_of(rows: Sequence[R], limit: int, key: Callable[[R], int], shown: Callable[[R], T]) -> Page[T]:
    """A page of at most ``limit`` rows; there is a next one when there were more."""
    kept = rows[:limit]
    return Page([shown(row) for row in kept], cursor(key(kept[-1])) if len(rows) > limit else None)


def cursor(key: int) -> str:
    """The cursor of what comes behind that id."""
    return base64.urlsafe_b64encode(b"1:%d" % key).decode().rstrip("=")


def behind(text: str | None) -> int | None:
    """The id that a cursor stands for. Raises :class:`~.problems.Problem` for one that is none of ours."""
    if text is None:
        return None
    try:
        version, _, key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b":")
        found = int(key)
    except (ValueError, binascii.Error):
        raise invalid("cursor", "is not the next of a page") from None
    if version != b"1" or not 0 <= found <= MAX_ID or cursor(found) != text:
        raise invalid("cursor", "is not the next of a page")
    return found
