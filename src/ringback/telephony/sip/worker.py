"""One worker process of the embedded SIP engine: ``python -m ringback.telephony.sip.worker`` on a socket as standard
input.

Commands come in and events go out over that socket, log lines on standard error. When the socket closes (the engine is
gone, however it went), every call is hung up and the process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from ringback.clock import RealClock
from ringback.telephony.port import PHONE_LEG
from ringback.telephony.sip.messages import (
    Connect,
    Dial,
    Dialled,
    DropPrompt,
    HangUp,
    KeepPrompt,
    Ping,
    Play,
    Pong,
    Ready,
    Refused,
    Stop,
    StopPlaying,
    Transfer,
    Unfit,
    decode_to_worker,
    read_frame,
    to_frame,
)

try:
    from baresip.errors import BaresipError, CommandTimeout, RuntimeDead

    from ringback.telephony.sip.media import MediaLoop
    from ringback.telephony.sip.outgoing_call import OutgoingCall
    from ringback.telephony.sip.recording import Recording
    from ringback.telephony.sip.stack import NotSent, SipStack
    from ringback.telephony.sip.wire import WireTap
except (ImportError, OSError) as error:  # OSError: a shared library of the native stack is missing
    _unfit = f"the native SIP stack cannot be loaded: {error}"
else:
    _unfit = ""

if TYPE_CHECKING:
    from baresip import StackEvent

    from ringback.telephony.sip.messages import FromWorker
    from ringback.telephony.sip.wire import Seen

#: The engine pings every few seconds. One that has been silent this long is frozen, and the people on its calls hear
#: nothing more: end as if it were gone.
ENGINE_SILENT_SECONDS: Final = 60.0
#: Hanging up 150 answered calls takes the native stack 6 s.
LAST_CALLS_SECONDS: Final = 7.0
CLOSE_SECONDS: Final = 1.0
_EXIT_BROKEN: Final = 3

_log = structlog.get_logger(__name__)


class Worker:
    """Carries out the engine's commands."""

    def __init__(self, writer: asyncio.StreamWriter, *, detect_machines: bool) -> None:
        self._writer = writer
        self._detect_machines = detect_machines
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, OutgoingCall] = {}
        self._prompts: dict[str, bytes] = {}
        self._last_call_ended = asyncio.Event()
        self._commands: asyncio.Task[None] | None = None
        self._clock = RealClock()
        self._media = MediaLoop(self._clock)
        # One thread: the blocks of a recording are written in order. It starts with the first recording.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="recordings")
        self._stack = SipStack(self._on_native, lambda: len(self._calls) > 1, _die)
        self._tap = WireTap(self._calls.__contains__, self._from_wire)
        self._tap.install()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Work until the engine says stop or is gone; then end every call and free the native stack.

        An exception in any command ends the service the same way and is raised: the engine starts a new process.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                media = tasks.create_task(self._media.run())
                self._commands = tasks.create_task(self._carry_out_commands(reader, tasks))
                self._send(Ready())
                await asyncio.wait([self._commands])
                media.cancel()
        finally:
            await self._end_all_calls()
            with contextlib.suppress(TimeoutError, BaresipError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._stack.close()

    def stop(self) -> None:
        """End the service as if the engine had said stop."""
        if self._commands is not None:
            self._commands.cancel()

    async def _carry_out_commands(self, reader: asyncio.StreamReader, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                async with asyncio.timeout(ENGINE_SILENT_SECONDS):
                    frame = await read_frame(reader)
            except TimeoutError:
                _log.error("the engine has been silent for too long; hanging up", calls=len(self._calls))
                return
            if frame is None:
                return
            match decode_to_worker(frame):
                case Stop():
                    return
                case Dial() as message:
                    call = self._new_call(message)  # now: a HangUp may be right behind
                    tasks.create_task(self._dial(message, call))
                case Ping():
                    tasks.create_task(self._pong())
                case KeepPrompt(key, pcm):
                    self._prompts[key] = pcm
                case DropPrompt(key):
                    self._prompts.pop(key, None)
                case message:
                    self._command_call(message)

    def _command_call(self, message: Play | StopPlaying | Transfer | Connect | HangUp) -> None:
        call = self._calls.get(message.call_id)
        if call is None:
            return  # it has ended; the engine will read that in a moment
        match message:
            case Play(_, number, key):
                call.play(number, self._prompts[key])
            case StopPlaying():
                call.stop_playing()
            case Transfer(_, uri):
                call.transfer(uri)
            case Connect(_, other_id):
                other = self._calls.get(other_id)
                if other is not None:
                    call.connect(other)
            case HangUp():
                call.hang_up()

    def _new_call(self, message: Dial) -> OutgoingCall:
        call_id, target = message.call_id, message.record_to
        call = OutgoingCall(
            call_id,
            self._media,
            self._send,
            lambda: self._forget(call_id),
            detect_machine=self._detect_machines and call_id < PHONE_LEG,  # our phones are people's
            detect_talking=message.detect_talking,
            most_seconds=message.most_seconds,
            record=(lambda: Recording(Path(target), self._clock, self._disk)) if target else None,
        )
        self._calls[call_id] = call
        return call

    async def _dial(self, message: Dial, call: OutgoingCall) -> None:
        call_id = message.call_id
        try:
            native = await self._stack.dial(call_id, message.task_id, message.address, message.leave_by)
        except NotSent as refusal:
            call.refused()
            self._forget(call_id)
            self._send(Refused(call_id, str(refusal), refusal.worn))
        except (CommandTimeout, RuntimeDead) as error:
            _die(str(error))
        else:
            call.placed(native)
            self._send(Dialled(call_id))

    async def _pong(self) -> None:
        try:
            await self._stack.ping()
        except BaresipError as error:
            _log.error("the SIP stack does not answer", error=str(error))
        else:
            self._send(Pong())

    def _send(self, message: FromWorker) -> None:
        self._writer.write(to_frame(message))

    def _on_native(self, call_id: int, event: StackEvent) -> None:
        if call_id in self._calls:
            self._calls[call_id].on_native(event)

    def _from_wire(self, call_id: int, seen: Seen) -> None:
        """On the trace's thread."""
        self._loop.call_soon_threadsafe(self._on_wire, call_id, seen)

    def _on_wire(self, call_id: int, seen: Seen) -> None:
        if call_id in self._calls:
            self._calls[call_id].on_wire(seen)

    def _forget(self, call_id: int) -> None:
        self._calls.pop(call_id, None)
        self._tap.forget(call_id)
        if not self._calls:
            self._last_call_ended.set()

    async def _end_all_calls(self) -> None:
        self._last_call_ended.clear()
        for call in self._calls.values():
            call.hang_up()
        if self._calls:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALLS_SECONDS):
                    await self._last_call_ended.wait()


def _die(reason: str) -> None:
    """End at once: the native thread is dead or stuck for good, and only a new process can have another one."""
    _log.critical("the SIP stack failed; this process ends", reason=reason)
    os._exit(_EXIT_BROKEN)


async def _main(*, detect_machines: bool) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=os.dup(0)))
    loop = asyncio.get_running_loop()
    try:
        if _unfit:
            writer.write(to_frame(Unfit(_unfit)))
            return
        worker = Worker(writer, detect_machines=detect_machines)
        # Ctrl-C reaches the whole process group, but the engine decides what it means. A SIGTERM of our own ends us.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.serve(reader)
    finally:
        writer.close()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await writer.wait_closed()


def _log_to_standard_error() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="level=%(levelname)s %(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> None:
    """Run one worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--detect-machines", action="store_true", help="listen to the start of answered calls")
    parser.add_argument("--scratch", required=True, help="an empty folder of this process's own; removed at the end")
    arguments = parser.parse_args()
    tempfile.tempdir = arguments.scratch
    _log_to_standard_error()
    try:
        asyncio.run(_main(detect_machines=arguments.detect_machines))
    except Exception:  # noqa: BLE001 - the last line of defence of the process: it logs and ends
        _log.exception("worker failed")
        code = _EXIT_BROKEN
    else:
        code = 0
    with contextlib.suppress(OSError):
        Path(arguments.scratch).rmdir()
    sys.stderr.flush()
    os._exit(code)  # no clean-up that a stuck native thread could hold up


if __name__ == "__main__":
    main()
