"""One live call of the embedded engine, seen from the engine's process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from ringback.telephony.port import (
    Answered,
    CallEvent,
    EarlyMedia,
    Ended,
    EngineUnavailable,
    KeyPressed,
    MachineDetected,
    PromptFinished,
    Ringing,
    TalkingStarted,
    Trying,
)
from ringback.telephony.sip.addressing import transfer_uri
from ringback.telephony.sip.messages import Connect, HangUp, Happened, StopPlaying, Transfer, What

if TYPE_CHECKING:
    from ringback.telephony.port import Leg, Prompt
    from ringback.telephony.sip.addressing import CallAddress
    from ringback.telephony.sip.messages import ToWorker


_PLAIN_EVENTS: Final[dict[What, CallEvent]] = {
    What.TRYING: Trying(),
    What.RINGING: Ringing(),
    What.EARLY_MEDIA: EarlyMedia(),
    What.ANSWERED: Answered(),
    What.TALKING_STARTED: TalkingStarted(),
    What.MACHINE_DETECTED: MachineDetected(),
}


class Owner(Protocol):
    """The worker process that has the call."""

    async def command(self, message: ToWorker) -> None:
        """Send a command; does nothing when the process is gone."""

    async def play(self, call_id: int, number: int, prompt: Prompt) -> None:
        """Send a prompt (unless the process has it) and play it."""


class SipLeg:
    """Implements :class:`ringback.telephony.port.Leg`."""

    def __init__(self, call_id: int, owner: Owner, address: CallAddress) -> None:
        self.call_id = call_id
        self._address = address
        self._owner = owner
        self._events: asyncio.Queue[Happened] = asyncio.Queue()
        self._ended = False
        self._hanging_up = False
        self._prompts = 0
        self._playing: int | None = None  # number of the prompt whose end is awaited

    def deliver(self, happened: Happened) -> None:
        """Take an event from the worker. Nothing counts after the first ENDED."""
        if not self._ended:
            self._ended = happened.what is What.ENDED
            self._events.put_nowait(happened)

    async def next_event(self) -> CallEvent:
        """Wait for the next event, in order. After :class:`Ended` it must not be called again."""
        while True:
            happened = await self._events.get()
            if happened.what is not What.PROMPT_FINISHED:
                return _event(happened)
            # One that was stopped or replaced while its end was on the way here did not end for the caller.
            if happened.number == self._playing:
                self._playing = None
                return PromptFinished()

    async def play(self, prompt: Prompt) -> None:
        """Start playing; replaces what is playing. Does nothing on a call that is not up (any more)."""
        if self._ended:
            return
        self._prompts += 1
        self._playing = self._prompts
        await self._owner.play(self.call_id, self._prompts, prompt)

    async def stop_playing(self) -> None:
        """Stop at once; no :class:`PromptFinished` follows. Does nothing when nothing plays."""
        if self._playing is not None:
            self._playing = None
            await self._owner.command(StopPlaying(self.call_id))

    async def transfer(self, target: str) -> None:
        """Blind transfer (REFER) to ``target`` at this call's trunk; :class:`Transferred` tells what came of it.

        Raises:
            ValueError: ``target`` is not 1 to 32 digits.
        """
        uri = transfer_uri(self._address, target)
        if not self._ended:
            await self._owner.command(Transfer(self.call_id, uri))

    async def connect(self, other: Leg) -> None:
        """Let the far sides of both calls hear each other, until either call ends.

        Raises:
            EngineUnavailable: the other call is not in the same worker process.
        """
        if not isinstance(other, SipLeg) or not other.is_at(self._owner):
            raise EngineUnavailable("the calls are not in the same SIP worker process")
        await self.stop_playing()
        await other.stop_playing()
        await self._owner.command(Connect(self.call_id, other.call_id))

    def is_at(self, owner: Owner) -> bool:
        """Whether that worker process has the call."""
        return self._owner is owner

    async def hang_up(self) -> None:
        """CANCEL or BYE; :class:`Ended` follows. Does nothing on a call that has ended."""
        if not self._ended and not self._hanging_up:
            self._hanging_up = True
            await self._owner.command(HangUp(self.call_id))


def _event(happened: Happened) -> CallEvent:
    if happened.ended is not None:
        return happened.ended
    if happened.transferred is not None:
        return happened.transferred
    if happened.what is What.KEY_PRESSED:
        return KeyPressed(happened.key)
    return _PLAIN_EVENTS[happened.what]


def lost(call_id: int, reason: str) -> Happened:
    """The end of a call whose worker process is gone."""
    return Happened(call_id, What.ENDED, ended=Ended(engine_failed=True, reason=reason))
