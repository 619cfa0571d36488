"""A phone of ours as a conversation uses it: called, connected with the callee, left again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from ringback.telephony.port import Answered, Ended, Prompt, PromptFinished
from ringback.voice.tones import silence, tone

if TYPE_CHECKING:
    from ringback.telephony.port import Leg

#: What a caller hears while the other side rings (ITU-T E.180, as in most of the world): 1 s in 5.
RINGING = Prompt("ringing-425", tone(425.0, 1.0) + silence(4.0))
#: A phone that nobody answers so long is given up.
RING_SECONDS = 20.0


class NoSeat(Exception):
    """No phone can be called; the text says why."""


class Seat:
    """A phone that is being called for a callee, ``login`` its account."""

    def __init__(self, login: str, leg: Leg) -> None:
        self.login = login
        self.leg = leg
        self._hears_ringing = False
        self._rings: asyncio.Task[bool] | None = None
        self._talks: asyncio.Task[Ended] | None = None

    @property
    def answers(self) -> asyncio.Task[bool]:
        """Becomes true when somebody picks the phone up, false when nobody will."""
        if self._rings is None:
            self._rings = asyncio.create_task(self._wait_for_answer())
        return self._rings

    @property
    def ends(self) -> asyncio.Task[Ended]:
        """Done when a phone that was picked up is hung up, by whomever."""
        if self._talks is None:
            self._talks = asyncio.create_task(self._wait_for_end())
        return self._talks

    async def hear_ringing(self) -> None:
        """Whoever has picked up hears it ring at the callee's until they are connected."""
        self._hears_ringing = True
        await self.leg.play(RINGING)

    async def connect(self, callee: Leg) -> None:
        """Let them hear each other. Raises :class:`~ringback.telephony.port.EngineUnavailable`."""
        self._hears_ringing = False
        await callee.connect(self.leg)

    async def close(self) -> None:
        """Hang up, and wait for the end."""
        await self.leg.hang_up()
        if self._rings is None or self._rings.done():
            if self._rings is None or self._rings.result():
                await asyncio.shield(self.ends)
            return
        if await asyncio.shield(self._rings):  # picked up while it was being hung up
            await asyncio.shield(self.ends)

    async def _wait_for_answer(self) -> bool:
        while True:
            event = await self.leg.next_event()
            if isinstance(event, Answered | Ended):
                return isinstance(event, Answered)

    async def _wait_for_end(self) -> Ended:
        while True:
            event = await self.leg.next_event()
            if isinstance(event, Ended):
                return event
            if isinstance(event, PromptFinished) and self._hears_ringing:
                await self.leg.play(RINGING)


class Seats(Protocol):
    """The phones that one call may be connected with."""

    async def call(self, *, group: int | None, login: str, passed: frozenset[str]) -> Seat:
        """Call a free phone of the group (``None``: the phone of that account), none of ``passed``.

        Raises :class:`NoSeat`.
        """

    def leave(self, seat: Seat) -> None:
        """Hang its phone up, and let other calls have it."""
