"""One call at the carrier: what the callee does, as a SIP dialog with media."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from aiosipua import create_dialog_from_request

from ringback.farend import log as entries
from ringback.farend import sounds
from ringback.farend.ear import Ear
from ringback.farend.media import RtpStream
from ringback.farend.offer import Offer, UnacceptableOffer, answer, read_offer
from ringback.farend.responses import build_response
from ringback.model.sandbox_numbers import Behaviour, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiosipua import SipRequest

    from ringback.clock import Clock
    from ringback.farend.log import CallLog
    from ringback.farend.media import MediaClock
    from ringback.farend.timing import Timing
    from ringback.farend.transactions import ServerTransaction, TransactionLayer

#: What a 302 points at: an address that nobody may follow to.
REDIRECT_CONTACT: Final = "<sip:elsewhere@redirect.invalid>"
#: What a network says when a phone has rung for as long as it may and nobody came.
_NO_ANSWER_CODE: Final = 480

_log = structlog.get_logger(__name__)


class _NoSocket(Exception):
    """The system has no socket left for the audio."""


@dataclass(frozen=True)
class Switch:
    """What all calls of a carrier share."""

    clock: Clock
    timing: Timing
    log: CallLog
    sip: TransactionLayer
    media: MediaClock


class Call:
    """A call that was counted. ``host`` and ``port`` are our address as the caller sees it."""

    def __init__(self, switch: Switch, invite: ServerTransaction, behaviour: Behaviour, host: str, port: int) -> None:
        self._switch = switch
        self._invite = invite
        self._behaviour = behaviour
        self._address = (host, port)
        self._dialog = create_dialog_from_request(invite.request)
        self._offer: Offer | None = None
        self._stream: RtpStream | None = None
        self._bye_by: entries.By | None = None
        self._ended = False
        self._task: asyncio.Task[None] | None = None

    @property
    def tag(self) -> str:
        """Our tag: names the dialog in every later request."""
        return self._dialog.local_tag

    @property
    def is_silent(self) -> bool:
        """Nothing may be answered on this call."""
        return self._behaviour.kind is Kind.SILENT

    def start(self, on_done: Callable[[Call], None]) -> None:
        """Let the callee act; ``on_done`` is called once nothing of the call is left."""

        def done(task: asyncio.Task[None]) -> None:
            self._end()
            if not task.cancelled() and task.exception() is not None:
                _log.error("a call failed", sip_call_id=self._dialog.call_id, exc_info=task.exception())
            on_done(self)

        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(done)

    # --- what the caller does ---

    def cancel(self) -> None:
        """CANCEL (or a BYE before the answer): the caller has given up."""
        if self._invite.is_final or self._ended:
            return
        if not self.is_silent:
            self._respond(487)
        self._switch.log.write(entries.Cancelled(**self._stamp()))
        self._stop()

    def bye(self) -> None:
        """BYE: the caller has hung up."""
        if not self._invite.is_final:
            self.cancel()
            return
        self._invite.acknowledge()  # whoever hangs up has got the 200
        if self._bye_by is None:
            self._note_bye(entries.By.CALLER)
            self._stop()

    def reinvite(self, transaction: ServerTransaction) -> None:
        """INVITE within the dialog: the caller moves or holds its audio, or only asks whether we are still there."""
        request = transaction.request
        sequence = request.cseq
        if sequence is None or sequence.seq <= self._dialog.remote_cseq:
            transaction.respond(build_response(request, 500, tag=self.tag))
            return
        self._dialog.remote_cseq = sequence.seq
        if self._stream is None or self._offer is None:
            transaction.respond(build_response(request, 491, tag=self.tag))
            return
        try:
            if request.body:
                self._offer = read_offer(request, self._address[0])
                self._stream.follow(self._offer)
            sdp = self._answer_sdp(self._offer, self._stream)
        except UnacceptableOffer:
            transaction.respond(build_response(request, 488, tag=self.tag))
            return
        transaction.respond(build_response(request, 200, tag=self.tag, contact=self._contact(), sdp=sdp))

    async def shut_down(self) -> None:
        """The carrier closes: refuse the call, or hang up and wait for the answer."""
        if self._invite.status == 200 and self._bye_by is None:
            bye = self._make_bye()
            self._stop()
            await self._switch.sip.request(bye, self._invite.source)
            return
        if not self._invite.is_final and not self.is_silent:
            self._refuse(503)
        self._stop()

    # --- what the callee does ---

    async def _run(self) -> None:
        acts: dict[Kind, Callable[[], Awaitable[None]]] = {
            Kind.PERSON: self._person,
            Kind.PRESSES_KEY: self._person,
            Kind.VOICEMAIL: self._voicemail,
            Kind.HANGS_UP: self._hangs_up,
            Kind.REFUSES: self._refuses,
            Kind.RINGS_ON: self._rings_on,
            Kind.EARLY_MEDIA: self._early_media,
            Kind.SILENT: self._silent,
        }
        try:
            await acts[self._behaviour.kind]()
        except UnacceptableOffer:
            self._refuse(488)
        except _NoSocket as error:
            _log.warning("no media", error=str(error))
            self._refuse(503)

    async def _person(self) -> None:
        timing = self._switch.timing
        stream = await self._ring_and_answer()
        ear = Ear(stream.payload_type, timing.prompt_silence)
        if self._behaviour.key is not None:
            stream.listen(ear)  # from the start: a short prompt may be over before the hello is
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timing.longest_listen):
                await stream.play(sounds.hello(stream.payload_type))
                if self._behaviour.key is not None:
                    await self._press_after_prompt(stream, ear, self._behaviour.key)
                await _for_ever()
        await self._hang_up()

    async def _press_after_prompt(self, stream: RtpStream, ear: Ear, key: str) -> None:
        try:
            await asyncio.wait_for(ear.heard.wait(), self._switch.timing.no_prompt)
        except TimeoutError:
            _log.info("no prompt was heard", sip_call_id=self._dialog.call_id)
        else:
            await ear.over.wait()

        def pressed() -> None:
            self._switch.log.write(entries.KeySent(**self._stamp(), key=key))

        if not await stream.press(key, pressed):
            _log.warning("the caller takes no telephone-events", sip_call_id=self._dialog.call_id)

    async def _voicemail(self) -> None:
        timing = self._switch.timing
        stream = await self._ring_and_answer()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timing.longest_listen):
                await stream.play(sounds.greeting(stream.payload_type, timing.voicemail_greeting))
                await _for_ever()
        await self._hang_up()

    async def _hangs_up(self) -> None:
        await self._ring_and_answer()
        await self._switch.clock.sleep(self._switch.timing.hangs_up_after)
        await self._hang_up()

    async def _refuses(self) -> None:
        self._refuse(self._final_code())

    async def _rings_on(self) -> None:
        self._respond(180)
        await self._switch.clock.sleep(self._switch.timing.longest_ring)
        self._refuse(_NO_ANSWER_CODE)

    async def _early_media(self) -> None:
        offer = self._read_offer()
        stream = await self._open_stream(offer)
        self._respond(183, sdp=self._answer_sdp(offer, stream))
        stream.start()
        await stream.play(sounds.announcement(stream.payload_type, self._switch.timing.early_media))
        self._refuse(self._final_code())

    async def _silent(self) -> None:
        self._invite.ignore()
        await self._switch.clock.sleep(self._switch.timing.give_up)

    # --- the steps they are made of ---

    async def _ring_and_answer(self) -> RtpStream:
        offer = self._read_offer()
        self._respond(180)
        await self._switch.clock.sleep(self._switch.timing.ring)
        stream = await self._open_stream(offer)
        self._respond(200, sdp=self._answer_sdp(offer, stream))
        self._dialog.confirm()
        self._switch.log.write(entries.Answered(**self._stamp()))
        stream.start()
        return stream

    def _read_offer(self) -> Offer:
        self._offer = read_offer(self._invite.request, self._address[0])
        return self._offer

    async def _open_stream(self, offer: Offer) -> RtpStream:
        self._stream = RtpStream(self._switch.media, offer)
        try:
            await self._stream.open(self._address[0])
        except OSError as error:
            raise _NoSocket(str(error)) from error
        return self._stream

    def _answer_sdp(self, offer: Offer, stream: RtpStream) -> str:
        return answer(offer, self._address[0], stream.port, self._switch.clock.now_ms())

    def _respond(self, code: int, *, sdp: str = "", contact: str | None = None) -> None:
        contact = contact or self._contact()
        self._invite.respond(build_response(self._invite.request, code, tag=self.tag, contact=contact, sdp=sdp))

    def _refuse(self, code: int) -> None:
        self._respond(code, contact=REDIRECT_CONTACT if code == 302 else None)
        self._switch.log.write(entries.Refused(**self._stamp(), code=code))

    def _final_code(self) -> int:
        assert self._behaviour.sip_code is not None, "this behaviour refuses"
        return self._behaviour.sip_code

    async def _hang_up(self) -> None:
        # RFC 3261 section 15: no BYE before the caller has the answer, or never will.
        await self._invite.wait_acknowledged()
        bye = self._make_bye()
        self._end()
        await self._switch.sip.request(bye, self._invite.source)

    def _make_bye(self) -> SipRequest:
        host, port = self._address
        bye = self._dialog.create_request("BYE", via_host=host, via_port=port)
        bye.set_header("Reason", "Q.850;cause=16")
        self._note_bye(entries.By.FAREND)
        return bye

    def _note_bye(self, by: entries.By) -> None:
        self._bye_by = by
        self._switch.log.write(entries.Bye(**self._stamp(), by=by))

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _end(self) -> None:
        """The line is free: nothing is heard or sent any more, though a BYE of ours may still be unanswered."""
        if self._ended:
            return
        self._ended = True
        if self._stream is not None:
            self._stream.close()
        self._switch.log.write(entries.Ended(**self._stamp()))

    def _contact(self) -> str:
        host, port = self._address
        return f"<sip:{f'[{host}]' if ':' in host else host}:{port}>"

    def _stamp(self) -> entries.Stamp:
        return {"at_ms": self._switch.clock.now_ms(), "sip_call_id": self._dialog.call_id}


async def _for_ever() -> None:
    await asyncio.Event().wait()
