"""What comes of a conversation, and why it ended, in words for people."""

from __future__ import annotations

import msgspec

from ringback.telephony.port import Ended, HungUpBy

#: A template that changes nodes more often in one call goes round in a circle.
MAX_NODE_CHANGES = 50

TEMPLATE_ENDED = "template ended"
TRANSFERRED = "transferred"
ANSWERING_MACHINE = "answering machine"
MAXIMUM_DURATION = "maximum duration"
TOO_MANY_NODE_CHANGES = f"more than {MAX_NODE_CHANGES} node changes"
CALLEE_HUNG_UP = "callee hung up"
CALL_ENDED = "call ended"
PHONE_HUNG_UP = "phone hung up"
NO_END_REPORTED = "no end reported by the engine"


class TalkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an answered call.

    ``keys`` is everything the callee pressed, in order; ``intent`` the last tag, if any; ``machine`` whether the engine
    took the callee for one; ``ended`` the call's last event; ``reason`` why the conversation ended.
    """

    keys: str
    intent: str | None
    machine: bool
    ended: Ended
    reason: str


def reason_of(ended: Ended) -> str:
    """Why a call ended that was not hung up here."""
    if ended.hung_up_by is HungUpBy.CALLEE:
        return CALLEE_HUNG_UP
    return ended.reason or CALL_ENDED
