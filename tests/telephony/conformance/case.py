"""What a case of the conformance suite is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from ringback.model.outcome import Outcome
from ringback.telephony.port import HungUpBy
from tests.telephony.sip_peer import PeerCall, Script

#: As expected value: the engine may say what it likes.
ANY: Final = "any"
#: Why an engine does not run a case that needs SIP messages.
NO_WIRE: Final = "has no wire"


class Why(StrEnum):
    """The classes of reasons with which a call is stored."""

    CARRIER = "the carrier's words"  # a refusal; the text differs from engine to engine
    NOBODY = "nobody answered in time"
    NO_RESPONSE = "no response from the trunk"
    TEMPLATE = "template ended"
    CALLEE = "callee hung up"
    MACHINE = "answering machine"
    DURATION = "maximum duration"


class Talk(StrEnum):
    """The templates of the suite; see talks.py."""

    NOTICE = "notice"  # plays 0.4 s and hangs up
    LONG = "long"  # plays 8 s
    PATIENT = "patient"  # plays 4 s, to machines too
    MENU = "menu"  # plays 1 s, takes 1 or 9 as intent 101 or 109 within 3 s
    BARGE_IN = "barge_in"  # plays 8 s and takes a key meanwhile: intent 105 for 5
    OPEN = "open"  # plays 8 s that speech and keys interrupt, then gives intent 106
    OPEN_SHORT = "open_short"  # the same with 2 s
    TYPE_AHEAD = "type_ahead"  # plays 1.5 s, then takes three keys: intent 112 for 12#
    HEARD = "heard"  # plays a tone of 440 Hz for 2 s


class Feature(StrEnum):
    """What an engine may not have yet."""

    RECORDING = "recording"
    TRANSFER = "transfer"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored of the call. ``rang``: a ring time is stored (180 or 183 came)."""

    outcome: Outcome
    why: Why
    sip_code: int | str | None = None
    q850_cause: int | str | None = ANY
    hung_up_by: HungUpBy | None = None
    rang: bool = False
    keys: str = ""
    intent: str | None = None


class Differs(msgspec.Struct, frozen=True, kw_only=True):
    """Where an engine differs: the members of :class:`Expected` that do, and why."""

    because: str
    values: Mapping[str, object]


# --- carriers ---


class Sipp(msgspec.Struct, frozen=True):
    """SIPp does these steps (sipp_carrier.py)."""

    steps: tuple[str, ...]


class Number(msgspec.Struct, frozen=True):
    """The far end, or the sandbox: what the last two digits mean (model/sandbox_numbers.py)."""

    digits: str
    calls: int = 1  # how often it is called; the last call counts


Acts = Callable[[PeerCall], Awaitable[None]]


class Peer(msgspec.Struct, frozen=True):
    """The scripted peer. ``acts``: what the far side does beside its script."""

    script: Script
    acts: Acts | None = None


class Vanishing(msgspec.Struct, frozen=True):
    """A carrier that vanishes in the middle of the first of these calls, and is back for the last."""

    stage: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One call. ``carrier_does`` says it for people.

    ``sends``: the requests that the carrier gets, in order, repetitions left out; empty: not looked at.
    ``acks``: how many ACKs it gets, and ``most_invites``: how many INVITEs at most, where that matters.
    ``lapses``: engines that are known to break the rules on the wire in this case, and how; what is stored is right all
    the same.
    ``transfers_to``: the call is transferred once it is up, instead of being talked on.
    """

    name: str
    carrier_does: str
    carrier: Sipp | Number | Peer | Vanishing
    expected: Expected
    talk: Talk = Talk.NOTICE
    ring_seconds: int = 5
    call_seconds: int = 60
    user: str = ""
    password: str = ""
    sends: tuple[str, ...] = ()
    acks: int | None = None
    most_invites: int | None = None
    lapses: Mapping[str, str] = {}
    needs: Feature | None = None
    records: bool = False
    transfers_to: str = ""
    differs: Mapping[str, Differs] = {}

    def expected_of(self, engine: str) -> Expected:
        """What is to be stored when this engine placed the call."""
        there = self.differs.get(engine)
        return self.expected if there is None else msgspec.structs.replace(self.expected, **there.values)
