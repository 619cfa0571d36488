"""What the engine and its worker processes say to each other.

Each frame is a message in MessagePack behind its length (4 bytes, big-endian), both ways over one socket pair.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.telephony.port import Ended, Transferred
from ringback.telephony.sip.addressing import CallAddress

if TYPE_CHECKING:
    from collections.abc import Callable

#: Far over the longest prompt (10 minutes are 10 MB); a longer frame is a broken peer.
MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_LENGTH_BYTES: Final = 4


# --- engine to worker ---


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Send one INVITE. Answered by :class:`Dialled` or :class:`Refused`.

    ``leave_by`` is monotonic seconds, which all processes of a machine share: later it must not be sent. ``record_to``,
    ``detect_talking`` and ``most_seconds`` are those of the port's order.
    """

    call_id: int
    task_id: int
    address: CallAddress
    leave_by: float
    record_to: str
    detect_talking: bool
    most_seconds: float


class KeepPrompt(msgspec.Struct, frozen=True, tag=True):
    """Remember this audio under this key until :class:`DropPrompt`."""

    key: str
    pcm: bytes


class DropPrompt(msgspec.Struct, frozen=True, tag=True):
    """Forget a prompt. Calls that are playing it play on."""

    key: str


class Play(msgspec.Struct, frozen=True, tag=True):
    """Play a kept prompt. ``number`` counts the prompts of a call and comes back when it has been played."""

    call_id: int
    number: int
    key: str


class StopPlaying(msgspec.Struct, frozen=True, tag=True):
    """Stop what plays on this call."""

    call_id: int


class Transfer(msgspec.Struct, frozen=True, tag=True):
    """Ask the far side to call ``uri`` instead of talking to us. TRANSFERRED tells what came of it."""

    call_id: int
    uri: str


class Connect(msgspec.Struct, frozen=True, tag=True):
    """Let the far sides of two calls of this worker hear each other, until either ends."""

    call_id: int
    other_id: int


class HangUp(msgspec.Struct, frozen=True, tag=True):
    """End this call."""

    call_id: int


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Are you well? Answered by :class:`Pong` when the native stack is well too."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End every call and then the process."""


ToWorker = Dial | KeepPrompt | DropPrompt | Play | StopPlaying | Transfer | Connect | HangUp | Ping | Stop


# --- worker to engine ---


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The native stack was imported; calls can be placed."""


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The native stack cannot be used here; the process ends."""

    reason: str


class Dialled(msgspec.Struct, frozen=True, tag=True):
    """The native stack took the call: it may have sent the INVITE."""

    call_id: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """No INVITE was sent for this call. ``worn``: this worker takes no new accounts before its calls have ended."""

    call_id: int
    reason: str
    worn: bool = False


class What(StrEnum):
    """Which event of the port happened."""

    TRYING = "trying"
    RINGING = "ringing"
    EARLY_MEDIA = "early_media"
    ANSWERED = "answered"
    KEY_PRESSED = "key_pressed"
    TALKING_STARTED = "talking_started"
    PROMPT_FINISHED = "prompt_finished"
    MACHINE_DETECTED = "machine_detected"
    TRANSFERRED = "transferred"
    ENDED = "ended"


class Happened(msgspec.Struct, frozen=True, tag=True):
    """An event of one call. ``key`` goes with KEY_PRESSED, ``number`` with PROMPT_FINISHED, ``transferred`` with
    TRANSFERRED, ``ended`` with ENDED.
    """

    call_id: int
    what: What
    key: str = ""
    number: int = 0
    transferred: Transferred | None = None
    ended: Ended | None = None


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Answer to :class:`Ping`."""


FromWorker = Ready | Unfit | Dialled | Refused | Happened | Pong

_encode: Final = msgspec.msgpack.Encoder().encode
decode_to_worker: Final[Callable[[bytes], ToWorker]] = msgspec.msgpack.Decoder[ToWorker](ToWorker).decode
decode_from_worker: Final[Callable[[bytes], FromWorker]] = msgspec.msgpack.Decoder[FromWorker](FromWorker).decode


def to_frame(message: ToWorker | FromWorker) -> bytes:
    """One message as bytes to write."""
    body = _encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next message's bytes, or ``None`` when the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if length > MAX_FRAME_BYTES:
            return None
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
