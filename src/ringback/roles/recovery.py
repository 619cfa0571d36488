"""What a dead worker held is settled, never redialled.

The engine is asked for each call by its id. What it cannot tell is ``unknown``; the next round may recall it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ringback.model.breaker import Verdict, judge
from ringback.model.outcome import Evidence, Outcome, classify
from ringback.model.states import CallState
from ringback.store import calls, workers
from ringback.store.calls import CallResult, Held
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.store.workers import OtherWorker
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)

#: How many calls the engine is asked for at once.
AT_ONCE = 50


async def take_over(
    store: Store, engine: Engine, clock: Clock, dead: OtherWorker, *, worker_id: int, minute_seconds: float
) -> bool:
    """Fence a dead worker off and settle what it held. False when it showed meanwhile that it lives.

    When this breaks off, the calls stay with the dead worker, fenced off, and whoever notices goes on.
    """
    async with store.write() as tx:
        if not await workers.fence(tx, dead, worker_id, clock.now_ms()):
            return False
        held = await calls.held_by(tx, dead.id)
    results: list[CallResult] = []
    for start in range(0, len(held), AT_ONCE):
        part = held[start : start + AT_ONCE]
        results += await asyncio.gather(*(_settled(one, engine, dead, clock.now_ms()) for one in part))
    async with store.write() as tx:
        await calls.ended(tx, dead.id, results, clock.now_ms(), minute_seconds=minute_seconds, by_settler=True)
        await workers.settled(tx, dead.id, clock.now_ms())
    if results:
        log.warning("settled_calls_of_dead_worker", worker_id=dead.id, count=len(results))
        store.announce(News.WORK, News.LINES)
    return True


async def _settled(held: Held, engine: Engine, dead: OtherWorker, now_ms: int) -> CallResult:
    # Calls of another engine cannot be asked for here.
    ended = await engine.settle(held.call_id, of=dead.name) if dead.engine == engine.name else None
    if ended is None:
        return CallResult(
            call_id=held.call_id,
            lease_no=held.lease_no,
            outcome=Outcome.UNKNOWN,
            ended_at=now_ms,
            answered_at=held.answered_at,
            reason="the process that held the call died, and the engine cannot say what came of it",
        )
    evidence = Evidence(
        answered=held.state is CallState.IN_PROGRESS, sip_code=ended.sip_code, q850_cause=ended.q850_cause
    )
    return CallResult(
        call_id=held.call_id,
        lease_no=held.lease_no,
        outcome=classify(evidence),
        ended_at=now_ms,
        answered_at=held.answered_at,
        sip_code=ended.sip_code,
        q850_cause=ended.q850_cause,
        reason=ended.reason,
        # Whether it had rung died with the process, so without a code nothing is known of the trunk.
        verdict=Verdict.NEUTRAL if ended.sip_code is None else judge(evidence),
    )
