"""The circuit breaker of a trunk: a dead trunk never burns the list.

Only failures of the trunk itself count: no response to the INVITE, our credentials refused, server errors. What a
callee does (busy, no answer, declined, not found) shows that the trunk works. An open breaker lets one probe call
through at a time, and closes when the trunk gives a sign of life.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from ringback.model.outcome import Evidence, Outcome, Progress, classify

#: INVITEs that may leave a trunk after the last response to any of its calls. A limit in calls, not in time, holds for
#: every post-dial delay: a living trunk answers all the while, a dead one costs so many before anything is known.
MOST_UNANSWERED = 30
#: The breaker opens at so many strikes without a sign of life in between.
OPENS_AT_STRIKES = 10
#: Silence and refused credentials concern every call of a trunk: five are enough.
HEAVY_STRIKES = 2
#: A server error can be that of one route or one callee's network: it takes a run of ten.
LIGHT_STRIKES = 1
#: After the first opening a trunk that was only restarted is back soon; the longest wait costs a number every 5 min.
FIRST_WAIT_MS = 10_000
LONGEST_WAIT_MS = 300_000
#: When a probe is taken for lost: longer than it may ring (120 s) and its end may take.
PROBE_PATIENCE_MS = 150_000

_CREDENTIALS_REFUSED = frozenset({401, 403, 407})


_THE_CALLEES = frozenset({Outcome.BUSY, Outcome.REJECTED, Outcome.INVALID_NUMBER})


class Verdict(StrEnum):
    """What a call that has ended says about its trunk."""

    ALIVE = "alive"  # the trunk did its work, whatever the callee did
    NEUTRAL = "neutral"  # nothing
    SILENT = "silent"  # failed: no response of any kind to the INVITE
    REFUSED = "refused"  # failed: 401, 403 or 407
    ERROR = "error"  # failed: 5xx


_STRIKES = {Verdict.SILENT: HEAVY_STRIKES, Verdict.REFUSED: HEAVY_STRIKES, Verdict.ERROR: LIGHT_STRIKES}


#: The verdicts that count against a trunk.
FAILURES = frozenset(_STRIKES)


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a trunk's breaker. Instants are epoch ms.

    ``strikes`` and ``failures`` (calls) belong to the run of failures, ``cause`` says what they have in common.
    ``opened_at``: since when it is open, ``None`` when closed; ``retry_at``: when the next probe may be leased.
    ``probe_id`` is the call that tries the trunk now. ``tries``: how often in a row it opened, for the growing wait;
    ``openings``: how often in its life it opened after it had been closed. ``closed_at``: when it was last closed.
    """

    strikes: int = 0
    failures: int = 0
    cause: str = ""
    opened_at: int | None = None
    retry_at: int | None = None
    probe_id: int | None = None
    tries: int = 0
    openings: int = 0
    closed_at: int = 0

    @property
    def reason(self) -> str:
        """Why it is open, for people."""
        return f"{self.cause} to {self.failures} calls in a row"

    def retry_ms(self, now_ms: int) -> int | None:
        """When the next probe may be leased, epoch ms; ``None`` when it is closed.

        An instant further away than any wait means that the clock was set back: a trunk must not stay shut for that.
        """
        if self.retry_at is None:
            return None
        return self.retry_at if self.retry_at <= now_ms + max(LONGEST_WAIT_MS, PROBE_PATIENCE_MS) else now_ms

    def next_try(self, now_ms: int) -> str:
        """When it is tried again, for people."""
        at = self.retry_ms(now_ms)
        if self.probe_id is not None:
            return "one call is trying it now"
        if at is None or at <= now_ms:
            return "next try now"
        return f"next try at {datetime.fromtimestamp(at / 1000, UTC):%H:%M:%S} UTC"


def judge(evidence: Evidence, *, engine_failed: bool = False) -> Verdict:
    """What the evidence of an ended call says about its trunk. ``engine_failed``: the engine lost the call.

    A 5xx after ringing counts as a sign of life: the trunk had reached the callee. A 100 does not protect from it:
    the next hop says 100 before it has tried anything.
    """
    if evidence.answered or evidence.progress.rang:
        return Verdict.ALIVE
    code = evidence.sip_code
    if code is not None:
        if code in _CREDENTIALS_REFUSED:
            return Verdict.REFUSED
        return Verdict.ERROR if 500 <= code < 600 else Verdict.ALIVE
    # A cause that only the far side can know came from there, even when its code did not.
    if evidence.progress is not Progress.NONE or classify(evidence) in _THE_CALLEES:
        return Verdict.ALIVE
    return Verdict.NEUTRAL if engine_failed else Verdict.SILENT


def after_call(breaker: Breaker, call_id: int, verdict: Verdict, sip_code: int | None, now_ms: int) -> Breaker:
    """The breaker when one of the trunk's calls has ended. ``sip_code`` is the final code of a REFUSED or ERROR."""
    if breaker.opened_at is not None:
        # Only the probe counts: the others started before it opened.
        return _after_probe(breaker, verdict, sip_code, now_ms) if call_id == breaker.probe_id else breaker
    if verdict is Verdict.ALIVE:
        return without_strikes(breaker)
    if verdict is Verdict.NEUTRAL:
        return breaker
    struck = _struck(breaker, verdict, sip_code)
    if struck.strikes < OPENS_AT_STRIKES:
        return struck
    return msgspec.structs.replace(
        struck, opened_at=now_ms, retry_at=now_ms + FIRST_WAIT_MS, tries=1, openings=breaker.openings + 1
    )


def without_strikes(breaker: Breaker) -> Breaker:
    """A closed breaker after a sign of life; an open one stays as it is."""
    if breaker.opened_at is not None or breaker.strikes == 0:
        return breaker
    return msgspec.structs.replace(breaker, strikes=0, failures=0, cause="")


def closed(breaker: Breaker, now_ms: int) -> Breaker:
    """Closed, by a probe's sign of life or by hand, with nothing held against the trunk."""
    # Whoever remembers the last closing must see that this is another one.
    return Breaker(openings=breaker.openings, closed_at=max(now_ms, breaker.closed_at + 1))


def probing(breaker: Breaker, call_id: int, slot_ms: int) -> Breaker:
    """The call has been leased as the probe, to leave at ``slot_ms``. The next may follow when this one got lost."""
    return msgspec.structs.replace(breaker, probe_id=call_id, retry_at=slot_ms + PROBE_PATIENCE_MS)


def probe_alive(breaker: Breaker, call_id: int, now_ms: int) -> Breaker:
    """The call rings, or more: when it is the probe, the trunk is back."""
    return closed(breaker, now_ms) if breaker.opened_at is not None and call_id == breaker.probe_id else breaker


def probe_released(breaker: Breaker, call_id: int) -> Breaker:
    """The call was not placed: when it was the probe, the next one may start at once."""
    if breaker.opened_at is None or call_id != breaker.probe_id:
        return breaker
    return msgspec.structs.replace(breaker, probe_id=None, retry_at=0)


def _after_probe(breaker: Breaker, verdict: Verdict, sip_code: int | None, now_ms: int) -> Breaker:
    if verdict is Verdict.ALIVE:
        return closed(breaker, now_ms)
    if verdict is not Verdict.NEUTRAL:
        breaker = msgspec.structs.replace(_struck(breaker, verdict, sip_code), tries=breaker.tries + 1)
    return msgspec.structs.replace(breaker, probe_id=None, retry_at=now_ms + _wait_ms(breaker.tries))


def _wait_ms(tries: int) -> int:
    doublings = min(tries - 1, LONGEST_WAIT_MS.bit_length())
    return min(LONGEST_WAIT_MS, FIRST_WAIT_MS << doublings)


def _struck(breaker: Breaker, verdict: Verdict, sip_code: int | None) -> Breaker:
    cause = "no response" if sip_code is None else str(sip_code)
    if breaker.failures and cause != breaker.cause:
        server_errors = verdict is Verdict.ERROR and breaker.cause.startswith("5")
        cause = "5xx" if server_errors else "no usable response"
    return msgspec.structs.replace(
        breaker, strikes=breaker.strikes + _STRIKES[verdict], failures=breaker.failures + 1, cause=cause
    )
