"""Tells when the callee begins to speak.

Loudness is all this looks at: a cough is speech, and so is the echo of a prompt that comes back loud. Time is counted
in the audio received, never on a clock.
"""

from __future__ import annotations

from typing import Final

from ringback.telephony.voice_frames import VoiceFrames, frames

#: Mean magnitude of a frame from which it is speech on a quiet line: well over comfort noise (some 100) that sets in
#: after silence, well under speech (1,000 and more).
TALK_THRESHOLD: Final = 400
#: Less voice than this is a click on the line.
WORD_SECONDS: Final = 0.1
#: What is spoken after a shorter silence than this goes on, and does not begin.
SILENCE_SECONDS: Final = 0.8


class TalkDetector:
    """Hears one answered call for as long as it lasts."""

    def __init__(self) -> None:
        self._frames = VoiceFrames(TALK_THRESHOLD)
        self._talking = False
        self._voice = 0  # frames of voice lately, less those of silence
        self._silence = 0  # frames since the last voice

    def feed(self, pcm: bytes) -> bool:
        """Hear more audio, signed 16-bit little-endian mono PCM at 8,000 samples/s, any length.

        Returns whether speech has begun in it.
        """
        begins = [self._hear(voice) for voice in self._frames.feed(pcm)]
        return any(begins)

    def fall_silent(self) -> None:
        """The far side has sent nothing for so long that it must be silent: some send no audio without sound."""
        self._talking, self._voice = False, 0

    def _hear(self, voice: bool) -> bool:
        if self._talking:
            self._silence = 0 if voice else self._silence + 1
            self._talking = self._silence < frames(SILENCE_SECONDS)
            return False
        self._voice = self._voice + 1 if voice else max(0, self._voice - 1)
        if self._voice < frames(WORD_SECONDS):
            return False
        self._talking, self._voice, self._silence = True, 0, 0
        return True
