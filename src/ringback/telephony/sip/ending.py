"""Reads the native stack's text for why a call has closed.

Measured: a final response gives ``486 Busy Here``, with a Reason header ``486 Busy Here,Q.850;cause=17;text="…"``;
our own hang-up gives ``Rejected by user``; a transfer that the far side reported done ``Call transfered``; the far
side's BYE ``Connection reset by peer [104]``; no response to the INVITE in 32 seconds ``Connection timed out [110]``. A
number in brackets is an error of the operating system, never a response.
"""

from __future__ import annotations

import errno
import re
from typing import Final

import msgspec

from ringback.telephony.port import Ended, HungUpBy
from ringback.telephony.sip.wire import q850_cause

#: Text of every close that a local hang-up caused.
OUR_HANG_UP: Final = "Rejected by user"

_RESPONSE: Final = re.compile(r"([3-6]\d\d)(?: [^,]*)?(?=,|$)")
_SYSTEM_ERROR: Final = re.compile(r".*\[(\d+)\]")


class CloseText(msgspec.Struct, frozen=True):
    """The native stack's text, taken apart."""

    text: str
    sip_code: int | None = None
    q850_cause: int | None = None
    error: int | None = None  # errno
    ours: bool = False

    @classmethod
    def parse(cls, text: str) -> CloseText:
        """Read ``text``. What fits nothing known stays as text only."""
        if text == OUR_HANG_UP:
            return cls(text, ours=True)
        response = _RESPONSE.match(text)
        if response:
            return cls(response[0].strip(), sip_code=int(response[1]), q850_cause=q850_cause(text))
        error = _SYSTEM_ERROR.fullmatch(text)
        return cls(text, error=int(error[1]) if error else None)


def ended_answered(close: CloseText, bye_received: bool, cause: int | None, our_reason: str = "hung up") -> Ended:
    """How an answered call ended. ``cause`` is the Q.850 cause of the far side's BYE, ``our_reason`` why we hung up."""
    by_callee = not close.ours and (bye_received or close.error == errno.ECONNRESET)
    if by_callee:
        return Ended(sip_code=200, q850_cause=cause, hung_up_by=HungUpBy.CALLEE, reason="the callee hung up")
    reason = our_reason if close.ours else f"ended by the SIP stack: {close.text or 'no reason given'}"
    return Ended(sip_code=200, hung_up_by=HungUpBy.RINGBACK, reason=reason)


def ended_transferred() -> Ended:
    """How a call ended that goes on without us, whoever sent the BYE."""
    return Ended(sip_code=200, hung_up_by=HungUpBy.RINGBACK, reason="transferred")


def ended_unanswered(close: CloseText, invite_final: int | None) -> Ended:
    """How a call ended that was never up. ``invite_final`` is the final response seen on the wire, if any."""
    if close.ours:
        return _given_up(invite_final)
    if close.sip_code is not None:
        return Ended(sip_code=close.sip_code, q850_cause=close.q850_cause, reason=close.text)
    if invite_final is not None and invite_final >= 300:  # one that the stack could not make sense of
        return Ended(sip_code=invite_final, reason=f"{invite_final}, then {close.text}")
    if close.error == errno.ETIMEDOUT:
        return Ended(reason="no response to the INVITE")
    return Ended(reason=close.text or "closed without a reason")


def _given_up(invite_final: int | None) -> Ended:
    if invite_final is None:
        return Ended(reason="given up without a final response")
    if invite_final < 300:
        return Ended(reason="answered while it was given up; hung up")
    return Ended(sip_code=invite_final, reason="given up before the answer")
