"""Reads speech out of what Asterisk says of a channel's talk.

Its TALK_DETECT says that talk starts with the first frame of a call, silent or not, and with every click, and takes
that back when a little silence has come. What it does not take back soon is speech. It ends talk between two words,
too; so speech is over only after a longer silence.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ringback.telephony.talk_detection import SILENCE_SECONDS, TALK_THRESHOLD, WORD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

#: After so much silence Asterisk ends talk. A far side that stops sending in silence must have sent more than this, or
#: its silence is taken for speech.
TAKEN_BACK_SECONDS: Final = 0.1
#: Value of TALK_DETECT(set): that silence in milliseconds, and the mean magnitude of a frame from which it is talk.
TALK_DETECT: Final = f"{round(TAKEN_BACK_SECONDS * 1000)},{TALK_THRESHOLD}"


class Talking:
    """Of one answered call. ``begins()`` is called each time the callee begins to speak."""

    def __init__(self, begins: Callable[[], None]) -> None:
        self._begins = begins
        self._speaks = False
        self._timer: asyncio.TimerHandle | None = None

    def started(self) -> None:
        """Asterisk says that talk has started."""
        self._wait(WORD_SECONDS + TAKEN_BACK_SECONDS, self._confirmed)

    def finished(self) -> None:
        """Asterisk says that it has ended."""
        self._wait(SILENCE_SECONDS - TAKEN_BACK_SECONDS, self._fell_silent)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        """One of the two is waited for: each undoes the other."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _confirmed(self) -> None:
        if not self._speaks:
            self._speaks = True
            self._begins()

    def _fell_silent(self) -> None:
        self._speaks = False
