"""Connects a callee with a phone of ours: phones ring one after another until somebody picks one up."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from ringback.telephony.port import EngineUnavailable
from ringback.voice.seats import RING_SECONDS, RINGING, NoSeat, Seat

if TYPE_CHECKING:
    from ringback.telephony.port import Leg, Prompt
    from ringback.voice.seats import Seats

#: So many phones of a group ring for one callee, who will not wait for ever.
MOST_PHONES: Final = 3


class WithPhones(ABC):
    """The half of a conversation that is about phones of ours. ``seats`` are those that the callee may be connected
    with (``None``: none), ``seat`` is the one that was called first, and picked up.
    """

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.seats: Seats | None = None
        self.seat: Seat | None = None
        #: What came of connecting the callee with phones, for people.
        self.of_phones: list[str] = []
        self.with_a_person = False
        self._playing = False

    @abstractmethod
    async def _play(self, prompt: Prompt) -> None:
        """Start playing."""

    @abstractmethod
    async def _stop_playing(self) -> None:
        """Stop at once."""

    @abstractmethod
    async def _listen(self, *, until: float | None = None, work: asyncio.Future[Any] | None = None) -> bool:
        """Wait for one event, or until the work is done. Raises what ends the conversation."""

    async def connect(self, group: int | None, login: str) -> bool:
        """Connect the callee with a free phone of the group (``None``: the phone of that account).

        True when they have talked and the phone was hung up; false when there was nobody.
        """
        if group is None and self.seat is not None:
            why = await join(self, self.seat)
        elif self.seats is None:
            why = "there are no phones"
        else:
            why = await connect(self, self.seats, group=group, login=login)
            await self._stop_playing()
        if why:
            self.of_phones.append(why)
        return not why

    async def wait_for(self, work: asyncio.Future[Any]) -> None:
        """Listen until the work is done, and let the callee hear it ring."""
        while not work.done():
            if not self._playing:
                await self._play(RINGING)
            await self._listen(work=work)

    async def talk_with(self, seat: Seat) -> None:
        """They have been connected: listen until the phone is hung up."""
        self._playing = False  # the connection has cut it off
        self.with_a_person = True
        self.of_phones = [f"connected with phone {seat.login}"]
        while not seat.ends.done():
            await self._listen(work=seat.ends)


async def connect(callee: WithPhones, seats: Seats, *, group: int | None, login: str) -> str:
    """Connect the callee with a free phone of the group, or with the phone of that account.

    Returns when they have talked and the phone was hung up: an empty text; or why they could not.
    """
    passed: set[str] = set()
    why = ""
    while len(passed) < MOST_PHONES:
        try:
            seat = await seats.call(group=group, login=login, passed=frozenset(passed))
        except NoSeat as none:
            return why or str(none)
        try:
            ringing = asyncio.create_task(picks_up(seat))
            await callee.wait_for(ringing)
            if ringing.result():
                return await join(callee, seat)
        finally:
            seats.leave(seat)
        why = f"phone {seat.login} did not answer"
        passed.add(seat.login)
        if group is None:
            break
    return why


async def join(callee: WithPhones, seat: Seat) -> str:
    """Connect the callee with a phone that has been picked up. Returns as :func:`connect` does."""
    try:
        await seat.connect(callee.leg)
    except EngineUnavailable as error:
        return f"phone {seat.login} could not be connected: {error}"
    await callee.talk_with(seat)
    return ""


async def picks_up(seat: Seat) -> bool:
    """Whether somebody picks the phone up in time."""
    done, _ = await asyncio.wait({seat.answers}, timeout=RING_SECONDS)
    return bool(done) and seat.answers.result()
