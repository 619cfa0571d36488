"""Long work on what a request brings along, beside the event loop, so that dialling goes on meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: More numbers than this are checked on another thread.
MANY_NUMBERS = 1_000


async def build_aside(build: Callable[[], T], count: int) -> T:
    """What ``build`` returns, for a request of so many numbers. Raises what it raises."""
    return await asyncio.to_thread(build) if count > MANY_NUMBERS else build()
