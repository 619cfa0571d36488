"""One live call at an Asterisk: what Asterisk says of its channel becomes the port's events, each once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.telephony.addresses import check_callee
from ringback.telephony.asterisk.bridging import Bridge
from ringback.telephony.asterisk.ending import Farewell, ended
from ringback.telephony.asterisk.ids import LISTENS, RECORDS
from ringback.telephony.asterisk.talking import Talking
from ringback.telephony.port import (
    Answered,
    CallEvent,
    EarlyMedia,
    Ended,
    EngineUnavailable,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    PromptFinished,
    Ringing,
    TalkingStarted,
    Transferred,
    Trying,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.telephony.asterisk.commands import Commands
    from ringback.telephony.asterisk.events import AriEvent, Channel
    from ringback.telephony.port import Leg, Prompt

#: First argument with which a side channel enters the application; machine detection and transfer have their own.
SIDE: Final = "side"
#: How long the end of a recording may come after the end of its call.
RECORDED_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class AsteriskLeg:
    """Implements :class:`ringback.telephony.port.Leg`. ``target_host``: host and port that a transfer goes to."""

    def __init__(
        self,
        call_id: int,
        channel_id: str,
        asterisk: Commands,
        *,
        target_host: str,
        record_to: str = "",
        detect_machine: bool = True,
        dialled_at: float = 0.0,
    ) -> None:
        self.call_id = call_id
        self.channel_id = channel_id
        self.dialled_at = dialled_at
        #: Set when Asterisk has begun to dial, or the call is over.
        self.placed = asyncio.Event()
        #: The request to place it is under way: whether there is a channel says nothing yet.
        self.dialling = False
        #: Asterisk must be asked for the channel: a request about it was not answered, or to no purpose.
        self.doubtful = False
        self._asterisk = asterisk
        self._target_host = target_host
        self._record_to = record_to
        self._detect_machine = detect_machine
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue()
        self._told: set[type[CallEvent]] = set()
        self._known = Farewell()
        self._our_reason = "hung up"
        self._recording = False  # one may be at Asterisk
        self._recorded = asyncio.Event()
        self._has_recording = False  # it is here
        self._talking = Talking(lambda: self._tell(TalkingStarted()))
        self._prompts = 0
        self._playing: str | None = None
        #: That it is in, with another call.
        self.bridge: Bridge | None = None
        self._over = False

    @property
    def silent(self) -> bool:
        """Whether nothing of the far side is known yet."""
        return not self._over and not self._told

    @property
    def talks(self) -> bool:
        """Whether the call is up."""
        return not self._over and Answered in self._told

    # --- the port ---

    async def next_event(self) -> CallEvent:
        """Wait for the next event, in order. After :class:`Ended` it must not be called again."""
        return await self._events.get()

    async def play(self, prompt: Prompt) -> None:
        """Start playing; replaces what is playing. Does nothing on a call that is not up (any more)."""
        if not self.talks:
            return
        if self.bridge is not None:
            await self.bridge.dissolve()
        try:
            media = await self._asterisk.sound(prompt)
        except OSError as error:
            media = ""
            _log.error("a prompt cannot be written", call_id=self.call_id, error=str(error))
        await self.stop_playing()  # or the new one would wait for the old one's end
        self._prompts += 1
        playing = self._playing = f"{self.channel_id}-p{self._prompts}"
        if not media or not await self._channel("POST", f"/play/{playing}", {"media": media}):
            self._asterisk.not_played(lambda: self.on_played(playing))
        elif self._playing != playing and not self._over:
            # Stopped before it was there to be stopped, or over already, and then this does nothing.
            await self._asterisk.command("DELETE", f"/playbacks/{playing}")

    async def stop_playing(self) -> None:
        """Stop at once; no :class:`PromptFinished` follows. Does nothing when nothing plays."""
        playing, self._playing = self._playing, None
        if playing is not None and not self._over:
            await self._asterisk.command("DELETE", f"/playbacks/{playing}")

    async def transfer(self, target: str) -> None:
        """Blind transfer by REFER, in Asterisk's dialplan. Raises ValueError when ``target`` is no number."""
        check_callee(target, "transfer target")
        if not self.talks:
            return
        await self.stop_playing()  # the channel leaves the application only when nothing plays
        address = {"variable": "RINGBACK_TARGET", "value": f"sip:{target}@{self._target_host}"}
        place = {"context": "ringback-transfer", "extension": self._asterisk.app, "priority": "1"}
        if not (await self._channel("POST", "/variable", address) and await self._channel("POST", "/continue", place)):
            self._tell(Transferred(accepted=False))

    async def connect(self, other: Leg) -> None:
        """Put both channels into a bridge, which goes with the first of them. Raises :class:`EngineUnavailable`."""
        if not isinstance(other, AsteriskLeg) or not other.is_at(self._asterisk):
            raise EngineUnavailable("the calls are not at the same Asterisk")
        if not self.talks or not other.talks:
            return
        await self.stop_playing()
        await other.stop_playing()
        self.bridge = other.bridge = Bridge(self._asterisk, self.call_id)
        if not await self.bridge.join(self.channel_id, other.channel_id) and self.talks and other.talks:
            raise EngineUnavailable("Asterisk did not connect the calls")

    def is_at(self, asterisk: Commands) -> bool:
        """Whether the call is at that Asterisk."""
        return self._asterisk is asterisk

    async def hang_up(self) -> None:
        """CANCEL or BYE; :class:`Ended` follows. Does nothing on a call that has ended."""
        if not self._over and not self._known.ours:
            self._known.ours = True
            await self._send_hang_up()

    # --- what Asterisk says ---

    def on_event(self, event: AriEvent) -> None:
        """Take an event of the call's own channel."""
        if self._over:
            return
        match event.type:
            case "Dial":
                self.placed.set()
                self._on_dial(event.dialstatus)
            case "ChannelStateChange" if event.channel is not None:
                self._on_state(event.channel.state)
            case "StasisStart":
                self._on_entered(event.args)
            case "ChannelDtmfReceived" if event.digit and Answered in self._told:
                self._tell(KeyPressed(event.digit))
            case "ChannelTalkingStarted" if Answered in self._told:
                self._talking.started()
            case "ChannelTalkingFinished":
                self._talking.finished()
            case "ChannelHangupRequest" if not event.soft:
                self._known.asked = True
                self._known.sip_code, self._known.q850_cause = event.tech_cause, event.cause
            case "ChannelDestroyed":
                self._known.last_cause = event.cause
                if self._known.asked and event.cause:
                    self._known.q850_cause = event.cause
                self._end(ended(self._known, self._our_reason))

    def on_played(self, playback_id: str) -> bool:
        """A prompt has been played to its end, or was stopped; true when the call was waiting for it."""
        if self._over or playback_id != self._playing:
            return False
        self._playing = None
        self._tell(PromptFinished())
        return True

    def on_side_channel(self, kind: str, event: AriEvent) -> None:
        """Take an event of a side channel: it is there, or the machine detection has a verdict."""
        if event.type != "StasisStart" or event.channel is None:
            return
        side = f"/channels/{event.channel.id}"
        match event.args:
            case ["side"] if kind == LISTENS:
                place = {"context": "ringback-amd", "extension": self._asterisk.app, "priority": "1"}
                self._spawn("POST", f"{side}/continue", place)
            case ["side"] if kind == RECORDS:
                self._asterisk.spawn(self._record(side))
            case ["detected", verdict, *cause]:
                _log.debug("greeting heard", call_id=self.call_id, verdict=verdict, cause=cause)
                # A callee who says nothing is not a machine; Asterisk takes one for it.
                if verdict == "MACHINE" and not any(why.startswith("INITIALSILENCE") for why in cause):
                    self._tell_once(MachineDetected())
                self._spawn("DELETE", side)

    def on_recorded(self) -> None:
        """The recording is complete at Asterisk, or failed."""
        self._recorded.set()

    def responded(self) -> None:
        """The trunk has sent a response, though none that Asterisk tells by itself."""
        if self.silent:
            self._tell_once(Trying())

    async def resync(self, channel: Channel | None) -> None:
        """After a gap in the events: this is the channel now, or it is gone."""
        if self._over:
            return
        if channel is None:
            self.lost("the call ended while the connection to Asterisk was down")
            return
        self.placed.set()
        self.doubtful = False
        if self._known.ours:
            await self._send_hang_up()
            return
        self._on_state(channel.state)
        if channel.state == "Up":
            self._on_entered([])
        playing = self._playing
        if playing is not None and not await self._asterisk.has_playback(playing):
            self.on_played(playing)

    def lost(self, reason: str, *, collect: bool = True) -> None:
        """What became of the call cannot be known any more. ``collect``: Asterisk can be asked for the recording."""
        if self._over:
            return
        by = HungUpBy.RINGBACK if self._known.up else None
        self._end(Ended(engine_failed=True, hung_up_by=by, reason=reason), collect=collect)

    # --- its parts ---

    def _on_dial(self, status: str) -> None:
        if status == "RINGING":
            self._tell_once(Ringing())
        elif status == "PROGRESS":
            self._tell_once(EarlyMedia())

    def _on_state(self, state: str) -> None:
        if state == "Ringing":
            self._tell_once(Ringing())
        elif state == "Up":
            self._known.up = True

    def _on_entered(self, args: list[str]) -> None:
        match args:
            case []:
                self._on_answer()
            case ["transferred", status, *code]:
                self._on_transferred(accepted=status == "SUCCESS", code="".join(code))

    def _on_answer(self) -> None:
        self._known.up = True
        if Answered in self._told:
            return
        self._tell_once(Answered())
        if self._known.ours:
            return  # a hang-up is on its way
        if self._detect_machine:
            self._listen_in(LISTENS, "in")
        if self._record_to:
            self._listen_in(RECORDS, "both")

    def _listen_in(self, kind: str, what: str) -> None:
        params = {"spy": what, "app": self._asterisk.app, "appArgs": SIDE}
        self._spawn("POST", f"/channels/{self.channel_id}/snoop/{kind}{self.channel_id}", params)

    async def _record(self, side: str) -> None:
        params = {"name": self.channel_id, "format": "wav", "ifExists": "overwrite"}
        self._recording = True  # from here on, whatever is answered
        if not await self._asterisk.command("POST", f"{side}/record", params):
            self._recorded.set()

    def _on_transferred(self, *, accepted: bool, code: str) -> None:
        self._tell(Transferred(accepted, int(code) if code.isdecimal() and int(code) >= 100 else None))
        if accepted:
            self._our_reason = "transferred"
            self._asterisk.spawn(self.hang_up())

    def _end(self, end: Ended, *, collect: bool = True) -> None:
        if self._known.up and Answered not in self._told:
            self._tell_once(Answered())  # it ended before it could enter the application
        self._over = True
        self.placed.set()
        if self.bridge is not None:
            self._asterisk.spawn(self.bridge.dissolve())
        if self._recording and collect:
            self._asterisk.spawn(self._collect(), then=lambda: self._tell_end(end))
        else:
            self._tell_end(end)

    async def _collect(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECORDED_SECONDS):
                await self._recorded.wait()
        self._has_recording = await self._asterisk.fetch_recording(self.channel_id, self._record_to)

    def _tell_end(self, end: Ended) -> None:
        self._asterisk.forget(self.call_id)
        self._events.put_nowait(msgspec.structs.replace(end, recorded=self._has_recording))

    async def _send_hang_up(self) -> None:
        # Not done may mean that it has just ended, and then its end comes; if not, Asterisk is asked.
        self.doubtful = not await self._channel("DELETE")

    def _tell(self, event: CallEvent) -> None:
        if not self._over:
            self._events.put_nowait(event)

    def _tell_once(self, event: CallEvent) -> None:
        if type(event) not in self._told:
            self._told.add(type(event))
            self._tell(event)

    async def _channel(self, method: str, path: str = "", params: Mapping[str, str] | None = None) -> bool:
        return await self._asterisk.command(method, f"/channels/{self.channel_id}{path}", params)

    def _spawn(self, method: str, path: str, params: Mapping[str, str] | None = None) -> None:
        async def send() -> None:
            await self._asterisk.command(method, path, params)

        self._asterisk.spawn(send())
