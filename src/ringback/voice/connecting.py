"""Connects a callee with a phone of ours: phones ring one after another until somebody picks one up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from ringback.telephony.port import EngineUnavailable
from ringback.voice.seats import RING_SECONDS, NoSeat, Seat

if TYPE_CHECKING:
    from ringback.telephony.port import Leg
    from ringback.voice.seats import Seats

#: So many phones of a group ring for one callee, who will not wait for ever.
MOST_PHONES: Final = 3


class Callee(Protocol):
    """The callee's side of the conversation."""

    @property
    def leg(self) -> Leg:
        """The call."""

    async def wait_for(self, work: asyncio.Future[Any], *, ringing: bool = False) -> None:
        """Until ``work`` is done, and the callee hears it ring meanwhile. Raises what ends the conversation."""

    async def talk_with(self, seat: Seat) -> None:
        """They have been connected; until the phone is hung up. Raises what ends the conversation."""


async def connect(callee: Callee, seats: Seats, *, group: int | None, login: str) -> str:
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
            await callee.wait_for(ringing, ringing=True)
            if ringing.result():
                return await join(callee, seat)
        finally:
            seats.leave(seat)
        why = f"phone {seat.login} did not answer"
        passed.add(seat.login)
        if group is None:
            break
    return why


async def join(callee: Callee, seat: Seat) -> str:
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
