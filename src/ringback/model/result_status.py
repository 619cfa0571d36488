"""The result statuses of the older job family, and which of our outcomes each of them stands for.

The names are the vendor's (its page pushCallRecord). It does not publish how it tells them apart, so it is ours:

- answered, busy, no_answer, rejected, invalid_number: the status that says the same;
- voicemail: ANSWERED, for a voicemail counts as answered here (recall rules, 5);
- unreachable: CAN_NOT_CONNECT, the only one of the three network failures that claims no cause;
- congestion: CALL_LOSS, the word of traffic theory for a call lost for want of a free circuit;
- failed, unknown: SYSTEM_ERROR, for the fault is not the callee's.

SIP does not tell a phone that is off from one that is barred, the balance is looked at before a call is made, and no
job hands a call to a person: POWER_OFF, OUT_OF_SERVICE, FROM_PHONE_ERROR and TRANSFER_ARTIFICIAL stand for no outcome.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from ringback.model.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


class ResultStatus(StrEnum):
    """How a call of a job ended, in the vendor's words."""

    ANSWERED = "ANSWERED"
    NO_ANSWER = "NO_ANSWER"
    BUSY = "BUSY"
    POWER_OFF = "POWER_OFF"
    OUT_OF_SERVICE = "OUT_OF_SERVICE"
    REFUSED = "REFUSED"
    VACANT_NUMBER = "VACANT_NUMBER"
    CAN_NOT_CONNECT = "CAN_NOT_CONNECT"
    FROM_PHONE_ERROR = "FROM_PHONE_ERROR"  # the caller is in arrears
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CALL_LOSS = "CALL_LOSS"
    TRANSFER_ARTIFICIAL = "TRANSFER_ARTIFICIAL"  # lost on the transfer to a person


_OF_OUTCOME = {
    Outcome.ANSWERED: ResultStatus.ANSWERED,
    Outcome.VOICEMAIL: ResultStatus.ANSWERED,
    Outcome.BUSY: ResultStatus.BUSY,
    Outcome.NO_ANSWER: ResultStatus.NO_ANSWER,
    Outcome.REJECTED: ResultStatus.REFUSED,
    Outcome.UNREACHABLE: ResultStatus.CAN_NOT_CONNECT,
    Outcome.INVALID_NUMBER: ResultStatus.VACANT_NUMBER,
    Outcome.CONGESTION: ResultStatus.CALL_LOSS,
    Outcome.FAILED: ResultStatus.SYSTEM_ERROR,
    Outcome.UNKNOWN: ResultStatus.SYSTEM_ERROR,
}


def status_of(outcome: Outcome) -> ResultStatus:
    """The status of a call that ended so."""
    return _OF_OUTCOME[outcome]


def outcomes_of(statuses: Iterable[ResultStatus]) -> frozenset[Outcome]:
    """The outcomes that any of the statuses stands for; a status that is never given adds none."""
    wanted = frozenset(statuses)
    return frozenset(outcome for outcome, status in _OF_OUTCOME.items() if status in wanted)
