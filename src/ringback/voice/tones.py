"""Tones in the audio of the telephony port, and the pattern of notes that stands in for speech."""

from __future__ import annotations

import math
import sys
from array import array
from functools import lru_cache

from ringback.telephony.port import BYTES_PER_SECOND, SAMPLE_RATE

#: Of a full-scale sine: loud enough on a telephone, far from clipping.
VOLUME = 0.25
#: A pattern never gets longer, whatever the text.
MAX_PATTERN_SECONDS = 20.0

_TABLE_SIZE = 1024
_PEAK = round(32_767 * VOLUME)
_SINE = [round(_PEAK * math.sin(2 * math.pi * step / _TABLE_SIZE)) for step in range(_TABLE_SIZE)]
# Notes of one chord, so that any order of them sounds meant; all far from the frequencies of keys and network tones.
_NOTES_HZ = (262, 330, 392, 523)
_SECONDS_A_LETTER = 0.05
_SHORTEST_NOTE_SECONDS = 0.1
_GAP_SECONDS = 0.05
_LETTERS_A_NOTE = 8  # text without spaces (Chinese, Thai) is cut into notes of this many characters
_FADE_SAMPLES = SAMPLE_RATE // 200


def tone(hz: float, seconds: float) -> bytes:
    """A sine of ``hz`` for ``seconds``, its ends faded over 5 ms so that they do not click.

    Raises ValueError unless ``hz`` lies between 0 and 4,000 and ``seconds`` is not negative.
    """
    if not 0 < hz < SAMPLE_RATE / 2:
        raise ValueError(f"hz must lie between 0 and {SAMPLE_RATE // 2}, got {hz!r}")
    count = _samples(seconds)
    step = hz * _TABLE_SIZE / SAMPLE_RATE
    samples = array("h", [_SINE[int(position * step) % _TABLE_SIZE] for position in range(count)])
    fade = min(_FADE_SAMPLES, count // 2)
    for position in range(fade):
        samples[position] = samples[position] * position // fade
        samples[-1 - position] = samples[-1 - position] * position // fade
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def silence(seconds: float) -> bytes:
    """Nothing to hear for ``seconds``. Raises ValueError when negative."""
    return bytes(2 * _samples(seconds))


def pattern(text: str) -> bytes:
    """Notes in place of speech: one a word, as long as saying the word takes about. Equal text, equal notes.

    No text makes no audio; a long one is cut at 20 seconds.
    """
    notes = []
    longest = round(MAX_PATTERN_SECONDS * BYTES_PER_SECOND)
    length = 0
    for word in text.split():
        for start in range(0, len(word), _LETTERS_A_NOTE):
            part = word[start : start + _LETTERS_A_NOTE]
            notes.append(_note(sum(map(ord, part)) % len(_NOTES_HZ), len(part)))
            length += len(notes[-1])
            if length >= longest:
                return b"".join(notes)[:longest]
    return b"".join(notes)


@lru_cache(maxsize=len(_NOTES_HZ) * _LETTERS_A_NOTE)
def _note(pitch: int, letters: int) -> bytes:
    seconds = max(_SHORTEST_NOTE_SECONDS, letters * _SECONDS_A_LETTER)
    return tone(_NOTES_HZ[pitch], seconds) + silence(_GAP_SECONDS)


def _samples(seconds: float) -> int:
    if seconds < 0:
        raise ValueError(f"seconds must not be negative, got {seconds!r}")
    return round(seconds * SAMPLE_RATE)
