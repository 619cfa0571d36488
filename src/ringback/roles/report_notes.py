"""What came of tries, noted in groups: the reports of all receivers that were tried within a moment, in one commit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from ringback.roles.patience import Patience
from ringback.store import deliveries
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.store.deliveries import Outcome

log = structlog.get_logger(__name__)

#: How long what came of tries is gathered, seconds.
GATHER_SECONDS: Final = 0.1


class Notes:
    """``courier`` is the token that holds the receivers. :meth:`run` commits until :meth:`close` is called."""

    def __init__(self, store: Store, clock: Clock, courier: str) -> None:
        self._store = store
        self._clock = clock
        self._courier = courier
        self._waiting: dict[int, list[Outcome]] = {}
        self._told: asyncio.Future[set[int]] | None = None
        self._filled = asyncio.Event()
        self._closing = False

    async def note(self, endpoint_id: int, outcomes: Sequence[Outcome]) -> bool:
        """Wait until they are stored. False: the receiver is another courier's by now, and nothing was stored."""
        self._waiting.setdefault(endpoint_id, []).extend(outcomes)
        if self._told is None:
            self._told = asyncio.get_running_loop().create_future()
        self._filled.set()
        return endpoint_id in await asyncio.shield(self._told)

    def close(self) -> None:
        """No more will come: :meth:`run` stores what is there and returns."""
        self._closing = True
        self._filled.set()

    async def run(self) -> None:
        """Commit groups until closed."""
        while not (self._closing and not self._waiting):
            await self._filled.wait()
            if not self._closing:
                await self._clock.sleep(GATHER_SECONDS)
            self._filled.clear()
            group, told = self._waiting, self._told
            self._waiting, self._told = {}, None
            if told is None:
                continue
            try:
                told.set_result(await self._store_patiently(group))
            except Exception as error:  # noqa: BLE001 - whoever waits ends with it, and begins anew
                told.set_exception(error)
                told.exception()

    async def _store_patiently(self, group: dict[int, list[Outcome]]) -> set[int]:
        patience = Patience()
        while True:
            try:
                async with self._store.write() as tx:
                    return await deliveries.mark(tx, self._courier, group, self._clock.now_ms())
            except Exception as error:
                if not is_passing(error):
                    raise
                wait = patience.more()
                log.warning("tries_not_noted_yet", error=str(error) or type(error).__name__, retry_in=wait)
                await self._clock.sleep(wait)
