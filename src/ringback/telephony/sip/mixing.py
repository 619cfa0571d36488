"""The two directions of a call on one time line, mixed into the audio of its recording.

What was heard comes up to a round late and may stop at any time; what is played is written ahead of its time and may be
thrown away again. So a stretch is given out only when it lies far enough in the past to be settled. Positions are
samples since the start.
"""

from __future__ import annotations

from array import array
from operator import add
from typing import Final

from ringback.telephony.port import SAMPLE_RATE

#: Audio younger than this is not given out yet.
SETTLED_SECONDS: Final = 0.2
#: Audio is given out in blocks of at least this length.
BLOCK_SECONDS: Final = 1.0
#: Received audio is put on end as long as it comes within this of its time: a gap that is no gap would be heard.
HEARD_TOLERANCE_SECONDS: Final = 0.1
#: Received audio that has run ahead of the clock by more than this (the far side's clock is faster) is left out.
MOST_AHEAD_SECONDS: Final = 0.2
#: The same for what is played, whose position is known to a frame or two.
PLAYED_TOLERANCE_SECONDS: Final = 0.04

_HIGHEST, _LOWEST = 32_767, -32_768


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


class _Track:
    """One direction, from the first position that has not been given out."""

    def __init__(self) -> None:
        self._start = 0
        self._pcm = bytearray()

    @property
    def end(self) -> int:
        return self._start + len(self._pcm) // 2

    def put(self, at: int, pcm: bytes | memoryview) -> None:
        """Add audio at ``at`` or at the end, whichever is later; silence in between."""
        self._pcm += bytes(2 * max(0, at - self.end))
        self._pcm += pcm

    def cut(self, at: int) -> None:
        """Take back what lies behind ``at``."""
        del self._pcm[2 * max(0, at - self._start) :]

    def take(self, until: int) -> bytes:
        """Give out what lies before ``until``; shorter when the rest is silence."""
        size = 2 * (until - self._start)
        taken = bytes(self._pcm[:size])
        del self._pcm[:size]
        self._start = until
        return taken


class Mixer:
    """Takes audio with the time (monotonic seconds) at which it came or was written. ``began`` is sample 0."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._taken = 0
        self._heard = _Track()
        self._played = _Track()
        self._hears = False

    def heard(self, now: float, pcm: bytes) -> None:
        """Audio has been received up to ``now``. What is longer than the call came before it began."""
        here = self._at(now)
        if not self._hears:
            pcm = pcm[max(0, len(pcm) - 2 * here) :]
            self._hears = bool(pcm)
        length = len(pcm) // 2
        if self._heard.end + length > here + _samples(MOST_AHEAD_SECONDS):
            return
        late = here - length - self._heard.end
        self._heard.put(here - length if late > _samples(HEARD_TOLERANCE_SECONDS) else self._heard.end, pcm)

    def played(self, now: float, pcm: bytes | memoryview, queued: int) -> None:
        """Audio has been written behind ``queued`` bytes that have not been sent yet."""
        at = self._at(now) + queued // 2
        late = at - self._played.end
        self._played.put(at if late > _samples(PLAYED_TOLERANCE_SECONDS) else self._played.end, pcm)

    def flushed(self, queued: int) -> None:
        """The last ``queued`` bytes that were written will not be sent."""
        self._played.cut(self._played.end - queued // 2)

    def take(self, now: float) -> bytes:
        """What is settled by ``now`` and has not been given out; nothing until that is a block."""
        until = self._at(now) - _samples(SETTLED_SECONDS)
        return self._take(until) if until - self._taken >= _samples(BLOCK_SECONDS) else b""

    def rest(self, now: float) -> bytes:
        """All up to ``now``: the call has ended."""
        return self._take(max(self._taken, self._at(now)))

    def _at(self, now: float) -> int:
        return _samples(now - self._began)

    def _take(self, until: int) -> bytes:
        size, self._taken = 2 * (until - self._taken), until
        return _mixed(self._heard.take(until), self._played.take(until)).ljust(size, b"\0")


def _mixed(one: bytes, other: bytes) -> bytes:
    """Both at once, as long as the longer; too loud a sum is cut off."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    if not shorter.strip(b"\0"):
        return longer
    overlap = len(shorter)
    pairs = array("h", longer[:overlap]), array("h", shorter)
    try:
        mixed = array("h", map(add, *pairs))
    except OverflowError:
        mixed = array("h", [min(_HIGHEST, max(_LOWEST, a + b)) for a, b in zip(*pairs, strict=True)])
    return mixed.tobytes() + longer[overlap:]
