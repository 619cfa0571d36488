"""How a call ended: the closed list of outcomes, and the rules that tell them apart.

Source of the rules: RFC 3261 section 21 for the SIP codes, ITU-T Q.850 for the causes, and the table measured on
Asterisk for which of the two to trust first (the SIP code that came over the wire, then the cause).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec


class Outcome(StrEnum):
    """How a call ended. The values are stored and shown as they are."""

    ANSWERED = "answered"  # a person (or something taken for one) picked up
    VOICEMAIL = "voicemail"  # a machine picked up
    BUSY = "busy"
    NO_ANSWER = "no_answer"  # it rang, nobody picked up
    REJECTED = "rejected"  # the callee declined
    UNREACHABLE = "unreachable"  # the network could not make it ring
    INVALID_NUMBER = "invalid_number"
    CONGESTION = "congestion"  # the carrier had no capacity
    FAILED = "failed"  # the trunk or the far side failed
    UNKNOWN = "unknown"  # the process that held the call died and nobody can say


#: Answered by a person or a machine.
ANSWERED_OUTCOMES = frozenset({Outcome.ANSWERED, Outcome.VOICEMAIL})
#: Not answered: what "recall the failed" redials. Skipped and cancelled calls have no outcome and are not in it.
FAILED_OUTCOMES = frozenset(Outcome) - ANSWERED_OUTCOMES


class Progress(IntEnum):
    """The furthest sign of life the network gave before the call was answered or ended."""

    NONE = 0  # no response of any kind
    TRYING = 1  # 100: somebody took the request
    RINGING = 2  # 180
    EARLY_MEDIA = 3  # 183 with media: an announcement or ring-back tone

    @property
    def rang(self) -> bool:
        """Whether the callee's side was alerting (180 or 183), as far as the network told."""
        return self >= Progress.RINGING


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a call when it has ended.

    ``sip_code`` is a final code that really came over the wire, else ``None`` (a code that a stack made up for a
    local timeout is not evidence). ``gave_up`` is true when our own ring timer ended the call.
    """

    answered: bool = False
    machine: bool = False
    progress: Progress = Progress.NONE
    sip_code: int | None = None
    q850_cause: int | None = None
    gave_up: bool = False


_BY_SIP_CODE = {
    486: Outcome.BUSY,
    600: Outcome.BUSY,
    603: Outcome.REJECTED,
    607: Outcome.REJECTED,
    404: Outcome.INVALID_NUMBER,
    410: Outcome.INVALID_NUMBER,
    484: Outcome.INVALID_NUMBER,
    604: Outcome.INVALID_NUMBER,
    503: Outcome.CONGESTION,
}
#: "Not reachable now": whether it had rung decides between nobody there and no way there.
_NOT_AVAILABLE_CODES = frozenset({408, 480})

_BY_Q850_CAUSE = {
    1: Outcome.INVALID_NUMBER,
    17: Outcome.BUSY,
    20: Outcome.UNREACHABLE,
    21: Outcome.REJECTED,
    22: Outcome.INVALID_NUMBER,
    28: Outcome.INVALID_NUMBER,
    34: Outcome.CONGESTION,
    42: Outcome.CONGESTION,
}
_NOT_AVAILABLE_CAUSES = frozenset({18, 19})


def classify(evidence: Evidence) -> Outcome:
    """The outcome that the evidence allows. Total: every evidence has exactly one outcome, never UNKNOWN."""
    # A 2xx that nobody had noted yet (its process died) is an answer too.
    if evidence.answered or (evidence.sip_code is not None and 200 <= evidence.sip_code < 300):
        return Outcome.VOICEMAIL if evidence.machine else Outcome.ANSWERED
    not_available = Outcome.NO_ANSWER if evidence.progress.rang else Outcome.UNREACHABLE
    if evidence.gave_up:
        # A trunk that never said a word is dead: that is not the callee's silence.
        return Outcome.FAILED if evidence.progress is Progress.NONE else not_available
    if evidence.sip_code is not None:
        if evidence.sip_code in _NOT_AVAILABLE_CODES:
            return not_available
        return _BY_SIP_CODE.get(evidence.sip_code, Outcome.FAILED)
    if evidence.q850_cause in _NOT_AVAILABLE_CAUSES and evidence.progress is not Progress.NONE:
        return not_available
    return _BY_Q850_CAUSE.get(evidence.q850_cause or 0, Outcome.FAILED)
