"""How many requests may be under way at once: bounded, and no receiver can keep another from its share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: How many receivers have a request under way at the same time.
FIRST: Final = 512
#: Requests beyond the first of their receiver, of all receivers together.
FURTHER: Final = 256


class Sockets:
    """Every receiver gets a first request from one pool, and further ones from another: whoever is slow and uses many
    takes none of the first ones of others.
    """

    def __init__(self, first: int = FIRST, further: int = FURTHER) -> None:
        self._first = asyncio.Semaphore(first)
        self._further = further

    def take_further(self) -> bool:
        """One more request for a receiver that has one under way; False when all are taken. Give it back."""
        if self._further == 0:
            return False
        self._further -= 1
        return True

    def give_back_further(self) -> None:
        """The request is over."""
        self._further += 1

    @contextlib.asynccontextmanager
    async def first(self) -> AsyncIterator[None]:
        """The only request of a receiver; waits until there is room."""
        async with self._first:
            yield
