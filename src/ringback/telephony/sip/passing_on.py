"""What one call of a worker says, passed on to another that it is connected with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringback.telephony.port import BYTES_PER_SECOND

if TYPE_CHECKING:
    from ringback.telephony.sip.media import Audio
    from ringback.telephony.sip.recording import Recording

#: The native transmit thread takes 20 ms at a time.
FRAME_BYTES: Final = BYTES_PER_SECOND // 50
#: Silence that is put in front when nothing waits to be sent (60 ms): what follows may come so much unevenly.
CUSHION_BYTES: Final = 3 * FRAME_BYTES
#: More than this (200 ms) never waits: a far side whose clock is faster loses a frame now and then instead.
MOST_BYTES: Final = 10 * FRAME_BYTES


class PassingOn:
    """One direction. ``audio`` is that of the call that hears it; nothing is written before ``not_before``, monotonic
    seconds: a flush that is under way would take it along.
    """

    def __init__(self, audio: Audio, not_before: float) -> None:
        self._audio = audio
        self._not_before = not_before
        self._rest = b""  # an incomplete frame

    def pass_on(self, now: float, pcm: bytes, recording: Recording | None) -> None:
        """Send this on; ``recording`` is that of the call that hears it. Raises what the audio raises."""
        if now < self._not_before or not pcm:
            return
        info = self._audio.info()
        if not info.tx_ready:
            return
        data = self._rest + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        data, self._rest = data[:whole], data[whole:]
        if info.tx_buffered == 0:
            data = bytes(CUSHION_BYTES) + data
        room = max(0, MOST_BYTES - info.tx_buffered)
        data = data[: room - room % FRAME_BYTES]
        if data:
            written = self._audio.write(memoryview(data))
            if recording is not None:
                recording.played(data[:written], info.tx_buffered)
