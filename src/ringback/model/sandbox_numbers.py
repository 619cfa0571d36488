"""What a test number does, by its last two digits.

One table for the sandbox engine (in memory) and the far end (real SIP), and for integrators who want to see each
outcome without calling anybody.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ringback.model.outcome import Outcome


class Kind(StrEnum):
    """The closed list of behaviours."""

    PERSON = "person"  # rings 1 s, answers, listens until the caller hangs up (20 s at most)
    PRESSES_KEY = "presses_key"  # as PERSON, and presses `key` after the first prompt
    VOICEMAIL = "voicemail"  # answers with a long greeting and a beep
    HANGS_UP = "hangs_up"  # answers and hangs up within a second
    REFUSES = "refuses"  # final response `sip_code`, without ringing
    RINGS_ON = "rings_on"  # 180 and nothing more
    EARLY_MEDIA = "early_media"  # 183 with media, then `sip_code`
    SILENT = "silent"  # no SIP response at all


class Behaviour(msgspec.Struct, frozen=True):
    """What happens on one call to a number.

    ``sip_code`` is the final response of REFUSES and EARLY_MEDIA; ``key`` what PRESSES_KEY presses; ``outcome`` what
    a correct dialler records (with a ring timeout over one second).
    """

    kind: Kind
    outcome: Outcome
    sip_code: int | None = None
    key: str | None = None


PERSON = Behaviour(Kind.PERSON, Outcome.ANSWERED)
PRESSES_1 = Behaviour(Kind.PRESSES_KEY, Outcome.ANSWERED, key="1")
PRESSES_9 = Behaviour(Kind.PRESSES_KEY, Outcome.ANSWERED, key="9")
VOICEMAIL = Behaviour(Kind.VOICEMAIL, Outcome.VOICEMAIL)
HANGS_UP = Behaviour(Kind.HANGS_UP, Outcome.ANSWERED)
BUSY = Behaviour(Kind.REFUSES, Outcome.BUSY, sip_code=486)
RINGS_ON = Behaviour(Kind.RINGS_ON, Outcome.NO_ANSWER)
DECLINED = Behaviour(Kind.REFUSES, Outcome.REJECTED, sip_code=603)
UNAVAILABLE = Behaviour(Kind.REFUSES, Outcome.UNREACHABLE, sip_code=480)
NOT_FOUND = Behaviour(Kind.REFUSES, Outcome.INVALID_NUMBER, sip_code=404)
SERVICE_UNAVAILABLE = Behaviour(Kind.REFUSES, Outcome.CONGESTION, sip_code=503)
SERVER_ERROR = Behaviour(Kind.REFUSES, Outcome.FAILED, sip_code=500)
SILENT = Behaviour(Kind.SILENT, Outcome.FAILED)
FORBIDDEN = Behaviour(Kind.REFUSES, Outcome.FAILED, sip_code=403)
EARLY_MEDIA = Behaviour(Kind.EARLY_MEDIA, Outcome.NO_ANSWER, sip_code=480)
REDIRECTS = Behaviour(Kind.REFUSES, Outcome.FAILED, sip_code=302)

RING_SECONDS = 1.0
LONGEST_LISTEN_SECONDS = 20.0
HANGS_UP_AFTER_SECONDS = 0.7
VOICEMAIL_GREETING_SECONDS = 5.0
EARLY_MEDIA_SECONDS = 1.0


def behaviour(callee: str, earlier_calls: int) -> Behaviour:
    """What ``callee`` does when it has been called ``earlier_calls`` times before.

    ``callee`` is digits only, two at least. Raises ValueError otherwise.
    """
    last_two = callee[-2:]
    if len(last_two) != 2 or not last_two.isdecimal():
        raise ValueError(f"callee must end with two digits, got {callee!r}")
    number = int(last_two)
    tens, units = divmod(number, 10)
    if tens == 6:
        return BUSY if units == 0 or earlier_calls < units else PERSON
    if tens == 7:
        return RINGS_ON if units == 0 or earlier_calls < units else PRESSES_1
    for last, found in _BY_LAST_NUMBER:
        if number <= last:
            return found
    raise AssertionError("the table covers 00 to 99")


_BY_LAST_NUMBER = (
    (39, PERSON),
    (44, PRESSES_1),
    (49, PRESSES_9),
    (54, VOICEMAIL),
    (59, HANGS_UP),
    (84, DECLINED),
    (89, UNAVAILABLE),
    (93, NOT_FOUND),
    (95, SERVICE_UNAVAILABLE),
    (96, SERVER_ERROR),
    (97, SILENT),
    (98, EARLY_MEDIA),
    (99, REDIRECTS),
)
