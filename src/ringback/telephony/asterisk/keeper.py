"""Keeps one Asterisk connected, and knows whether it is well.

The connection is made again for ever, with growing pauses. Whenever it comes back every call is asked for by its
channel id: what lives is followed on, what is gone is told as lost, and channels that nobody here knows are hung up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from ringback.telephony.asterisk.client import AriRefused, AriUnreachable
from ringback.telephony.asterisk.events import WANTED, read_channels
from ringback.telephony.asterisk.ids import call_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ringback.clock import Clock
    from ringback.telephony.asterisk.events import AriEvent
    from ringback.telephony.asterisk.leg import AsteriskLeg
    from ringback.telephony.asterisk.node import Node

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
#: Another program under our name: taking the name back at once would go on for ever.
REPLACED_PAUSE_SECONDS: Final = 30.0
#: Calls whose Asterisk stays away so long are told as lost.
LOST_AFTER_SECONDS: Final = 60.0
CANARY_EVERY_SECONDS: Final = 5.0
CANARY_SECONDS: Final = 3.0
#: With which the dialplan of `ringback asterisk config` ends a test call.
CANARY_CAUSE: Final = 17
#: Channels that nobody knows are looked for after so many canaries, and first of all on every later connection; not
#: before, when calls of an earlier process may still be waiting to be settled.
SWEEP_EVERY: Final = 6
#: A call without any sign is asked about this often: Asterisk tells no 100 by itself.
SILENCE_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class _Ill(Exception):
    """Asterisk answers and does not work."""


#: What ends a connection without being an error of ours.
_ENDS = (AriRefused, AriUnreachable, msgspec.DecodeError, _Ill)


class Keeper:
    """Use :meth:`run` in a task of its own."""

    def __init__(self, node: Node, clock: Clock) -> None:
        #: Set once the first attempt to connect is over, well or not.
        self.tried = asyncio.Event()
        self._node = node
        self._clock = clock
        self._canaries = 0
        self._canary_cause: int | None = None
        self._until_sweep = SWEEP_EVERY
        self._in_doubt: set[AsteriskLeg] = set()
        self._canary_ended = asyncio.Event()
        self._well_at = clock.monotonic()
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        while True:
            try:
                async with self._node.client.events(self._node.app) as events:
                    await self._use(events)
            except Exception as error:  # noqa: BLE001 - no call may go to an Asterisk that nobody watches
                self._fall_ill(error)
            self.tried.set()
            if self._clock.monotonic() - self._well_at >= LOST_AFTER_SECONDS:
                for leg in self._node.legs:
                    reason = f"Asterisk {self._node.address.name} has been away for {LOST_AFTER_SECONDS:g} s"
                    leg.lost(reason, collect=False)
            await self._clock.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _use(self, events: AsyncIterator[AriEvent]) -> None:
        """One connection, to its end. It is known as ill from the moment it fails: saying goodbye may take a while."""
        node = self._node
        node.connected = True
        try:
            wanted = {"allowed": [{"type": kind} for kind in WANTED]}
            await node.client.request("PUT", f"/applications/{node.app}/eventFilter", body=wanted)
            async with asyncio.TaskGroup() as beside:
                works = [beside.create_task(work) for work in (self._watch(), self._look_after_calls())]
                try:
                    await self._follow(events)
                finally:
                    for work in works:
                        work.cancel()
        except Exception as error:  # noqa: BLE001 - as in run
            self._fall_ill(error)
        else:
            node.fall_ill("the connection was closed")
        finally:
            node.connected = False

    def _fall_ill(self, error: Exception) -> None:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, _ENDS):
            _log.error("an error of Ringback's own", node=self._node.address.name, exc_info=error)
        self._node.fall_ill(str(error) or type(error).__name__)

    async def _follow(self, events: AsyncIterator[AriEvent]) -> None:
        async for event in events:
            if event.type == "ApplicationReplaced":
                self._pause = REPLACED_PAUSE_SECONDS
                self._node.settled = False  # channels of our name may be the other program's
                self._until_sweep = SWEEP_EVERY
                raise _Ill(f"another program uses the name {self._node.app!r}")
            if event.type == "ChannelDestroyed" and event.about is not None and event.about.id == self._canary_id:
                self._canary_cause = event.cause
                self._canary_ended.set()
            else:
                self._node.hand_out(event)

    async def _watch(self) -> None:
        """Health: a call to nobody must come back in time, or this Asterisk takes none."""
        await self._node.resync()
        if self._node.settled:
            self._until_sweep = 1
        while True:
            await self._send_canary()
            self._node.get_well()
            self._pause = FIRST_PAUSE_SECONDS
            self._well_at = self._clock.monotonic()
            self.tried.set()
            self._until_sweep -= 1
            if self._until_sweep <= 0:
                self._node.settled = True
                self._until_sweep = SWEEP_EVERY
                await self._sweep()
            await self._clock.sleep(CANARY_EVERY_SECONDS)

    @property
    def _canary_id(self) -> str:
        return f"{self._node.app}-canary-{os.getpid()}-{self._canaries:012}"

    async def _send_canary(self) -> None:
        self._canaries += 1
        self._canary_ended.clear()
        body = {"endpoint": "Local/s@ringback-canary", "app": self._node.app, "channelId": self._canary_id}
        try:
            await self._node.client.request("POST", "/channels", body=body)
            async with asyncio.timeout(CANARY_SECONDS):
                await self._canary_ended.wait()
        except AriRefused as error:
            raise _Ill(f"it refuses a test call: {error}") from error
        except TimeoutError:
            await self._node.discard(self._canary_id)  # or they would pile up
            raise _Ill("a test call was accepted and did not come back") from None
        if self._canary_cause != CANARY_CAUSE:  # a context that is not there ends a call too
            raise _Ill("its dialplan has no ringback-canary; see `ringback asterisk config`")

    async def _sweep(self) -> None:
        """Hang up channels of ours that no call here stands for: an earlier process left them."""
        node = self._node
        for channel in read_channels(await node.client.request("GET", "/channels")):
            if call_of(channel.id, node.app) is not None and node.leg_of(channel.id) is None:
                _log.warning("hanging up a channel that nobody follows", node=node.address.name, channel=channel.id)
                await node.discard(channel.id)

    async def _look_after_calls(self) -> None:
        while True:
            await self._clock.sleep(SILENCE_SECONDS)
            await self._ask_about_the_doubtful()
            await self._ask_about_the_silent()

    async def _ask_about_the_doubtful(self) -> None:
        """Those in doubt a round ago too: what Asterisk had to say by itself has come by now."""
        before, self._in_doubt = self._in_doubt, {leg for leg in self._node.legs if leg.doubtful}
        for leg in before & self._in_doubt:
            await self._node.ask_about(leg)

    async def _ask_about_the_silent(self) -> None:
        """Asterisk tells a 100 to who asks: without it a slow network would be taken for a dead trunk."""
        node = self._node
        before = self._clock.monotonic() - SILENCE_SECONDS
        for leg in [leg for leg in node.legs if leg.silent and leg.dialled_at <= before]:
            with contextlib.suppress(AriRefused):  # it has just ended
                answer = await node.client.request(
                    "GET", f"/channels/{leg.channel_id}/variable", params={"variable": "HANGUPCAUSE_KEYS()"}
                )
                if msgspec.json.decode(answer, type=dict[str, str])["value"]:
                    leg.responded()
