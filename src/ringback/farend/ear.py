"""Hears in received audio when the caller's first prompt has ended."""

from __future__ import annotations

import asyncio

from ringback.farend.sounds import FRAME_SECONDS, is_loud


class Ear:
    """Fed with the audio of one call. ``heard`` is set at the first sound, ``over`` once silence has followed.

    Silence is counted in turns of the media clock and not in packets: a caller may stop sending when it is quiet.
    """

    def __init__(self, payload_type: int, silence_seconds: float) -> None:
        self.heard = asyncio.Event()
        self.over = asyncio.Event()
        self._payload_type = payload_type
        self._frames_of_silence = round(silence_seconds / FRAME_SECONDS)
        self._quiet = 0

    def hear(self, payload: bytes) -> None:
        """A received G.711 payload."""
        if is_loud(self._payload_type, payload):
            self.heard.set()
            self._quiet = 0

    def tick(self) -> None:
        """20 ms have passed."""
        self._quiet += 1
        if self.heard.is_set() and self._quiet >= self._frames_of_silence:
            self.over.set()
