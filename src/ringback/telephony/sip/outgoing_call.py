"""One call inside a worker: turns what the native stack and the wire say into the port's events, each once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import structlog
from baresip import Event, StackEvent
from baresip.errors import AudioNotActive, BaresipError, StaleHandleError, TransferFailed

from ringback.telephony.port import Transferred
from ringback.telephony.sip.ending import CloseText, ended_answered, ended_transferred, ended_unanswered
from ringback.telephony.sip.messages import Happened, What

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.telephony.port import Ended
    from ringback.telephony.sip.media import Audio, MediaLoop
    from ringback.telephony.sip.recording import Recording
    from ringback.telephony.sip.wire import Seen

#: A CANCEL may only follow a provisional response (RFC 3261 section 9.1). Without one the native stack would just
#: forget the call, and a phone that rings a moment later would be answered by nobody: so give the response time.
RESPONSE_GRACE_SECONDS: Final = 0.8
#: How long the far side may take to confirm our CANCEL or BYE before the call is reported as ended.
CONFIRM_SECONDS: Final = 0.5
#: The trace runs on another thread than the events: wait this long for what it should still tell.
TRACE_LAG_SECONDS: Final = 0.1
#: How long the far side may take to say what came of a transfer; meanwhile the callee hears nothing from us.
TRANSFER_SECONDS: Final = 30.0

_KEYS: Final = frozenset("0123456789ABCD*#")

_log = structlog.get_logger(__name__)


class NativeCall(Protocol):
    """What is used of the binding's call object."""

    @property
    def audio(self) -> Audio:
        """The call's audio."""

    async def hangup(self) -> None:
        """CANCEL or BYE. Raises StaleHandleError when the call is gone."""

    async def transfer(self, uri: str, *, timeout: float) -> None:  # noqa: ASYNC109 - the binding's signature
        """REFER; returns when the call has closed because the far side reported that it reached ``uri``.

        Raises TransferFailed (with the ``status`` reported, if any) and other BaresipErrors.
        """


class OutgoingCall:
    """A call from its INVITE to its end. ``tell`` sends events to the engine; ``ended`` is called last.

    ``record`` begins the recording when the call is answered. ``most_seconds`` after the INVITE it is hung up.
    """

    def __init__(
        self,
        call_id: int,
        media: MediaLoop,
        tell: Callable[[Happened], None],
        ended: Callable[[], None],
        *,
        detect_machine: bool,
        detect_talking: bool,
        most_seconds: float,
        record: Callable[[], Recording] | None,
    ) -> None:
        self.call_id = call_id
        self._media = media
        self._tell = tell
        self._on_ended = ended
        self._detect_machine = detect_machine
        self._detect_talking = detect_talking
        self._most_seconds = most_seconds
        self._record = record
        self._recording: Recording | None = None
        self._native: NativeCall | None = None
        self._placed = asyncio.Event()  # the dial command came back
        self._responded = asyncio.Event()  # the far side said anything at all
        self._news = asyncio.Event()  # something was seen on the wire
        self._told: set[What] = set()
        self._answered = False
        self._closed = False
        self._limit: asyncio.TimerHandle | None = None
        self._transferring: asyncio.Task[None] | None = None
        self._transferred = False
        self._refer_final: int | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._our_reason = "hung up"
        self._invite_final: int | None = None
        self._bye_received = False
        self._bye_confirmed = False
        self._bye_cause: int | None = None

    # --- commands ---

    def placed(self, native: NativeCall) -> None:
        """The native stack took the call."""
        self._native = native
        self._placed.set()
        if not self._closed:
            self._limit = asyncio.get_running_loop().call_later(self._most_seconds, self._too_long)
        if self._answered:
            self._start_media(native)

    def refused(self) -> None:
        """The native stack did not take the call: nothing is told of it."""
        for task in (self._leaving, self._finishing):
            if task is not None:
                task.cancel()

    def play(self, number: int, pcm: bytes) -> None:
        """Play a prompt; told as PROMPT_FINISHED with ``number``. Nothing on a call that is not up."""
        if self._native is None or not self._answered or self._closed:
            return
        self._media.play(
            self.call_id,
            self._native.audio,
            pcm,
            lambda: self._tell(Happened(self.call_id, What.PROMPT_FINISHED, number=number)),
        )

    def stop_playing(self) -> None:
        """Stop what plays."""
        self._media.stop(self.call_id)

    def connect(self, other: OutgoingCall) -> None:
        """Let the far sides of both calls hear each other. Nothing when one of them is not up."""
        ours, theirs = self.audio, other.audio
        if ours is not None and theirs is not None:
            self._media.connect(self.call_id, ours, other.call_id, theirs)

    @property
    def audio(self) -> Audio | None:
        """The call's audio while it is up."""
        return self._native.audio if self._native is not None and self._answered and not self._closed else None

    def transfer(self, uri: str) -> None:
        """Ask the far side to call ``uri`` instead of us; told as TRANSFERRED. Nothing on a call that is not up."""
        if self._native is None or not self._answered or self._closed or self._leaving is not None:
            return
        if self._transferring is not None and not self._transferring.done():
            return  # its answer is on the way
        self._refer_final = None
        self._transferring = asyncio.get_running_loop().create_task(self._transfer(self._native, uri))

    async def _transfer(self, native: NativeCall, uri: str) -> None:
        try:
            await native.transfer(uri, timeout=TRANSFER_SECONDS)
        except (BaresipError, ValueError) as error:
            outcome = await self._without_report(error)
        else:
            outcome = Transferred(accepted=True, sip_code=200)
        self._transferred = outcome.accepted
        self._tell(Happened(self.call_id, What.TRANSFERRED, transferred=outcome))
        if outcome.accepted:
            self.hang_up()

    async def _without_report(self, error: BaresipError | ValueError) -> Transferred:
        """What came of a transfer that the far side did not report done: then its response to the REFER counts."""
        if isinstance(error, TransferFailed) and error.status is not None:
            return Transferred(accepted=False, sip_code=error.status)
        await self._wait_for_wire(lambda: self._refer_final is not None, TRACE_LAG_SECONDS)
        final = self._refer_final
        # Many a trunk takes the REFER and says BYE, or nothing more.
        accepted = final is not None and final < 300 and self._leaving is None
        _log.info("transfer without a report", call_id=self.call_id, refer=final, accepted=accepted, error=str(error))
        return Transferred(accepted=accepted, sip_code=final)

    def _too_long(self) -> None:
        _log.warning("a call outlived its longest duration; hanging up", call_id=self.call_id)
        self._our_reason = "longest duration"
        self.hang_up()

    def hang_up(self) -> None:
        """End the call from our side. Repeating it changes nothing."""
        if self._leaving is None and not self._closed:
            self._leaving = asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self) -> None:
        await self._placed.wait()
        if not self._responded.is_set():
            await _wait_at_most(self._responded, RESPONSE_GRACE_SECONDS)
        assert self._native is not None
        try:
            await self._native.hangup()
        except StaleHandleError:
            pass  # it ended by itself in the meantime
        except BaresipError as error:
            # The command may still run; if the native stack is stuck for good, the engine's ping finds out.
            _log.warning("hang-up not confirmed by the SIP stack", call_id=self.call_id, error=str(error))

    # --- what the far side does ---

    def on_native(self, event: StackEvent) -> None:
        """Take an event of the native stack that concerns this call."""
        match event.event:
            case Event.CALL_RINGING:
                self._responded.set()
                self._tell_once(What.RINGING)
            case Event.CALL_PROGRESS:
                self._responded.set()
                self._tell_once(What.EARLY_MEDIA)
            case Event.CALL_ESTABLISHED:
                self._responded.set()
                self._on_answer()
            case Event.CALL_DTMF_START if event.text in _KEYS:
                self._tell(Happened(self.call_id, What.KEY_PRESSED, key=event.text))
            case Event.CALL_CLOSED:
                self._on_close(CloseText.parse(event.text or ""))

    def on_wire(self, seen: Seen) -> None:
        """Take a message seen on the wire."""
        if seen.method == "INVITE":
            self._responded.set()
            if seen.code == 100 and not self._told and not self._closed:
                self._tell_once(What.TRYING)
            # A challenge is not the end: it is answered with another INVITE.
            if seen.code >= 200 and seen.code not in {401, 407}:
                self._invite_final = seen.code
        elif seen.method == "REFER":
            if seen.code >= 200 and seen.code not in {401, 407}:
                self._refer_final = seen.code
        elif seen.code == 0:
            self._bye_received, self._bye_cause = True, seen.q850_cause
        elif seen.method == "BYE":
            self._bye_confirmed = True
        self._news.set()

    def _tell_once(self, what: What) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(Happened(self.call_id, what))

    def _on_answer(self) -> None:
        self._answered = True
        self._tell_once(What.ANSWERED)
        if self._native is not None:  # else the dial command has not come back yet; see placed()
            self._start_media(self._native)

    def _start_media(self, native: NativeCall) -> None:
        if self._closed:
            return
        try:
            native.audio.info()
        except AudioNotActive:
            self._our_reason = "answered without media; hung up"
            self.hang_up()
            return
        if self._record is not None:
            self._recording = self._record()
            self._media.record(self.call_id, native.audio, self._recording)
        if self._detect_machine:
            self._media.listen(self.call_id, native.audio, lambda: self._tell_once(What.MACHINE_DETECTED))
        if self._detect_talking:
            told = Happened(self.call_id, What.TALKING_STARTED)
            self._media.listen_for_talk(self.call_id, native.audio, lambda: self._tell(told))

    # --- the end ---

    def _on_close(self, close: CloseText) -> None:
        if not self._closed:
            self._closed = True
            self._media.forget(self.call_id)
            if self._limit is not None:
                self._limit.cancel()
            if self._recording is not None:
                self._recording.stop()
            self._finishing = asyncio.get_running_loop().create_task(self._finish(close))

    async def _finish(self, close: CloseText) -> None:
        await self._placed.wait()
        if self._transferring is not None:
            await asyncio.wait({self._transferring})  # it knows of the close, too
        if close.ours and self._answered:
            await self._wait_for_wire(lambda: self._bye_confirmed or self._bye_received, CONFIRM_SECONDS)
        elif close.ours and self._responded.is_set():
            await self._wait_for_wire(self._cancel_confirmed, CONFIRM_SECONDS)
        elif self._answered:
            await self._wait_for_wire(lambda: self._bye_received, TRACE_LAG_SECONDS)
        elif not close.ours and close.sip_code is None:
            await self._wait_for_wire(lambda: self._invite_final is not None, TRACE_LAG_SECONDS)
        if self._transferred:
            ended = ended_transferred()
        elif self._answered:
            ended = ended_answered(close, self._bye_received, self._bye_cause, self._our_reason)
        else:
            ended = ended_unanswered(close, self._invite_final)
        if self._recording is not None:
            ended = msgspec.structs.replace(ended, recorded=await self._recording.complete())
        self._end(ended)

    def _cancel_confirmed(self) -> bool:
        """487 and the like end it; a 2xx that crossed the CANCEL is over when our BYE is confirmed."""
        final = self._invite_final
        return final is not None and (final >= 300 or self._bye_confirmed)

    async def _wait_for_wire(self, seen: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not seen():
                    self._news.clear()
                    await self._news.wait()

    def _end(self, ended: Ended) -> None:
        self._tell(Happened(self.call_id, What.ENDED, ended=ended))
        self._on_ended()


async def _wait_at_most(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
