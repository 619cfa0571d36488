"""Feeds prompts to the calls of a worker and takes what they say, in one loop over all calls.

What is received is listened to for the first seconds (machine detection), and, where that is asked for, listened to
for speech, recorded, and passed on to another call for as long as the call lasts; otherwise it is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from baresip.errors import AudioNotActive, AudioRestarted

from ringback.telephony.machine_detection import MachineDetector, Verdict
from ringback.telephony.port import BYTES_PER_SECOND
from ringback.telephony.sip.passing_on import PassingOn
from ringback.telephony.talk_detection import SILENCE_SECONDS, TalkDetector

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.telephony.sip.recording import Recording

#: Seconds between two rounds over all calls.
ROUND_SECONDS: Final = 0.04
#: While two calls are connected: what one says should reach the other soon.
CONNECTED_ROUND_SECONDS: Final = 0.02
#: Bytes in the native buffer after each round (200 ms): a late round is not heard, and little is thrown away when
#: the prompt is stopped.
AHEAD_BYTES: Final = BYTES_PER_SECOND // 5
#: The native transmit thread takes 20 ms at a time; a shorter rest would be counted as a starved frame.
FRAME_BYTES: Final = BYTES_PER_SECOND // 50
#: A flush is done by the transmit thread at its next 20 ms tick and takes everything along that was written until then,
#: so the next prompt waits this long and for the buffer to be empty.
FLUSH_SECONDS: Final = 0.05
#: Listening ends this long after the answer even if no audio comes.
LISTEN_SECONDS: Final = 10.0
_READ_BYTES: Final = BYTES_PER_SECOND

_log = structlog.get_logger(__name__)


class AudioInfo(Protocol):
    """State of one call's audio."""

    @property
    def tx_ready(self) -> bool:
        """Whether audio can be written."""

    @property
    def tx_buffered(self) -> int:
        """Bytes written but not sent yet."""


class Audio(Protocol):
    """The audio of one call at the native stack. Every method raises AudioNotActive without media."""

    def info(self) -> AudioInfo:
        """How it stands."""

    def write(self, pcm: memoryview) -> int:
        """Queue audio; returns how many bytes fitted."""

    def read(self, max_bytes: int) -> bytes:
        """Take received audio, maybe none."""

    def flush_tx(self) -> None:
        """Throw away what is queued."""


class _Playing:
    def __init__(self, audio: Audio, pcm: bytes, not_before: float, finished: Callable[[], None]) -> None:
        self.audio = audio
        self.finished = finished
        self._not_before = not_before
        self._begun = False
        self._seen_empty = False
        self._rest = memoryview(pcm + bytes(-len(pcm) % FRAME_BYTES))

    def feed(self, now: float, recording: Recording | None) -> bool:
        """Fill the buffer up; returns whether the last frame has been sent."""
        if now < self._not_before:
            return False
        info = self.audio.info()
        if not info.tx_ready or (not self._begun and info.tx_buffered):
            return False
        self._begun = True
        if not self._rest:
            # Behind the buffer the native encoder holds one frame more: a second look finds it gone as well.
            seen_empty, self._seen_empty = self._seen_empty, info.tx_buffered == 0
            return seen_empty
        room = AHEAD_BYTES - info.tx_buffered
        if room > 0:
            written = self.audio.write(self._rest[:room])
            if recording is not None:
                recording.played(self._rest[:written], info.tx_buffered)
            self._rest = self._rest[written:]
        return False


class _Listening:
    def __init__(self, until: float, machine: Callable[[], None]) -> None:
        self.until = until
        self.machine = machine
        self.detector = MachineDetector()


class _ForTalk:
    def __init__(self, heard_at: float, talking: Callable[[], None]) -> None:
        self.heard_at = heard_at
        self.talking = talking
        self.detector = TalkDetector()


class MediaLoop:
    """Plays to, listens on and records the calls of one worker, named by call id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._playing: dict[int, _Playing] = {}
        self._heard: dict[int, Audio] = {}  # the calls that somebody listens to or records
        self._listening: dict[int, _Listening] = {}
        self._for_talk: dict[int, _ForTalk] = {}
        self._recordings: dict[int, Recording] = {}
        self._connected: dict[int, tuple[int, PassingOn]] = {}  # to the call that hears it, and how it gets there
        self._flushed_until: dict[int, float] = {}
        self._wanted = asyncio.Event()

    def play(self, call_id: int, audio: Audio, pcm: bytes, finished: Callable[[], None]) -> None:
        """Play ``pcm`` from now on instead of what plays; ``finished()`` when its last frame has been sent."""
        self.stop(call_id)
        playing = _Playing(audio, pcm, self._flushed_until.get(call_id, 0.0), finished)
        self._playing[call_id] = playing
        self._feed(call_id, playing)  # the first audio leaves at once, not at the next round
        self._wanted.set()

    def stop(self, call_id: int) -> None:
        """Stop what plays, at most one 20 ms frame later."""
        playing = self._playing.pop(call_id, None)
        if playing is None:
            return
        with contextlib.suppress(AudioNotActive, AudioRestarted):  # then nothing is queued any more
            if call_id in self._recordings:
                self._recordings[call_id].flushed(playing.audio.info().tx_buffered)
            playing.audio.flush_tx()
            self._flushed_until[call_id] = self._clock.monotonic() + FLUSH_SECONDS

    def listen(self, call_id: int, audio: Audio, machine: Callable[[], None]) -> None:
        """Listen to the greeting; ``machine()`` if it is one of an answering machine."""
        self._listening[call_id] = _Listening(self._clock.monotonic() + LISTEN_SECONDS, machine)
        self._hear_from_now_on(call_id, audio)

    def listen_for_talk(self, call_id: int, audio: Audio, talking: Callable[[], None]) -> None:
        """Listen until the call is forgotten; ``talking()`` each time the callee begins to speak."""
        self._for_talk[call_id] = _ForTalk(self._clock.monotonic(), talking)
        self._hear_from_now_on(call_id, audio)

    def record(self, call_id: int, audio: Audio, recording: Recording) -> None:
        """Record both directions until the call is forgotten."""
        self._recordings[call_id] = recording
        self._hear_from_now_on(call_id, audio)

    def connect(self, call_id: int, audio: Audio, other_id: int, other: Audio) -> None:
        """Let two calls hear each other until either is forgotten."""
        for one in (call_id, other_id):
            self.stop(one)
            self._disconnect(one)
        now = self._clock.monotonic()
        self._connected[call_id] = (other_id, PassingOn(other, self._flushed_until.get(other_id, now)))
        self._connected[other_id] = (call_id, PassingOn(audio, self._flushed_until.get(call_id, now)))
        self._hear_from_now_on(call_id, audio)
        self._hear_from_now_on(other_id, other)

    def _disconnect(self, call_id: int) -> None:
        other_id, _ = self._connected.pop(call_id, (None, None))
        if other_id is not None:
            self._connected.pop(other_id, None)

    def forget(self, call_id: int) -> None:
        """The call has ended."""
        self._disconnect(call_id)
        self._playing.pop(call_id, None)
        self._heard.pop(call_id, None)
        self._listening.pop(call_id, None)
        self._for_talk.pop(call_id, None)
        self._recordings.pop(call_id, None)
        self._flushed_until.pop(call_id, None)

    async def run(self) -> None:
        """Serve all calls, for ever."""
        while True:
            await self._wanted.wait()
            while self._playing or self._heard:
                for call_id, playing in list(self._playing.items()):
                    self._feed(call_id, playing)
                for call_id, audio in list(self._heard.items()):
                    self._hear(call_id, audio)
                await self._clock.sleep(CONNECTED_ROUND_SECONDS if self._connected else ROUND_SECONDS)
            self._wanted.clear()

    def _feed(self, call_id: int, playing: _Playing) -> None:
        try:
            done = playing.feed(self._clock.monotonic(), self._recordings.get(call_id))
        except (AudioNotActive, AudioRestarted):
            return  # media is being renegotiated, or the call is about to end; both are told elsewhere
        if done and self._playing.get(call_id) is playing:
            del self._playing[call_id]
            playing.finished()

    def _hear_from_now_on(self, call_id: int, audio: Audio) -> None:
        if call_id not in self._heard:
            with contextlib.suppress(AudioNotActive, AudioRestarted):
                audio.read(_READ_BYTES)  # what waits there is from before the answer: a ring-back tone, say
        self._heard[call_id] = audio
        self._wanted.set()

    def _hear(self, call_id: int, audio: Audio) -> None:
        pcm = b""
        with contextlib.suppress(AudioNotActive, AudioRestarted):  # no audio (yet): time goes on without it
            pcm = audio.read(_READ_BYTES)
        recording = self._recordings.get(call_id)
        if recording is not None:
            recording.heard(pcm)
        if call_id in self._connected:
            self._pass_on(*self._connected[call_id], pcm)
        listening = self._listening.get(call_id)
        if listening is not None:
            self._judge(call_id, listening, pcm)
        for_talk = self._for_talk.get(call_id)
        if for_talk is not None:
            self._hear_talk(for_talk, pcm)
        elif listening is None and recording is None and call_id not in self._connected:
            del self._heard[call_id]

    def _pass_on(self, to: int, way: PassingOn, pcm: bytes) -> None:
        if to not in self._playing:
            with contextlib.suppress(AudioNotActive, AudioRestarted):  # its end is told elsewhere
                way.pass_on(self._clock.monotonic(), pcm, self._recordings.get(to))

    def _hear_talk(self, for_talk: _ForTalk, pcm: bytes) -> None:
        now = self._clock.monotonic()
        if pcm:
            for_talk.heard_at = now
            if for_talk.detector.feed(pcm):
                for_talk.talking()
        elif now - for_talk.heard_at > SILENCE_SECONDS:
            for_talk.detector.fall_silent()

    def _judge(self, call_id: int, listening: _Listening, pcm: bytes) -> None:
        verdict = listening.detector.feed(pcm)
        if verdict is None and self._clock.monotonic() < listening.until:
            return
        self._listening.pop(call_id, None)
        _log.debug("greeting heard", call_id=call_id, verdict=verdict)
        if verdict is Verdict.MACHINE:
            listening.machine()
