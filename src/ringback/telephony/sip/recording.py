"""A call's recording: mixed on the worker's loop, written on a thread, so that a slow disk holds up no audio.

Nothing that goes wrong here reaches the call: the recording is given up, and the log says why.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog

from ringback.telephony.sip.mixing import Mixer
from ringback.telephony.wav_file import WavFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from ringback.clock import Clock

#: Blocks of about a second that may wait for the disk before the recording is given up.
MOST_WAITING: Final = 30
#: How long the end of a call waits for its recording.
COMPLETE_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Recording:
    """The audio of one call from now on, written to ``target`` by ``writer`` (one thread, for the order)."""

    def __init__(self, target: Path, clock: Clock, writer: Executor) -> None:
        self._clock = clock
        self._writer = writer
        self._mixer = Mixer(clock.monotonic())
        self._file = WavFile(target)
        self._failure = ""
        self._waiting: deque[Future[bool]] = deque()
        self._completed: asyncio.Future[bool] | None = None
        self._submit(self._file.open)

    def heard(self, pcm: bytes) -> None:
        """This has just been received, maybe nothing. Called once a round: it also moves the recording on."""
        now = self._clock.monotonic()
        if pcm:
            self._mixer.heard(now, pcm)
        self._write(self._mixer.take(now))

    def played(self, pcm: bytes | memoryview, queued: int) -> None:
        """This has been written, behind ``queued`` bytes that have not been sent yet."""
        self._mixer.played(self._clock.monotonic(), pcm, queued)

    def flushed(self, queued: int) -> None:
        """The last ``queued`` bytes will not be sent."""
        self._mixer.flushed(queued)

    def stop(self) -> None:
        """The call has ended; write the rest."""
        self._write(self._mixer.rest(self._clock.monotonic()))
        self._completed = asyncio.wrap_future(self._submit(self._file.complete))

    async def complete(self) -> bool:
        """Whether the file is complete, after :meth:`stop`; waits a short while for the disk."""
        assert self._completed is not None
        done, _ = await asyncio.wait({self._completed}, timeout=COMPLETE_SECONDS)  # does not cancel it: it cleans up
        if not done:
            self._give_up("the disk takes too long to complete it")
        return bool(done) and self._completed.result()

    def _write(self, block: bytes) -> None:
        if not block or self._failure:
            return
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        if len(self._waiting) >= MOST_WAITING:
            self._give_up("the disk is too slow")
        else:
            self._waiting.append(self._submit(lambda: self._file.write(block)))

    def _submit(self, work: Callable[[], None]) -> Future[bool]:
        return self._writer.submit(self._on_disk, work)

    def _on_disk(self, work: Callable[[], None]) -> bool:
        """On the writer's thread."""
        if not self._failure:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the call does not depend on it
                self._give_up(str(error))
            else:
                return True
        self._file.discard()
        return False

    def _give_up(self, why: str) -> None:
        self._failure = why
        _log.warning("a call is not recorded (any more)", file=str(self._file.target), reason=why)
