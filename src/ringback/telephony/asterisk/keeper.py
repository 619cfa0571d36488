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
from ringback.telephony.asterisk.node import call_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ringback.clock import Clock
    from ringback.telephony.asterisk.events import AriEvent
    from ringback.telephony.asterisk.node import Node

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
#: Another program under our name: taking the name back at once would go on for ever.
REPLACED_PAUSE_SECONDS: Final = 30.0
#: Calls whose Asterisk stays away so long are told as lost.
LOST_AFTER_SECONDS: Final = 60.0
CANARY_EVERY_SECONDS: Final = 5.0
CANARY_SECONDS: Final = 3.0
#: Channels that nobody knows are looked for at the last of so many canaries: not at the first, when calls of an earlier
#: process may still be waiting to be settled.
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
        self._canary_ended = asyncio.Event()
        self._well_at = clock.monotonic()
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        while True:
            try:
                await self._connect()
            except _ENDS as error:
                self._node.fall_ill(str(error))
            except BaseExceptionGroup as group:
                ends, others = group.split(_ENDS)
                if others is not None or ends is None:
                    raise
                self._node.fall_ill(str(ends.exceptions[0]))
            self.tried.set()
            if self._clock.monotonic() - self._well_at >= LOST_AFTER_SECONDS:
                for leg in self._node.legs:
                    leg.lost(f"Asterisk {self._node.address.name} has been away for {LOST_AFTER_SECONDS:g} s")
            await self._clock.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _connect(self) -> None:
        """One connection, from its beginning to its end. Raises one of ``_ENDS``, or a group of them."""
        node = self._node
        async with node.client.events(node.app) as events:
            wanted = {"allowed": [{"type": kind} for kind in WANTED]}
            await node.client.request("PUT", f"/applications/{node.app}/eventFilter", body=wanted)
            async with asyncio.TaskGroup() as beside:
                works = [beside.create_task(work) for work in (self._watch(), self._ask_the_silent())]
                try:
                    await self._follow(events)
                finally:
                    for work in works:
                        work.cancel()
        node.fall_ill("the connection was closed")

    async def _follow(self, events: AsyncIterator[AriEvent]) -> None:
        async for event in events:
            if event.type == "ApplicationReplaced":
                self._pause = REPLACED_PAUSE_SECONDS
                raise _Ill(f"another program uses the name {self._node.app!r}")
            if event.type == "ChannelDestroyed" and event.about is not None and event.about.id == self._canary_id:
                self._canary_ended.set()
            else:
                self._node.hand_out(event)

    async def _watch(self) -> None:
        """Health: a call to nobody must come back in time, or this Asterisk takes none."""
        await self._node.resync()
        rounds = 0
        while True:
            await self._send_canary()
            self._node.get_well()
            self._pause = FIRST_PAUSE_SECONDS
            self._well_at = self._clock.monotonic()
            self.tried.set()
            if rounds % SWEEP_EVERY == SWEEP_EVERY - 1:
                await self._sweep()
            rounds += 1
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
            raise _Ill(f"its dialplan has no ringback-canary ({error}); see `ringback asterisk config`") from error
        except TimeoutError:
            raise _Ill("a test call was accepted and did not come back") from None

    async def _sweep(self) -> None:
        """Hang up channels of ours that no call here stands for: an earlier process left them."""
        node = self._node
        for channel in read_channels(await node.client.request("GET", "/channels")):
            if call_of(channel.id, node.app) is not None and node.leg_of(channel.id) is None:
                _log.warning("hanging up a channel that nobody follows", node=node.address.name, channel=channel.id)
                await node.command("DELETE", f"/channels/{channel.id}")

    async def _ask_the_silent(self) -> None:
        """Asterisk tells a 100 to who asks: without it a slow network would be taken for a dead trunk."""
        node = self._node
        while True:
            await self._clock.sleep(SILENCE_SECONDS)
            before = self._clock.monotonic() - SILENCE_SECONDS
            for leg in [leg for leg in node.legs if leg.silent and leg.dialled_at <= before]:
                with contextlib.suppress(AriRefused):  # it has just ended
                    answer = await node.client.request(
                        "GET", f"/channels/{leg.channel_id}/variable", params={"variable": "HANGUPCAUSE_KEYS()"}
                    )
                    if msgspec.json.decode(answer, type=dict[str, str])["value"]:
                        leg.responded()
