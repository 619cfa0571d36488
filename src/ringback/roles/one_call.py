"""One call from INVITE to result: waits for the answer, hands an answered call to the voice floor, and sums up.

The ring timer and the wait for a first sign of life run here, so they are the same on every engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ringback.model.breaker import judge
from ringback.model.outcome import Evidence, Outcome, Progress, classify
from ringback.roles.recordings import recording_name
from ringback.store.calls import CallResult
from ringback.telephony.port import Answered, CallEvent, EarlyMedia, Ended, HungUpBy, Leg, Ringing, Trying
from ringback.voice.talk import talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.model.template import Template
    from ringback.store.leases import Lease
    from ringback.voice.prompts import PromptMaker
    from ringback.voice.seats import Seat, Seats
    from ringback.voice.talk_result import TalkResult

#: How long the engine may take to report the end of a call that was hung up before it was answered, seconds.
END_WAIT_SECONDS = 5.0

_PROGRESS: dict[type[CallEvent], Progress] = {
    Trying: Progress.TRYING,
    Ringing: Progress.RINGING,
    EarlyMedia: Progress.EARLY_MEDIA,
}


class _Unanswered(msgspec.Struct):
    """What is known of a call before it is answered."""

    progress: Progress = Progress.NONE
    answered_at: int | None = None  # epoch ms
    # Monotonic seconds: a wall clock that is set must not make durations wrong.
    rang: float | None = None
    answered: float | None = None
    gave_up: bool = False
    phone_hung_up: bool = False  # the one that was called first: so the callee is given up
    leaving: asyncio.Future[None] | None = None
    ended: Ended | None = None


async def run_call(
    leg: Leg,
    lease: Lease,
    *,
    template: Template,
    prompts: PromptMaker,
    clock: Clock,
    no_reply_seconds: float,
    on_response: Callable[[bool], None],
    on_answer: Callable[[int], None],
    seats: Seats | None = None,
    seat: Seat | None = None,
) -> CallResult:
    """See a call through to its end. ``on_answer`` is told the instant (epoch ms) when it is answered.

    ``on_response`` is told of each response up to the answer, and whether the call rang with it, or more.

    ``no_reply_seconds``: a trunk that sends no response at all for so long is given up. ``seats`` are the phones that
    the callee may be connected with, ``seat`` the one that was called first, and picked up: when it is hung up before
    the callee answers, the callee is given up.
    """
    before = await _wait_for_answer(
        leg,
        clock,
        ring_seconds=lease.limits.ring_seconds,
        no_reply_seconds=no_reply_seconds,
        on_response=on_response,
        seat=seat,
    )
    talked: TalkResult | None = None
    if before.answered_at is not None:
        on_answer(before.answered_at)
        if before.ended is None:
            texts = msgspec.json.decode(lease.texts, type=dict[str, str]) if lease.texts else {}
            talked = await talk(
                leg,
                template,
                texts=texts,
                prompts=prompts,
                max_seconds=lease.limits.call_seconds,
                clock=clock,
                seats=seats,
                seat=seat,
            )
    return _sum_up(lease, before, talked, now_ms=clock.now_ms(), now=clock.monotonic())


async def _wait_for_answer(
    leg: Leg,
    clock: Clock,
    *,
    ring_seconds: float,
    no_reply_seconds: float,
    on_response: Callable[[bool], None],
    seat: Seat | None,
) -> _Unanswered:
    """Until the call is answered or over; gives up when it rings too long or nothing answers at all."""
    known = _Unanswered()
    dialled = clock.monotonic()
    if seat is not None:

        def hung_up(_: object) -> None:
            known.phone_hung_up = known.answered is None
            if known.phone_hung_up:
                known.leaving = asyncio.ensure_future(leg.hang_up())

        seat.ends.add_done_callback(hung_up)
    while known.ended is None:
        patience = ring_seconds if known.progress is not Progress.NONE else min(no_reply_seconds, ring_seconds)
        left = END_WAIT_SECONDS if known.gave_up else patience - (clock.monotonic() - dialled)
        try:
            async with asyncio.timeout(max(0.0, left)):
                event = await leg.next_event()
        except TimeoutError:
            if known.gave_up:
                known.ended = Ended(reason="no end reported by the engine")
            known.gave_up = True
            await leg.hang_up()
            continue
        if isinstance(event, Ended):
            known.ended = event
        elif isinstance(event, Answered):
            on_response(True)
            known.answered_at = clock.now_ms()
            known.answered = clock.monotonic()
            # Answered while being cancelled: the engine hangs up, and its end is still to come.
            if not known.gave_up:
                return known
        elif type(event) in _PROGRESS:
            known.progress = max(known.progress, _PROGRESS[type(event)])
            on_response(known.progress.rang)
            if known.progress.rang and known.rang is None:
                known.rang = clock.monotonic()
    return known


def _sum_up(lease: Lease, before: _Unanswered, talked: TalkResult | None, *, now_ms: int, now: float) -> CallResult:
    ended = talked.ended if talked is not None else before.ended
    assert ended is not None
    answered = before.answered_at is not None
    evidence = Evidence(
        answered=answered,
        machine=talked is not None and talked.machine,
        progress=before.progress,
        sip_code=ended.sip_code,
        q850_cause=ended.q850_cause,
        gave_up=before.gave_up or before.phone_hung_up,
    )
    outcome = classify(evidence)
    if ended.engine_failed and not answered:
        outcome = Outcome.UNKNOWN
    rung_until = now if before.answered is None else before.answered
    by = ended.hung_up_by or (HungUpBy.RINGBACK if answered else None)
    return CallResult(
        call_id=lease.call_id,
        lease_no=lease.lease_no,
        outcome=outcome,
        ended_at=now_ms,
        answered_at=before.answered_at,
        sip_code=200 if answered else ended.sip_code,
        q850_cause=ended.q850_cause,
        ring_ms=None if before.rang is None else _ms(rung_until - before.rang),
        talk_ms=None if before.answered is None else _ms(now - before.answered),
        hung_up_by=None if by is None else str(by),
        keys="" if talked is None else talked.keys[:64],
        intent=None if talked is None else talked.intent,
        reason=_reason(before, talked, ended),
        recording=recording_name(lease) if ended.recorded else None,
        verdict=judge(evidence, engine_failed=ended.engine_failed),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _reason(before: _Unanswered, talked: TalkResult | None, ended: Ended) -> str:
    if talked is not None:
        return talked.reason or ended.reason
    if before.answered_at is not None:
        return "answered while it was being cancelled"
    if before.phone_hung_up:
        return "the phone hung up before the callee answered"
    if before.gave_up:
        return "no response from the trunk" if before.progress is Progress.NONE else "nobody answered in time"
    return ended.reason
