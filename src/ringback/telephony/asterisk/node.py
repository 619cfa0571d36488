"""One Asterisk: its calls, and the commands that they need. Its connection and health are the keeper's business."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from ringback.telephony.asterisk.client import AriClient, AriRefused, AriUnreachable
from ringback.telephony.asterisk.events import read_channel
from ringback.telephony.asterisk.ids import LISTENS, RECORDS, call_of, channel_id
from ringback.telephony.asterisk.leg import AsteriskLeg
from ringback.telephony.asterisk.placing import Placing
from ringback.telephony.asterisk.recordings import save
from ringback.telephony.asterisk.trunks import TrunkObjects
from ringback.telephony.port import PHONE_LEG

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ringback.clock import Clock
    from ringback.telephony.asterisk.address import NodeAddress
    from ringback.telephony.asterisk.events import AriEvent, Channel
    from ringback.telephony.asterisk.sounds import SoundFolder
    from ringback.telephony.port import DialOrder, Prompt
    from ringback.telephony.sip.addressing import CallAddress

#: An Asterisk that accepts a call and has not begun to dial it by then does not work.
PLACED_SECONDS: Final = 3.0
#: A prompt that ends because of a hang-up is told at most this long before it.
HANG_UP_FOLLOWS_SECONDS: Final = 0.5

_NOT_FOUND: Final = 404

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
        #: Its events come here now.
        self.connected = False
        #: A channel of ours that no call here stands for is nobody's: calls of an earlier process have been settled.
        self.settled = False
        #: Why it takes no calls; empty when it does.
        self.trouble = "not connected yet"
        #: Calls placed since Asterisk was started, as far as it was seen here.
        self.placed = 0
        self._clock = clock
        self._sounds = sounds
        self._detect_machines = detect_machines
        self.client = AriClient(address)
        self._trunks = TrunkObjects(self.client)
        self._placing = Placing(self.client, self._trunks, clock, app=app, name=address.name)
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
            ValueError: it is up already; nothing was sent.
        """
        leg = AsteriskLeg(
            order.call_id,
            channel_id(self.app, order.call_id),
            self,
            target_host=address.request_uri.partition("@")[2],
            record_to=order.record_to,
            detect_machine=self._detect_machines and not order.phone_user,  # our phones are people's
            dialled_at=self._clock.monotonic(),
        )
        self._legs[order.call_id] = leg
        leg.dialling = True
        try:
            await self._placing.place(order, address)
            leg.dialling = False
            self.placed += 1
            async with asyncio.timeout(PLACED_SECONDS):
                await leg.placed.wait()
        except TimeoutError:
            leg.doubtful = True
            self.fall_ill("a call was accepted, and nothing left")
        except AriUnreachable as error:
            # Whether an INVITE left is not known, so it is never sent again: the keeper finds out.
            leg.doubtful = True
            self.fall_ill(f"no answer to a call: {error}")
        except asyncio.CancelledError:
            self.spawn(leg.hang_up())
            raise
        except Exception:
            self.forget(order.call_id)
            raise
        finally:
            leg.dialling = False
        return leg

    async def settle(self, call_id: int, of: str) -> Channel | None:
        """The channel of a call that a process known as ``of`` placed, hung up now; ``None`` when there is none.

        Raises :class:`AriUnreachable` when Asterisk cannot be asked.
        """
        channel = await self.ask(channel_id(of, call_id))
        if channel is not None:
            await self.discard(channel.id)
            await self.discard(channel_id(of, PHONE_LEG + call_id))  # if it was connected with a phone
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
        """Whether the prompt still plays, as far as it is known."""
        try:
            await self.client.request("GET", f"/playbacks/{playback_id}")
        except AriRefused:
            return False
        except AriUnreachable:
            return True  # the next connection asks again
        return True

    def not_played(self, told: Callable[[], bool]) -> None:
        """A prompt does not play, or has broken off: a conversation must not wait for its end."""

        async def tell() -> None:
            # A hang-up in the middle of a prompt is told in this way too, a moment before the end of the call.
            await self._clock.sleep(HANG_UP_FOLLOWS_SECONDS)
            if told():
                _log.error("Asterisk could not play a prompt; can it read the folder?", node=self.address.name)

        self.spawn(tell())

    async def sound(self, prompt: Prompt) -> str:
        """The prompt as a media address of this Asterisk."""
        return await self._sounds.media(prompt)

    async def fetch_recording(self, name: str, path: str) -> bool:
        """Move a stored recording into a file here; false when that failed."""
        stored = f"/recordings/stored/{name}"
        try:
            async with aclosing(self.client.download(f"{stored}/file")) as chunks:
                await save(Path(path), chunks)
        except (AriRefused, AriUnreachable, OSError) as error:
            _log.warning("no recording", node=self.address.name, channel=name, error=str(error))
            return False
        await self.command("DELETE", stored)
        return True

    def spawn(self, work: Coroutine[Any, Any, None], then: Callable[[], None] | None = None) -> None:
        """Do this beside everything else, and ``then`` that, however it went."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                _log.error("an error of Ringback's own", node=self.address.name, exc_info=error)
            if then is not None:
                then()

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)

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
        if event.recording is not None:
            leg = self.leg_of(event.recording.name)
            if leg is not None:
                leg.on_recorded()
            return
        if event.playback is not None and event.type == "PlaybackFinished":
            leg = self.leg_of(event.playback.id.rpartition("-p")[0])
            if leg is not None:
                if event.playback.state == "failed":
                    self.not_played(partial(leg.on_played, event.playback.id))
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
        if self.settled and call_of(channel.id, self.app) is not None and event.begins:
            # Accepted after all, when the call had been told as lost.
            _log.warning("hanging up a call that nobody follows", node=self.address.name, channel=channel.id)
            self.spawn(self.discard(channel.id))
            return
        for kind in (LISTENS, RECORDS):
            leg = self.leg_of(channel.id.removeprefix(kind)) if channel.id.startswith(kind) else None
            if leg is not None:
                leg.on_side_channel(kind, event)

    async def resync(self) -> None:
        """After a gap in the events: every call is asked for, and trunks are made again."""
        self._trunks.forget()
        for leg in self.legs:
            await self.ask_about(leg)

    async def ask_about(self, leg: AsteriskLeg) -> None:
        """Tell a call what has become of it. Raises :class:`AriUnreachable`."""
        if not leg.dialling:  # or its channel may be about to come up
            await leg.resync(await self.ask(leg.channel_id))

    async def discard(self, channel: str) -> None:
        """Hang up a channel that nobody follows."""
        await self.command("DELETE", f"/channels/{channel}")

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
        for leg in self.legs:
            leg.lost("the connection to Asterisk was closed", collect=False)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()
