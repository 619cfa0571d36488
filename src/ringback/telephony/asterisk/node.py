"""One Asterisk: its calls, and the commands that they need. Its connection and health are the keeper's business."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from ringback.telephony.asterisk.client import AriClient, AriRefused, AriUnreachable
from ringback.telephony.asterisk.events import read_channel
from ringback.telephony.asterisk.leg import LISTENS, RECORDS, AsteriskLeg
from ringback.telephony.asterisk.recordings import save
from ringback.telephony.asterisk.talking import TALK_DETECT
from ringback.telephony.asterisk.trunks import TrunkObjects
from ringback.telephony.port import EngineUnavailable
from ringback.telephony.sip.addressing import CALL_HEADER, TASK_HEADER

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from ringback.clock import Clock
    from ringback.telephony.asterisk.address import NodeAddress
    from ringback.telephony.asterisk.events import AriEvent, Channel
    from ringback.telephony.asterisk.sounds import SoundFolder
    from ringback.telephony.port import DialOrder, Prompt
    from ringback.telephony.sip.addressing import CallAddress

#: An Asterisk that accepts a call and has not begun to dial it by then does not work.
PLACED_SECONDS: Final = 3.0
#: Enough for ten thousand calls a second over thousands of years.
ID_DIGITS: Final = 16
#: A prompt that ends because of a hang-up is told at most this long before it.
HANG_UP_FOLLOWS_SECONDS: Final = 0.5

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409

_log = structlog.get_logger(__name__)


class Node:
    """``app`` names the ARI application and begins every channel id."""

    def __init__(
        self, address: NodeAddress, clock: Clock, sounds: SoundFolder, *, app: str, detect_machines: bool
    ) -> None:
        self.address = address
        self.app = app
        #: Takes no new calls; those it has go on.
        self.draining = False
        #: Why it takes no calls; empty when it does.
        self.trouble = "not connected yet"
        #: Calls placed since Asterisk was started, as far as it was seen here.
        self.placed = 0
        self._clock = clock
        self._sounds = sounds
        self._detect_machines = detect_machines
        self.client = AriClient(address)
        self._trunks = TrunkObjects(self.client)
        self._legs: dict[int, AsteriskLeg] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def live_calls(self) -> int:
        """Calls that have not ended."""
        return len(self._legs)

    @property
    def free_lines(self) -> int:
        """How many more calls it takes now."""
        return 0 if self.trouble or self.draining else max(0, self.address.lines - len(self._legs))

    def has_call(self, call_id: int) -> bool:
        """Whether this call is up here."""
        return call_id in self._legs

    # --- calls ---

    async def dial(self, order: DialOrder, address: CallAddress) -> AsteriskLeg:
        """Place a call; returns when Asterisk has begun to dial.

        Raises:
            EngineUnavailable: nothing was sent.
        """
        leg = AsteriskLeg(
            order.call_id,
            self._channel_id(order.call_id),
            self,
            target_host=address.request_uri.partition("@")[2],
            record_to=order.record_to,
            detect_machine=self._detect_machines,
            dialled_at=self._clock.monotonic(),
        )
        self._legs[order.call_id] = leg
        try:
            await self._originate(order, address, leg)
        except EngineUnavailable:
            self.forget(order.call_id)
            raise
        except AriUnreachable as error:
            # Whether an INVITE left is not known: the connection finds out, or tells it as lost.
            _log.error("no answer to a call", node=self.address.name, call_id=order.call_id, error=str(error))
            self.spawn(self._ask_for(leg))
            return leg
        except asyncio.CancelledError:
            self.spawn(leg.hang_up())
            raise
        self.placed += 1
        try:
            async with asyncio.timeout(PLACED_SECONDS):
                await leg.placed.wait()
        except TimeoutError:
            self.fall_ill("a call was accepted, and nothing left")
        return leg

    async def _originate(self, order: DialOrder, address: CallAddress, leg: AsteriskLeg) -> None:
        body: dict[str, Any] = {
            "app": self.app,
            "channelId": leg.channel_id,
            # The ring timer is the dialler's. This one ends what it cannot end any more.
            "timeout": round(order.most_seconds),
            "variables": {
                f"PJSIP_HEADER(add,{CALL_HEADER})": str(order.call_id),
                f"PJSIP_HEADER(add,{TASK_HEADER})": str(order.task_id),
                "TIMEOUT(absolute)": str(round(order.most_seconds)),
            },
        }
        if order.detect_talking:
            body["variables"]["TALK_DETECT(set)"] = TALK_DETECT
        if order.caller_id:
            body["callerId"] = f"<{address.account.user}>"
        for last_try in (False, True):
            try:
                endpoint = await self._trunks.endpoint(address.account, own_caller=bool(order.caller_id))
            except (AriRefused, AriUnreachable) as error:
                raise EngineUnavailable(f"Asterisk {self.address.name} took no trunk: {error}") from error
            if self._clock.monotonic() > order.leave_by:
                raise EngineUnavailable("it is too late for this call to leave")
            body["endpoint"] = f"PJSIP/{endpoint}/{address.request_uri}"
            try:
                await self.client.request("POST", "/channels", body=body)
            except AriRefused as error:
                if error.status == _CONFLICT:
                    raise ValueError(f"call {order.call_id} is up already") from error
                self._trunks.forget(endpoint)  # restarted behind our back, it knows no trunk
                if last_try:
                    raise EngineUnavailable(f"Asterisk {self.address.name} refused the call: {error}") from error
            except AriUnreachable as error:
                if error.sent:
                    raise
                raise EngineUnavailable(f"Asterisk {self.address.name} is not there: {error}") from error
            else:
                return

    async def settle(self, call_id: int) -> Channel | None:
        """The channel of a call that an earlier process placed, hung up now; ``None`` when there is none.

        Raises :class:`AriUnreachable` when Asterisk cannot be asked.
        """
        channel = await self.ask(self._channel_id(call_id))
        if channel is not None:
            await self.command("DELETE", f"/channels/{channel.id}")
        return channel

    async def hang_up_all(self) -> None:
        """Hang up every call."""
        await asyncio.gather(*(leg.hang_up() for leg in list(self._legs.values())))

    # --- what legs need ---

    async def command(self, method: str, path: str, params: Mapping[str, str] | None = None) -> bool:
        """Send a command; false when Asterisk refused it or did not answer."""
        try:
            await self.client.request(method, path, params=params)
        except AriRefused as error:
            # Mostly a call that has just ended; whoever minds says so.
            _log.debug("Asterisk refused a command", node=self.address.name, method=method, path=path, error=str(error))
            return False
        except AriUnreachable as error:
            _log.warning("Asterisk did not take a command", node=self.address.name, method=method, error=str(error))
            return False
        return True

    async def has_playback(self, playback_id: str) -> bool:
        """Whether the prompt still plays."""
        try:
            await self.client.request("GET", f"/playbacks/{playback_id}")
        except (AriRefused, AriUnreachable):
            return False
        return True

    def not_played(self, leg: AsteriskLeg, playback_id: str) -> None:
        """A prompt does not play, or has broken off: a conversation must not wait for its end."""

        async def say_so() -> None:
            # A hang-up in the middle of a prompt is told in this way too, a moment before the end of the call.
            await self._clock.sleep(HANG_UP_FOLLOWS_SECONDS)
            if leg.on_played(playback_id):
                _log.error("Asterisk could not play a prompt; can it read the folder?", node=self.address.name)

        self.spawn(say_so())

    async def sound(self, prompt: Prompt) -> str:
        """The prompt as a media address of this Asterisk."""
        return await self._sounds.media(prompt)

    async def fetch_recording(self, name: str, path: str) -> bool:
        """Move a stored recording into a file here; false when that failed."""
        stored = f"/recordings/stored/{name}"
        try:
            await save(Path(path), self.client.download(f"{stored}/file"))
        except (AriRefused, AriUnreachable, OSError) as error:
            _log.warning("no recording", node=self.address.name, channel=name, error=str(error))
            return False
        await self.command("DELETE", stored)
        return True

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, call_id: int) -> None:
        """The call has ended."""
        self._legs.pop(call_id, None)

    # --- what its keeper needs ---

    @property
    def legs(self) -> list[AsteriskLeg]:
        """The calls that have not ended."""
        return list(self._legs.values())

    def leg_of(self, channel_id: str) -> AsteriskLeg | None:
        """The call of a channel, if there is one here."""
        call_id = call_of(channel_id, self.app)
        return None if call_id is None else self._legs.get(call_id)

    def hand_out(self, event: AriEvent) -> None:
        """Give an event to the call that it concerns."""
        if event.playback is not None:
            leg = self.leg_of(event.playback.id.rpartition("-p")[0])
            if leg is not None:
                if event.playback.state == "failed":
                    self.not_played(leg, event.playback.id)
                else:
                    leg.on_played(event.playback.id)
            return
        channel = event.about
        if channel is None:
            return
        leg = self.leg_of(channel.id)
        if leg is not None:
            leg.on_event(event)
            return
        for kind in (LISTENS, RECORDS):
            leg = self.leg_of(channel.id.removeprefix(kind)) if channel.id.startswith(kind) else None
            if leg is not None:
                leg.on_side_channel(kind, event)

    async def resync(self) -> None:
        """After a gap in the events: every call is asked for, and trunks are made again."""
        self._trunks.forget()
        for leg in self.legs:
            await leg.resync(await self.ask(leg.channel_id))

    async def ask(self, channel_id: str) -> Channel | None:
        """The channel, ``None`` when there is none. Raises :class:`AriUnreachable`."""
        try:
            return read_channel(await self.client.request("GET", f"/channels/{channel_id}"))
        except AriRefused as error:
            if error.status != _NOT_FOUND:
                raise AriUnreachable(str(error), sent=True) from error
            return None

    def fall_ill(self, reason: str) -> None:
        """Take no calls, for this reason, until :meth:`get_well`."""
        if reason != self.trouble:
            _log.error("Asterisk takes no calls", node=self.address.name, reason=reason, calls=len(self._legs))
        self.trouble = reason

    def get_well(self) -> None:
        """Take calls."""
        if self.trouble:
            _log.info("Asterisk is well", node=self.address.name, was=self.trouble)
        self.trouble = ""

    async def close(self) -> None:
        """Let go of everything; what is still up stays at Asterisk until its time limit."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for leg in self.legs:
            leg.lost("the connection to Asterisk was closed")
        await self.client.close()

    async def _ask_for(self, leg: AsteriskLeg) -> None:
        with contextlib.suppress(AriUnreachable):  # then the next connection asks
            await leg.resync(await self.ask(leg.channel_id))

    def _channel_id(self, call_id: int) -> str:
        # All of one length: Asterisk takes "ringback-1" for the beginning of "ringback-10", refuses the one while the
        # other is up, and would hang up the wrong one.
        return f"{self.app}-{call_id:0{ID_DIGITS}}"


def call_of(channel_id: str, app: str) -> int | None:
    """The call id in a channel id of ours; ``None`` for every other channel."""
    rest = channel_id.removeprefix(f"{app}-")
    return int(rest) if rest != channel_id and rest.isdecimal() else None
