"""One worker process, seen from the engine: starts it, talks to it, notices its end, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import sys
import tempfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import structlog

from ringback.model.numbers import masked
from ringback.telephony.port import EngineUnavailable
from ringback.telephony.sip.leg import SipLeg, lost
from ringback.telephony.sip.messages import (
    Dial,
    Dialled,
    DropPrompt,
    HangUp,
    Happened,
    KeepPrompt,
    Ping,
    Play,
    Pong,
    Ready,
    Refused,
    Stop,
    Unfit,
    decode_from_worker,
    read_frame,
    to_frame,
)

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.telephony.port import DialOrder, Prompt
    from ringback.telephony.sip.addressing import CallAddress
    from ringback.telephony.sip.messages import ToWorker

START_SECONDS: Final = 10.0
#: A dial takes a millisecond, or seconds while many calls are being hung up.
DIAL_SECONDS: Final = 15.0
PING_SECONDS: Final = 5.0
#: Unanswered pings after which a process counts as frozen.
MISSED_PINGS: Final = 3
#: What a worker needs at most to hang up 150 calls and end, with some air.
STOP_SECONDS: Final = 9.0
#: Between the end of its connection and the end of the process.
EXIT_SECONDS: Final = 2.0
#: Prompts kept in each worker process.
PROMPT_BYTES: Final = 64 * 1024 * 1024

_LONG_NUMBER: Final = re.compile(r"\d{6,}")

_log = structlog.get_logger(__name__)


class WornOut(Exception):
    """This worker takes no further account before its calls have ended; another one may."""


class WorkerProcess:
    """A process with one native SIP stack, and the legs of its calls. Use :meth:`start` to make one."""

    def __init__(
        self,
        clock: Clock,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        scratch: str,
    ) -> None:
        self.interface: str | None = None  # the local address it is bound to, once it has dialled
        self.alive = True
        self._worn = False
        self._clock = clock
        self._process = process
        self._reader = reader
        self._writer = writer
        self._scratch = scratch
        self._legs: dict[int, SipLeg] = {}
        self._dials: dict[int, asyncio.Future[Dialled | Refused]] = {}
        self._prompts: OrderedDict[str, int] = OrderedDict()  # key to bytes, least recently played first
        self._missed_pings = 0
        self._gone = asyncio.Event()
        self._log_relay = asyncio.get_running_loop().create_task(self._relay_log())
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def live_calls(self) -> int:
        """Calls that have not ended."""
        return len(self._legs)

    @property
    def worn(self) -> bool:
        """Whether it must end its calls before it can take new accounts."""
        return self._worn and bool(self._legs)

    def has_call(self, call_id: int) -> bool:
        """Whether this call is up here."""
        return call_id in self._legs

    @classmethod
    async def start(cls, clock: Clock, *, detect_machines: bool) -> WorkerProcess:
        """Start a process and wait until it is ready.

        Raises:
            EngineUnavailable: it cannot run here.
        """
        ours, theirs = socket.socketpair()
        scratch = tempfile.mkdtemp(prefix="ringback-sip-")  # the native stack leaves files behind when it is killed
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    f"{__package__}.worker",
                    f"--scratch={scratch}",
                    *(["--detect-machines"] if detect_machines else []),
                    stdin=theirs.fileno(),
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                )
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException as error:
            ours.close()  # a process that did start reads that as its end
            shutil.rmtree(scratch, ignore_errors=True)
            if isinstance(error, OSError):
                raise EngineUnavailable(f"no SIP worker process could be started: {error}") from error
            raise
        worker = cls(clock, process, reader, writer, scratch)
        try:
            await worker._begin()
        except BaseException:
            worker.kill()
            await worker._bury()
            raise
        return worker

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                frame = await read_frame(self._reader)
        except TimeoutError:
            raise EngineUnavailable(f"a SIP worker process was not ready in {START_SECONDS:g} s") from None
        match frame and decode_from_worker(frame):
            case Ready():
                loop = asyncio.get_running_loop()
                self._tasks += [loop.create_task(self._read()), loop.create_task(self._ping())]
            case Unfit(reason):
                raise EngineUnavailable(reason)
            case _:
                raise EngineUnavailable("a SIP worker process ended while it was starting")

    # --- commands ---

    async def dial(self, order: DialOrder, address: CallAddress) -> SipLeg:
        """Place a call. When the process dies meanwhile, the leg's only event is an Ended with ``engine_failed``.

        Raises:
            WornOut: nothing was sent, but another worker may take the call.
            EngineUnavailable: nothing was sent.
        """
        if not self.alive:
            raise EngineUnavailable("the SIP worker process has ended")
        self._worn = self.worn
        call_id = order.call_id
        leg = self._legs[call_id] = SipLeg(call_id, self, address)
        self.interface = address.interface
        answered = self._dials[call_id] = asyncio.get_running_loop().create_future()
        try:
            await self.command(
                Dial(
                    call_id,
                    order.task_id,
                    address,
                    order.leave_by,
                    order.record_to,
                    order.detect_talking,
                    order.most_seconds,
                )
            )
            async with asyncio.timeout(DIAL_SECONDS):
                answer = await answered
        except TimeoutError:
            # Whether an INVITE left cannot be known any more: end the process, which ends the leg.
            _log.error("a SIP worker process did not answer a dial; ending it", pid=self.pid)
            self.kill()
            return leg
        except asyncio.CancelledError:
            self._write(HangUp(call_id))
            raise
        finally:
            self._dials.pop(call_id, None)
        if isinstance(answer, Refused):
            if answer.worn:
                self._worn = True
                raise WornOut
            raise EngineUnavailable(answer.reason)
        return leg

    async def command(self, message: ToWorker) -> None:
        """Send a command; does nothing when the process is gone."""
        self._write(message)
        await self._drain()

    async def play(self, call_id: int, number: int, prompt: Prompt) -> None:
        """Send a prompt (unless the process has it) and play it."""
        if prompt.key not in self._prompts:
            self._make_room(len(prompt.pcm))
            self._prompts[prompt.key] = len(prompt.pcm)
            self._write(KeepPrompt(prompt.key, prompt.pcm))
        self._prompts.move_to_end(prompt.key)
        self._write(Play(call_id, number, prompt.key))
        await self._drain()

    def _make_room(self, size: int) -> None:
        while self._prompts and sum(self._prompts.values()) + size > PROMPT_BYTES:
            key, _ = self._prompts.popitem(last=False)
            self._write(DropPrompt(key))

    def _write(self, message: ToWorker) -> None:
        if self.alive and not self._writer.is_closing():
            self._writer.write(to_frame(message))

    async def _drain(self) -> None:
        with contextlib.suppress(ConnectionError):  # the end of the process is told by _read
            await self._writer.drain()

    # --- its life ---

    async def gone(self) -> None:
        """Wait until the process has ended and every leg knows it."""
        await self._gone.wait()

    async def stop(self) -> None:
        """Hang up everything and end the process, by force if it takes too long."""
        self._write(Stop())
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._gone.wait()
        except TimeoutError:
            _log.error("a SIP worker process did not stop; ending it", pid=self.pid, calls=self.live_calls)
            self.kill()
            await self._gone.wait()

    def kill(self) -> None:
        """End the process now."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        while frame := await read_frame(self._reader):
            match decode_from_worker(frame):
                case Happened() as happened:
                    self._on_event(happened)
                case Dialled() | Refused() as answer:
                    self._on_dial_answered(answer)
                case Pong():
                    self._missed_pings = 0
        await self._bury()

    def _on_dial_answered(self, answer: Dialled | Refused) -> None:
        if isinstance(answer, Refused):
            self._legs.pop(answer.call_id, None)
        waiting = self._dials.get(answer.call_id)  # none when the dial was cancelled
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _on_event(self, happened: Happened) -> None:
        leg = self._legs.get(happened.call_id)
        if leg is not None:
            if happened.ended is not None:
                del self._legs[happened.call_id]
            leg.deliver(happened)

    async def _bury(self) -> None:
        self.alive = False
        try:
            async with asyncio.timeout(EXIT_SECONDS):
                code = await self._process.wait()
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        for call_id, leg in self._legs.items():
            leg.deliver(lost(call_id, f"the SIP worker process ended ({how})"))
        self._legs.clear()
        for call_id, answered in self._dials.items():
            if not answered.done():
                answered.set_result(Dialled(call_id))  # its leg has just been told
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_SECONDS):
                await self._log_relay
        self._writer.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._gone.set()
        if code:
            _log.error("a SIP worker process ended unexpectedly", pid=self.pid, how=how)

    async def _ping(self) -> None:
        while True:
            await self._clock.sleep(PING_SECONDS)
            if self._missed_pings >= MISSED_PINGS:
                _log.error("a SIP worker process does not answer; ending it", pid=self.pid, calls=self.live_calls)
                self.kill()
                return
            self._missed_pings += 1
            await self.command(Ping())

    async def _relay_log(self) -> None:
        assert self._process.stderr is not None
        rest = b""
        while chunk := await self._process.stderr.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                text = _LONG_NUMBER.sub(lambda number: masked(number[0]), line.decode(errors="replace"))
                log = _log.info if text.startswith("level=info") else _log.warning
                log("SIP worker process", pid=self.pid, line=text)
