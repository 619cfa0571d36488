"""Delivering reports: what an answer means, when to try again, when to give up.

The waits grow as Standard Webhooks recommends: seconds at first, hours after some tries, spread so that many reports
that failed together do not come back together.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

FIRST_WAIT_SECONDS = 5.0
GROWTH = 3.0
LONGEST_WAIT_SECONDS = 24 * 3600.0
#: A report that is older than this, and was tried so often, is given up when a try fails.
GIVE_UP_AFTER_SECONDS = 72 * 3600.0
LEAST_TRIES = 8
#: A receiver that is in trouble as a whole is tried at least so often, unless it asked for more time.
LONGEST_PROBE_WAIT_SECONDS = 600.0
#: Answers of the 400s that a receiver gives whatever the report: who we are, where we knock, when we come.
_OF_THE_RECEIVER = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 426, 429, 431})
#: How far the wait is spread: between this share of it and the whole.
LEAST_SHARE = 0.5


class Verdict(StrEnum):
    """What a try came to."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"  # tried again too, but the receiver is well: it does not want this report
    GONE = "gone"  # the receiver wants nothing any more (410)


class Tried(msgspec.Struct, frozen=True):
    """One try: the HTTP ``status``, ``None`` when there was no answer; ``error`` says why, for people.

    ``retry_after``: seconds that the receiver asked to be left alone for.
    """

    status: int | None
    error: str = ""
    retry_after: float | None = None

    @property
    def verdict(self) -> Verdict:
        """2xx delivers; 410 ends it for good; everything else is tried again, a redirect too: none is followed."""
        if self.status is None:
            return Verdict.AGAIN
        if 200 <= self.status <= 299:
            return Verdict.DELIVERED
        if self.status == 410:
            return Verdict.GONE
        refused = 400 <= self.status <= 499 and self.status not in _OF_THE_RECEIVER
        return Verdict.REFUSED if refused else Verdict.AGAIN

    def why(self) -> str:
        """What to show of a try that failed."""
        return self.error or f"HTTP {self.status}"


def wait_seconds(attempts: int, spread: float, retry_after: float | None = None) -> float:
    """How long to wait after the ``attempts``-th try failed. ``spread``: a random number from 0 to 1.

    Never less than the receiver asked for, and never more than a day.
    """
    grown = FIRST_WAIT_SECONDS * GROWTH ** min(max(attempts - 1, 0), 20)
    wait = min(grown, LONGEST_WAIT_SECONDS) * (LEAST_SHARE + (1 - LEAST_SHARE) * spread)
    asked = 0.0 if retry_after is None else retry_after
    return min(max(wait, asked), LONGEST_WAIT_SECONDS)


def probe_wait_seconds(failures: int, spread: float) -> float:
    """How long to leave a receiver alone that has failed so many times since it was last tried in full."""
    return min(wait_seconds(failures, spread), LONGEST_PROBE_WAIT_SECONDS)


def gives_up(created_at_ms: int, now_ms: int, attempts: int) -> bool:
    """Whether a report of that age that has failed, now for the ``attempts``-th time, is given up.

    Age alone is not enough: what waited behind a receiver in trouble, or for a courier, was hardly tried.
    """
    return now_ms - created_at_ms > GIVE_UP_AFTER_SECONDS * 1000 and attempts >= LEAST_TRIES


def parse_retry_after(text: str | None, now_ms: int) -> float | None:
    """Seconds of a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3); ``None`` for anything else."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text[:12]), LONGEST_WAIT_SECONDS))
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - datetime.fromtimestamp(now_ms / 1000, UTC)).total_seconds()
    return min(max(0.0, math.ceil(seconds)), LONGEST_WAIT_SECONDS)
