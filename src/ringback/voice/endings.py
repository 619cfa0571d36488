"""Why a conversation ended, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.telephony.port import HungUpBy

if TYPE_CHECKING:
    from ringback.telephony.port import Ended

TEMPLATE_ENDED = "template ended"
TRANSFERRED = "transferred"
ANSWERING_MACHINE = "answering machine"
MAXIMUM_DURATION = "maximum duration"
CALLEE_HUNG_UP = "callee hung up"
CALL_ENDED = "call ended"
NO_END_REPORTED = "no end reported by the engine"


def too_many_node_changes(most: int) -> str:
    """The template went round in a circle."""
    return f"more than {most} node changes"


def reason_of(ended: Ended) -> str:
    """Why a call ended that was not hung up here."""
    if ended.hung_up_by is HungUpBy.CALLEE:
        return CALLEE_HUNG_UP
    return ended.reason or CALL_ENDED
