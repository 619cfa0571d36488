"""How a call ended, read from what Asterisk said of it.

Measured: the SIP code that came over the wire is in ``tech_cause`` of a ChannelHangupRequest. Without such a request
Asterisk made the code up (480 for a local timeout), so it is no evidence. Dial's own status is never used: 404 and 603
both give NOANSWER there. A callee's BYE is a request without a cause, or with that of its Reason header; a hang-up that
was asked for here is marked ``soft``.
"""

from __future__ import annotations

import msgspec

from ringback.telephony.port import Ended, HungUpBy


class Farewell(msgspec.Struct):
    """What is known at the end. ``asked``: the far side ended it, with these codes; ``ours``: this side hung up."""

    up: bool = False
    ours: bool = False
    asked: bool = False
    sip_code: int | None = None
    q850_cause: int | None = None
    last_cause: int | None = None  # of the end itself; may be made up by Asterisk


def ended(known: Farewell, our_reason: str = "hung up") -> Ended:
    """The port's last event."""
    if known.up:
        return _after_answer(known, our_reason)
    if known.asked and known.sip_code is not None:
        return Ended(
            sip_code=known.sip_code, q850_cause=known.q850_cause or None, reason=f"SIP {known.sip_code} from the trunk"
        )
    if known.ours:
        return Ended(reason="given up before the answer")
    return Ended(
        q850_cause=known.last_cause or None,
        reason=f"ended by Asterisk without a response from the trunk (cause {known.last_cause or 0})",
    )


def _after_answer(known: Farewell, our_reason: str) -> Ended:
    if known.asked and not known.ours:
        return Ended(
            sip_code=200,
            q850_cause=known.q850_cause or None,
            hung_up_by=HungUpBy.CALLEE,
            reason="the callee hung up",
        )
    reason = our_reason if known.ours else f"ended by Asterisk (cause {known.last_cause or 0})"
    return Ended(sip_code=200, hung_up_by=HungUpBy.RINGBACK, reason=reason)
