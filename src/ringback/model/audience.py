"""Who is recalled: one value, whatever the narrow vendor form or the rich form of the API said.

Source: the recall rules 4 and 5 of the design. An audience is applied to the calls of the *previous* task; skipped and
cancelled calls have no outcome and are in no audience.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


class RecallType(IntEnum):
    """The vendor's ``recallType``."""

    ALL = 0
    FAILED = 1


class Audience(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls whose outcome is in ``outcomes``, and answered calls whose intent is in ``intents``.

    Of answered calls only those that lasted ``talk_at_least_seconds`` or longer, and less than ``talk_under_seconds``,
    where these are given (our own rule): someone who hung up after three seconds has heard nothing.
    """

    outcomes: frozenset[Outcome] = frozenset()
    intents: frozenset[str] = frozenset()
    talk_at_least_seconds: float | None = None
    talk_under_seconds: float | None = None

    def includes(self, outcome: Outcome, intent: str | None, talk_ms: int = 0) -> bool:
        """Whether a call that ended so is recalled. ``talk_ms``: how long it lasted from the answer on."""
        if outcome not in ANSWERED_OUTCOMES:
            return outcome in self.outcomes
        if outcome not in self.outcomes and (intent is None or intent not in self.intents):
            return False
        at_least, under = self.talk_bounds_ms
        return (at_least is None or talk_ms >= at_least) and (under is None or talk_ms < under)

    @property
    def talk_bounds_ms(self) -> tuple[int | None, int | None]:
        """At least, and less than, in milliseconds."""
        return _ms(self.talk_at_least_seconds), _ms(self.talk_under_seconds)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def audience_of(recall_type: RecallType, intents: Iterable[str] = ()) -> Audience:
    """The audience of the vendor's narrow form.

    0: all. 0 with intents: answered with one of them. 1: failed. 1 with intents: failed, or answered with one of them.
    """
    wanted = frozenset(intents)
    if recall_type is RecallType.FAILED:
        return Audience(outcomes=FAILED_OUTCOMES, intents=wanted)
    if wanted:
        return Audience(intents=wanted)
    return Audience(outcomes=frozenset(Outcome))
