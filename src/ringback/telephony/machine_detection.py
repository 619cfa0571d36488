"""Tells an answering machine from a person by the rhythm of the greeting.

A person says a word or two and waits; a machine talks on. That is all this looks at, so it is a hint, not a proof:
a person who answers with a long sentence is taken for a machine, and a machine with a short greeting for a person.
Time is counted in the audio received, from the answer on, never on a clock.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from enum import StrEnum
from typing import Final

from ringback.telephony.port import SAMPLE_RATE

#: One decision is made per frame of 20 ms.
FRAME_SAMPLES: Final = SAMPLE_RATE // 50
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
FRAMES_PER_SECOND: Final = 50

#: This much voice without a long pause is a machine's greeting.
GREETING_SECONDS: Final = 2.4
#: A silence longer than this ends a greeting.
PAUSE_SECONDS: Final = 0.8
#: Gaps up to this long are between sounds of one word or two, and count as voice.
GAP_SECONDS: Final = 0.2
#: Less voice than this in all is a click on the line, not a greeting.
WORD_SECONDS: Final = 0.1
#: Without a running greeting, give up here; with one, hear it out up to the second limit.
LISTEN_SECONDS: Final = 5.0
LISTEN_ON_SECONDS: Final = 8.0

#: Mean magnitude of a frame (0 to 32,767) from which it is voice on a quiet line.
QUIET_THRESHOLD: Final = 256
#: On a noisy line voice must be this much over the quietest recent frame, but never over the cap: a loud line is
#: sound, whatever it is.
OVER_NOISE: Final = 2.5
NOISY_THRESHOLD: Final = 1_200
#: Every fourth sample is enough to judge loudness.
SUBSAMPLE: Final = 4


class Verdict(StrEnum):
    """What answered, as far as the greeting tells."""

    HUMAN = "human"
    MACHINE = "machine"
    UNSURE = "unsure"  # nothing was heard, or nothing that decides


def _frames(seconds: float) -> int:
    return round(seconds * FRAMES_PER_SECOND)


class MachineDetector:
    """Hears the start of one answered call. Feed it received audio until it has a verdict."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._rest = b""  # an incomplete frame
        self._heard = 0  # frames so far
        self._voice = 0  # frames of voice in the running greeting, short gaps included
        self._silence = 0  # frames since the last voice
        self._levels: deque[int] = deque(maxlen=FRAMES_PER_SECOND)

    def feed(self, pcm: bytes) -> Verdict | None:
        """Hear more audio: signed 16-bit little-endian mono PCM at 8,000 samples/s, any length.

        Returns the verdict once there is one (and from then on ignores what it is fed), ``None`` while listening.
        """
        if self.verdict is not None:
            return self.verdict
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        samples = array("h", data[:whole])
        if sys.byteorder == "big":
            samples.byteswap()
        for start in range(0, len(samples), FRAME_SAMPLES):
            frame = samples[start : start + FRAME_SAMPLES : SUBSAMPLE]
            self.verdict = self._hear(sum(map(abs, frame)) // len(frame))
            if self.verdict is not None:
                break
        return self.verdict

    def _hear(self, level: int) -> Verdict | None:
        self._heard += 1
        self._levels.append(level)
        if level >= self._threshold():
            self._count_voice()
        else:
            self._silence += 1
        if self._voice >= _frames(GREETING_SECONDS):
            return Verdict.MACHINE
        if self._voice and self._silence > _frames(PAUSE_SECONDS):
            if self._voice >= _frames(WORD_SECONDS):
                return Verdict.HUMAN
            self._voice = 0
        limit = LISTEN_ON_SECONDS if self._voice else LISTEN_SECONDS
        return Verdict.UNSURE if self._heard >= _frames(limit) else None

    def _count_voice(self) -> None:
        if self._voice and self._silence <= _frames(GAP_SECONDS):
            self._voice += self._silence
        self._voice += 1
        self._silence = 0

    def _threshold(self) -> float:
        noise = min(self._levels)
        return min(max(QUIET_THRESHOLD, OVER_NOISE * noise), NOISY_THRESHOLD)
