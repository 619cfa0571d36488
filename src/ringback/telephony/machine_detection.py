"""Tells an answering machine from a person by the rhythm of the greeting.

A person says a word or two and waits; a machine talks on. That is all this looks at, so it is a hint, not a proof:
a person who answers with a long sentence is taken for a machine, and a machine with a short greeting for a person.
Time is counted in the audio received, from the answer on, never on a clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from ringback.telephony.voice_frames import VoiceFrames, frames

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

#: Mean magnitude of a frame from which it is voice on a quiet line.
QUIET_THRESHOLD: Final = 256


class Verdict(StrEnum):
    """What answered, as far as the greeting tells."""

    HUMAN = "human"
    MACHINE = "machine"
    UNSURE = "unsure"  # nothing was heard, or nothing that decides


class MachineDetector:
    """Hears the start of one answered call. Feed it received audio until it has a verdict."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._frames = VoiceFrames(QUIET_THRESHOLD)
        self._heard = 0  # frames so far
        self._voice = 0  # frames of voice in the running greeting, short gaps included
        self._silence = 0  # frames since the last voice

    def feed(self, pcm: bytes) -> Verdict | None:
        """Hear more audio: signed 16-bit little-endian mono PCM at 8,000 samples/s, any length.

        Returns the verdict once there is one (and from then on ignores what it is fed), ``None`` while listening.
        """
        if self.verdict is not None:
            return self.verdict
        for voice in self._frames.feed(pcm):
            self.verdict = self._hear(voice)
            if self.verdict is not None:
                break
        return self.verdict

    def _hear(self, voice: bool) -> Verdict | None:
        self._heard += 1
        if voice:
            self._count_voice()
        else:
            self._silence += 1
        if self._voice >= frames(GREETING_SECONDS):
            return Verdict.MACHINE
        if self._voice and self._silence > frames(PAUSE_SECONDS):
            if self._voice >= frames(WORD_SECONDS):
                return Verdict.HUMAN
            self._voice = 0
        limit = LISTEN_ON_SECONDS if self._voice else LISTEN_SECONDS
        return Verdict.UNSURE if self._heard >= frames(limit) else None

    def _count_voice(self) -> None:
        if self._voice and self._silence <= frames(GAP_SECONDS):
            self._voice += self._silence
        self._voice += 1
        self._silence = 0
