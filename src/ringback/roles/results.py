"""The result buffer: what happened on calls is committed in groups, with the counters it changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import DBAPIError

from ringback.store import calls
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.calls import CallResult
    from ringback.store.database import Store

log = structlog.get_logger(__name__)

#: How long results are gathered before they are committed together, seconds.
GATHER_SECONDS = 0.1
#: After a refused commit: the first wait and the longest, seconds.
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0


class ResultBuffer:
    """Gathers what a worker's calls report. Nothing is dropped: a commit that fails is tried again."""

    def __init__(self, store: Store, clock: Clock, worker_id: int, *, minute_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._minute_seconds = minute_seconds
        self._answers: list[tuple[int, int]] = []
        self._results: list[CallResult] = []
        self._releases: list[int] = []
        self._filled = asyncio.Event()
        self._closing = False

    def answered(self, call_id: int, at_ms: int) -> None:
        """The call was answered at ``at_ms``."""
        self._answers.append((call_id, at_ms))
        self._filled.set()

    def ended(self, result: CallResult) -> None:
        """The call ended."""
        self._results.append(result)
        self._filled.set()

    def released(self, call_id: int) -> None:
        """The call was not placed: no INVITE has left."""
        self._releases.append(call_id)
        self._filled.set()

    def close(self) -> None:
        """No more will come: :meth:`run` commits what is there and returns."""
        self._closing = True
        self._filled.set()

    async def run(self) -> None:
        """Commit groups until closed."""
        while not (self._closing and self._is_empty()):
            await self._filled.wait()
            if not self._closing:
                await self._clock.sleep(GATHER_SECONDS)
            self._filled.clear()
            await self._commit()

    def _is_empty(self) -> bool:
        return not (self._answers or self._results or self._releases)

    async def _commit(self) -> None:
        answers, self._answers = self._answers, []
        results, self._results = self._results, []
        releases, self._releases = self._releases, []
        if not (answers or results or releases):
            return
        wait = FIRST_RETRY_SECONDS
        finished: list[int] = []
        while True:
            try:
                async with self._store.write() as tx:
                    if answers:
                        await calls.answered(tx, self._worker_id, answers)
                    if releases:
                        await calls.released(tx, self._worker_id, releases)
                    if results:
                        finished = await calls.ended(
                            tx,
                            self._worker_id,
                            results,
                            self._clock.now_ms(),
                            minute_seconds=self._minute_seconds,
                        )
            except DBAPIError as error:
                log.warning("results_not_stored_yet", count=len(results), error=str(error.orig), retry_in=wait)
                await self._clock.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY_SECONDS)
            else:
                break
        if finished:
            self._store.announce(News.WORK, News.LINES)
        elif results or releases:
            self._store.announce(News.LINES)
