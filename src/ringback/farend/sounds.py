"""What a callee's line sounds like, made here and encoded once: G.711 frames of 20 ms, ready to send.

Speech is a voiced sound whose loudness swings like syllables. It says nothing, but it has the rhythm by which
answering machines are told from people: a short word and silence, or a long greeting without a pause.
"""

from __future__ import annotations

import math
import sys
from array import array
from functools import cache
from typing import TYPE_CHECKING, Final

from aiortp import get_codec

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE_RATE: Final = 8_000
FRAME_SECONDS: Final = 0.02
FRAME_SAMPLES: Final = 160

#: RTP payload types of G.711 (RFC 3551); one byte a sample in both.
PCMU: Final = 0
PCMA: Final = 8

HELLO_SECONDS: Final = 0.5
BEEP_SECONDS: Final = 0.4
#: Mean magnitude (0 to 32,767) of a sample from which a frame is sound and not line noise.
LOUD: Final = 500

#: Equally long frames, each the payload of one RTP packet.
Frames = tuple[bytes, ...]


@cache
def silence(payload_type: int) -> bytes:
    """One frame of silence."""
    return _frames(payload_type, FRAME_SECONDS, lambda _: 0.0)[0]


@cache
def hello(payload_type: int) -> Frames:
    """A person's word or two."""
    return _frames(payload_type, HELLO_SECONDS, _speech)


@cache
def greeting(payload_type: int, seconds: float) -> Frames:
    """A machine's announcement: speech without a pause, then a beep."""
    return _frames(payload_type, seconds, _speech) + _frames(payload_type, BEEP_SECONDS, _beep)


@cache
def announcement(payload_type: int, seconds: float) -> Frames:
    """What a network plays before it refuses a call."""
    return _frames(payload_type, seconds, _speech)


def is_loud(payload_type: int, payload: bytes) -> bool:
    """Whether at least every eighth sample of a received G.711 payload is loud."""
    quiet_samples = len(payload.translate(None, _loud_codes(payload_type)))
    return 8 * (len(payload) - quiet_samples) >= len(payload) > 0


@cache
def _loud_codes(payload_type: int) -> bytes:
    codec = get_codec(payload_type)
    samples = ((code, int.from_bytes(codec.decode(bytes([code])), "little", signed=True)) for code in range(256))
    return bytes(code for code, sample in samples if abs(sample) >= LOUD)


def _frames(payload_type: int, seconds: float, wave: Callable[[float], float]) -> Frames:
    """``wave`` gives the sample (-1 to 1) at a time in seconds; whole frames are made, one at least."""
    count = max(1, round(seconds / FRAME_SECONDS))
    samples = array("h", (round(32_767 * wave(i / SAMPLE_RATE)) for i in range(count * FRAME_SAMPLES)))
    if sys.byteorder == "big":
        samples.byteswap()  # the codec reads little-endian samples
    encoded = get_codec(payload_type).encode(samples.tobytes())
    return tuple(encoded[i : i + FRAME_SAMPLES] for i in range(0, len(encoded), FRAME_SAMPLES))


def _speech(at: float) -> float:
    """A voice of about 140 Hz and its first overtones, four syllables a second, never quiet between them."""
    pitch = 140.0 * at + 1.5 * math.sin(2 * math.pi * 0.7 * at)
    voice = sum(math.sin(2 * math.pi * overtone * pitch) / overtone for overtone in (1, 2, 3, 5))
    loudness = 0.45 + 0.55 * abs(math.sin(math.pi * 4 * at))
    return 0.18 * voice * loudness


def _beep(at: float) -> float:
    return 0.3 * math.sin(2 * math.pi * 1_000 * at)
