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


class Audience(msgspec.Struct, frozen=True, kw_only=True):
    """Calls whose outcome is in ``outcomes``, and answered calls whose intent is in ``intents``."""

    outcomes: frozenset[Outcome] = frozenset()
    intents: frozenset[str] = frozenset()

    def includes(self, outcome: Outcome, intent: str | None) -> bool:
        """Whether a call that ended so is recalled."""
        if outcome in self.outcomes:
            return True
        return outcome in ANSWERED_OUTCOMES and intent is not None and intent in self.intents


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
