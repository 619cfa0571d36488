"""Tells voice from the noise of a line, 20 ms at a time."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final

from ringback.telephony.port import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: One decision is made per frame of 20 ms.
FRAME_SAMPLES: Final = SAMPLE_RATE // 50
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
FRAMES_PER_SECOND: Final = 50

#: On a noisy line voice must be this much over the quietest recent frame, but never over the cap: a loud line is
#: sound, whatever it is.
OVER_NOISE: Final = 2.5
NOISY_THRESHOLD: Final = 1_200
#: Every third sample is enough to judge loudness. (Of a tone of 1,000 Hz every fourth may be zero.)
SUBSAMPLE: Final = 3


def frames(seconds: float) -> int:
    """How many frames so many seconds are."""
    return round(seconds * FRAMES_PER_SECOND)


class VoiceFrames:
    """Judges one call's audio. ``quiet``: mean magnitude (0 to 32,767) from which a frame is voice on a quiet line."""

    def __init__(self, quiet: int) -> None:
        self._quiet = quiet
        self._rest = b""  # an incomplete frame
        self._levels: deque[int] = deque(maxlen=FRAMES_PER_SECOND)

    def feed(self, pcm: bytes) -> Iterator[bool]:
        """Whether each further frame is voice: signed 16-bit little-endian mono PCM at 8,000 samples/s, any length."""
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        samples = array("h", data[:whole])
        if sys.byteorder == "big":
            samples.byteswap()
        for start in range(0, len(samples), FRAME_SAMPLES):
            frame = samples[start : start + FRAME_SAMPLES : SUBSAMPLE]
            level = sum(map(abs, frame)) // len(frame)
            self._levels.append(level)
            yield level >= min(max(self._quiet, OVER_NOISE * min(self._levels)), NOISY_THRESHOLD)
