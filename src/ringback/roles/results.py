"""The result buffer: what happened on calls is committed in groups, with the counters it changes.

Nothing is dropped. A database that refuses for now is tried again; a group that it refuses for good is committed one by
one, so that a single bad result cannot hold up the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.roles.patience import Patience
from ringback.store import breakers, calls, phone_first
from ringback.store.calls import Answer, CallResult
from ringback.store.database import News
from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.store.leases import Lease

log = structlog.get_logger(__name__)

#: How long results are gathered before they are committed together, seconds.
GATHER_SECONDS = 0.1


class _Group(msgspec.Struct):
    """What is written together."""

    answers: list[Answer] = []
    ringing: list[tuple[int, int]] = []
    results: list[CallResult] = []
    releases: list[tuple[int, int]] = []
    skips: list[tuple[int, int, str]] = []

    def __bool__(self) -> bool:
        return bool(self.answers or self.ringing or self.results or self.releases or self.skips)

    def singles(self) -> list[_Group]:
        """The same, each alone, in an order in which each can still happen."""
        return [
            *(_Group(answers=[answer]) for answer in self.answers),
            *(_Group(ringing=[probe]) for probe in self.ringing),
            *(_Group(releases=[release]) for release in self.releases),
            *(_Group(skips=[skip]) for skip in self.skips),
            *(_Group(results=[result]) for result in self.results),
        ]


class ResultBuffer:
    """Gathers what a worker's calls report, and commits it."""

    def __init__(self, store: Store, clock: Clock, worker_id: int, *, minute_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._minute_seconds = minute_seconds
        self._group = _Group()
        self._filled = asyncio.Event()
        self._closing = False
        self._committing = False

    @property
    def empty(self) -> bool:
        """Whether everything that was reported has been committed."""
        return not self._group and not self._committing

    def answered(self, lease: Lease, at_ms: int) -> None:
        """The call was answered at ``at_ms``."""
        self._group.answers.append(Answer(lease.call_id, lease.lease_no, at_ms))
        self._filled.set()

    def probe_rings(self, trunk_id: int, call_id: int) -> None:
        """The call that tries a trunk rings, or more."""
        self._group.ringing.append((trunk_id, call_id))
        self._filled.set()

    def ended(self, result: CallResult) -> None:
        """The call ended."""
        self._group.results.append(result)
        self._filled.set()

    def released(self, lease: Lease) -> None:
        """The call was not placed: no INVITE has left."""
        self._group.releases.append((lease.call_id, lease.lease_no))
        self._filled.set()

    def skipped(self, lease: Lease, reason: str) -> None:
        """The call will not be placed: no INVITE has left, and none will."""
        self._group.skips.append((lease.call_id, lease.lease_no, reason))
        self._filled.set()

    def close(self) -> None:
        """No more will come: :meth:`run` commits what is there and returns."""
        self._closing = True
        self._filled.set()

    async def run(self) -> None:
        """Commit groups until closed."""
        while not (self._closing and not self._group):
            await self._filled.wait()
            if not self._closing:
                await self._clock.sleep(GATHER_SECONDS)
            self._filled.clear()
            group, self._group = self._group, _Group()
            if group:
                self._committing = True
                await self._commit(group)
                self._committing = False

    async def _commit(self, group: _Group) -> None:
        try:
            await self._write_patiently(group)
        except Exception:
            log.exception("group_refused", results=len(group.results))
            for single in group.singles():
                await self._commit_alone(single)

    async def _commit_alone(self, single: _Group) -> None:
        try:
            await self._write_patiently(single)
        except Exception:  # one bad entry must not stop the others
            log.exception("entry_refused")
            for result in single.results:
                await self._commit_what_is_sure(result)

    async def _commit_what_is_sure(self, result: CallResult) -> None:
        """The result could not be stored as it is: store that the call ended, so that its line and task go on."""
        outcome = result.outcome if result.outcome in ANSWERED_OUTCOMES else Outcome.UNKNOWN
        bare = CallResult(
            call_id=result.call_id,
            lease_no=result.lease_no,
            outcome=outcome,
            ended_at=self._clock.now_ms(),
            reason="the result could not be stored; the log tells why",
            verdict=result.verdict,
            trunk_rang=result.trunk_rang,
        )
        try:
            await self._write_patiently(_Group(results=[bare]))
        except Exception:  # settled as unknown at the next start
            log.exception("result_lost", call_id=result.call_id)

    async def _write_patiently(self, group: _Group) -> None:
        """Commit; a refusal that can pass is waited out. Raises what cannot pass."""
        patience = Patience()
        while True:
            try:
                finished = await self._write(group)
            except Exception as error:
                if not is_passing(error):
                    raise
                wait = patience.more()
                log.warning("results_not_stored_yet", count=len(group.results), error=str(error), retry_in=wait)
                await self._clock.sleep(wait)
            else:
                break
        if finished:
            self._store.announce(News.WORK, News.LINES)
        elif group.results or group.releases or group.ringing or group.skips:
            self._store.announce(News.LINES)

    async def _write(self, group: _Group) -> list[int]:
        """One transaction a kind of news, or it would lock trunks after breakers and tasks, and in no order. What a
        repeated group has committed already changes nothing. Returns the tasks that finished.
        """
        if group.ringing:
            async with self._store.write() as tx:
                for trunk_id, call_id in sorted(group.ringing):
                    await breakers.call_rings(tx, trunk_id, call_id, self._clock.now_ms())
        if group.releases:
            async with self._store.write() as tx:
                await calls.released(tx, self._worker_id, group.releases)
        finished: list[int] = []
        if group.skips:
            async with self._store.write() as tx:
                finished += await phone_first.skipped(
                    tx, self._worker_id, group.skips, self._clock.now_ms(), minute_seconds=self._minute_seconds
                )
        if not group.answers and not group.results:
            return finished
        async with self._store.write() as tx:
            if group.answers:
                await calls.answered(tx, self._worker_id, group.answers)
            if not group.results:
                return finished
            return finished + await calls.ended(
                tx, self._worker_id, group.results, self._clock.now_ms(), minute_seconds=self._minute_seconds
            )
