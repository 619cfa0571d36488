"""The telephony port: how Ringback places a call, and the closed list of what can happen on it.

An engine places calls and reports events; it decides nothing. The ring timer, the maximum duration, the outcome
and the template are the dialler's and the voice floor's business, so they are the same on every engine.

Audio is signed 16-bit little-endian mono PCM at 8,000 samples/s everywhere above this port.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from ringback.model.engine_node import NodeState

SAMPLE_RATE = 8_000
#: Added to a call's id, it names the call to the phone that is connected with it: far over every id of the store.
PHONE_LEG = 10**15
BYTES_PER_SECOND = 2 * SAMPLE_RATE


class Prompt(msgspec.Struct, frozen=True):
    """Audio to play. ``key`` names the content (equal key, equal audio), so that engines can cache it."""

    key: str
    pcm: bytes

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return len(self.pcm) / BYTES_PER_SECOND


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trunk's calls go. ``user`` and ``password`` answer digest challenges; both empty: none."""

    host: str
    port: int
    user: str = ""
    password: str = ""


class DialOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One call to place, once. ``call_id`` is the store's id of the call and names it at the engine too.

    ``leave_by`` is monotonic seconds of this machine: an INVITE that cannot leave by then must not be sent.
    ``record_to``: the file (8 kHz mono WAV, both sides mixed) that gets the call's audio from the answer on; empty:
    none. ``detect_talking``: tell of :class:`TalkingStarted`. ``most_seconds``: a safety net for when this process
    dies; an engine that outlives it ends the call by itself so long after the INVITE. ``phone_user``: who is asked for
    at the destination when it is a phone that registered with us; empty: the callee. ``beside``: the id of a call that
    this one is to be connected with; it is placed where that one is.
    """

    call_id: int
    task_id: int
    callee: str
    caller_id: str
    destination: Destination
    leave_by: float = math.inf
    record_to: str = ""
    detect_talking: bool = False
    most_seconds: float = 7_200.0
    phone_user: str = ""
    beside: int | None = None


# --- the closed list of call events, in the order in which they can come ---


class Trying(msgspec.Struct, frozen=True):
    """100: somebody took the request."""


class Ringing(msgspec.Struct, frozen=True):
    """180."""


class EarlyMedia(msgspec.Struct, frozen=True):
    """183 with media."""


class Answered(msgspec.Struct, frozen=True):
    """2xx: media can flow."""


class KeyPressed(msgspec.Struct, frozen=True):
    """The callee pressed ``key``: one of 0-9, A-D, * and #."""

    key: str


class TalkingStarted(msgspec.Struct, frozen=True):
    """The callee has begun to speak, after a silence. Only on calls whose order has ``detect_talking``."""


class PromptFinished(msgspec.Struct, frozen=True):
    """The prompt that was playing has been played to its end (not sent after ``stop_playing``)."""


class MachineDetected(msgspec.Struct, frozen=True):
    """What answered sounds like an answering machine."""


class Transferred(msgspec.Struct, frozen=True):
    """What came of :meth:`Leg.transfer`. Accepted: the far side goes on without us, and :class:`Ended` follows."""

    accepted: bool
    sip_code: int | None = None


class HungUpBy(StrEnum):
    """Who ended an answered call."""

    CALLEE = "callee"
    RINGBACK = "ringback"


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The last event of every call, exactly once.

    ``sip_code`` is a final response that came over the wire, else ``None``; ``hung_up_by`` is set when the call had
    been answered; ``reason`` is a short text for people. ``engine_failed`` is true when the engine lost the call (its
    process died): what became of it is then unknown. ``recorded``: the file of the order's ``record_to`` is complete.
    """

    sip_code: int | None = None
    q850_cause: int | None = None
    hung_up_by: HungUpBy | None = None
    reason: str = ""
    engine_failed: bool = False
    recorded: bool = False


CallEvent = (
    Trying
    | Ringing
    | EarlyMedia
    | Answered
    | KeyPressed
    | TalkingStarted
    | PromptFinished
    | MachineDetected
    | Transferred
    | Ended
)


class Leg(Protocol):
    """One live call at an engine."""

    async def next_event(self) -> CallEvent:
        """Wait for the next event, in order. After :class:`Ended` it must not be called again."""

    async def play(self, prompt: Prompt) -> None:
        """Start playing; replaces what is playing. Does nothing on a call that is not up (any more)."""

    async def stop_playing(self) -> None:
        """Stop at once; no :class:`PromptFinished` follows. Does nothing when nothing plays."""

    async def transfer(self, target: str) -> None:
        """Blind transfer: ask the trunk (REFER) to connect the callee with ``target``, digits, instead of us.

        :class:`Transferred` tells what came of it. Does nothing on a call that is not up (any more).

        Raises:
            ValueError: ``target`` cannot stand in a SIP request.
        """

    async def connect(self, other: Leg) -> None:
        """Let the far sides of two calls hear each other, instead of what plays, until either call ends.

        Both are answered, and one was dialled ``beside`` the other. The end of one does not end the other; only then
        may something be played on that one again. Does nothing on a call that is not up (any more): its :class:`Ended`
        says so.

        Raises:
            EngineUnavailable: these two cannot be connected. Both calls stay up.
        """

    async def hang_up(self) -> None:
        """CANCEL or BYE; :class:`Ended` follows. Does nothing on a call that has ended."""


class EngineUnavailable(Exception):
    """The engine cannot run here, or cannot place this call now; nothing was sent. The text says why."""


class Engine(Protocol):
    """Places calls."""

    name: str
    #: What calls of this engine are known by where they are, when they outlive its process; empty when they do not.
    known_as: str

    async def start(self) -> None:
        """Make ready to place calls. Raises :class:`EngineUnavailable` with a reason for people."""

    async def stop(self) -> None:
        """End every call that is still up and free everything."""

    def free_lines(self) -> int:
        """How many more calls could be placed right now."""

    def trouble(self) -> str:
        """Why no call can be placed, for people; empty when nothing but busy lines could be in the way."""

    def node_states(self) -> list[NodeState]:
        """The servers that it dials through, now; empty for an engine without such, and before the start."""

    def drain(self, name: str, *, on: bool) -> None:
        """Let a node take no new calls, or take them again. Calls that are up go on. Unknown names are ignored."""

    async def dial(self, order: DialOrder) -> Leg:
        """Send the INVITE and return at once; everything else arrives as events.

        Raises:
            EngineUnavailable: nothing was sent, so the call may be placed later.
        """

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """What became of a call that a dead process held; ``None`` when the engine cannot say.

        ``of`` is what the engine of that process was known as. A call that still lives is ended.
        """
