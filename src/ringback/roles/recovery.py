"""After a crash: the calls that a dead process held are settled, never redialled.

The engine is asked for each by its id. What it cannot tell is ``unknown``; the next round may recall it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ringback.model.breaker import Verdict, judge
from ringback.model.outcome import Evidence, Outcome, classify
from ringback.model.states import CallState
from ringback.store import calls
from ringback.store.calls import CallResult, Held
from ringback.store.database import News

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.store.database import Store
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)


async def settle_the_dead(store: Store, engine: Engine, clock: Clock, *, worker_id: int, minute_seconds: float) -> int:
    """Settle every call held by another worker. Returns how many there were.

    Only the single dialler of a database may call this: to it, every other worker is dead.
    """
    async with store.read() as tx:
        held = await calls.held_by_others(tx, worker_id)
    settled = 0
    for dead_id, dead_calls in held.items():
        results = [await _settled(one, engine, clock.now_ms()) for one in dead_calls]
        async with store.write() as tx:
            await calls.ended(tx, dead_id, results, clock.now_ms(), minute_seconds=minute_seconds)
        log.warning("settled_calls_of_dead_worker", worker_id=dead_id, count=len(results))
        settled += len(results)
    if settled:
        store.announce(News.WORK, News.LINES)
    return settled


async def _settled(held: Held, engine: Engine, now_ms: int) -> CallResult:
    ended = await engine.settle(held.call_id)
    if ended is None:
        return CallResult(
            call_id=held.call_id,
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
        outcome=classify(evidence),
        ended_at=now_ms,
        answered_at=held.answered_at,
        sip_code=ended.sip_code,
        q850_cause=ended.q850_cause,
        reason=ended.reason,
        # Whether it had rung died with the process, so without a code nothing is known of the trunk.
        verdict=Verdict.NEUTRAL if ended.sip_code is None else judge(evidence),
    )
