"""The sandbox engine: calls that happen in memory, by the last two digits of the callee.

It obeys whatever clock it is given, so a campaign of ten days runs in seconds under the virtual one. The behaviours are
those of the far end (:mod:`ringback.model.sandbox_numbers`); no trunk, no network, no audio is needed. A voicemail
speaks from the answer on, people only listen. A recording is silence, as long as the talk; every transfer is accepted.
No call can outlive the process that placed it, so ``most_seconds`` has no meaning here.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from ringback.model import sandbox_numbers as numbers
from ringback.model.sandbox_numbers import Behaviour, Kind
from ringback.telephony.port import (
    BYTES_PER_SECOND,
    SAMPLE_RATE,
    Answered,
    CallEvent,
    DialOrder,
    EarlyMedia,
    Ended,
    EngineUnavailable,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    Prompt,
    PromptFinished,
    Ringing,
    TalkingStarted,
    Transferred,
)
from ringback.telephony.wav_file import WavFile

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.model.engine_node import NodeState
    from ringback.telephony.port import Leg

#: How long a greeting plays before it is taken for a machine's.
MACHINE_DETECTED_AFTER_SECONDS = 2.5
#: How long a greeting plays before it is noticed as speech.
TALKING_NOTICED_AFTER_SECONDS = 0.2
#: How long after a prompt the callee presses a key.
PRESSES_AFTER_SECONDS = 0.3
DEFAULT_LINES = 100_000

_TARGET = re.compile(r"\+?[0-9]{1,32}")

_log = structlog.get_logger(__name__)


class SandboxEngine:
    """An engine whose callees live in this process. ``lines`` is how many calls it takes at once.

    While ``outage`` is set, the carrier is down: every new call meets that instead of its callee. When it is silence,
    nothing is heard of the other calls either.
    """

    name = "sandbox"
    known_as = ""

    def __init__(self, clock: Clock, *, lines: int = DEFAULT_LINES) -> None:
        self._clock = clock
        self._lines = lines
        self.outage: Behaviour | None = None
        #: What phones do that are connected with callees, by account; the others answer and stay.
        self.phones: dict[str, Behaviour] = {}
        self._earlier: Counter[str] = Counter()
        self._legs: dict[int, SandboxLeg] = {}

    async def start(self) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Hang up what is still up."""
        for leg in list(self._legs.values()):
            await leg.hang_up()

    def free_lines(self) -> int:
        """How many more calls could be placed right now."""
        return self._lines - len(self._legs)

    def trouble(self) -> str:
        """It has none."""
        return ""

    def node_states(self) -> list[NodeState]:
        """Has no nodes."""
        return []

    def drain(self, name: str, *, on: bool) -> None:
        """Has no nodes."""

    def calls_to(self, callee: str) -> int:
        """How often the callee has been called."""
        return self._earlier[callee]

    async def dial(self, order: DialOrder) -> SandboxLeg:
        """Place the call. Raises :class:`EngineUnavailable` when all lines are busy."""
        if self.free_lines() <= 0:
            raise EngineUnavailable("all lines of the sandbox are busy")
        if self._clock.monotonic() > order.leave_by:
            raise EngineUnavailable("it is too late for this call to leave")
        earlier = self._earlier[order.callee]
        self._earlier[order.callee] += 1
        if order.phone_user:
            behaviour = self.phones.get(order.callee, numbers.PERSON)
        else:
            behaviour = self.outage or numbers.behaviour(order.callee, earlier)
        leg = SandboxLeg(self, order, behaviour, self._clock)
        self._legs[order.call_id] = leg
        return leg

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """Calls of the sandbox die with its process."""
        del call_id, of
        return None

    @property
    def dead(self) -> bool:
        """Whether the carrier says nothing at all."""
        return self.outage is not None and self.outage.kind is Kind.SILENT

    def forget(self, call_id: int) -> None:
        """A leg has ended."""
        self._legs.pop(call_id, None)


class SandboxLeg:
    """One call in memory: the callee is a coroutine that reacts to what the caller does."""

    def __init__(self, engine: SandboxEngine, order: DialOrder, behaviour: Behaviour, clock: Clock) -> None:
        self._engine = engine
        self._order = order
        self._clock = clock
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue()
        self._behaviour = behaviour
        self._up = False
        self._up_since = 0.0
        self._over = False
        self._player: asyncio.Task[None] | None = None
        self._first_prompt_heard = asyncio.Event()
        self._callee = asyncio.ensure_future(self._live())

    async def next_event(self) -> CallEvent:
        """Wait for the next event."""
        return await self._events.get()

    async def play(self, prompt: Prompt) -> None:
        """Play for as long as the prompt lasts."""
        await self.stop_playing()
        if self._up:
            self._player = asyncio.ensure_future(self._play(prompt.seconds))

    async def stop_playing(self) -> None:
        """Stop at once."""
        if self._player is not None:
            self._player.cancel()
            self._player = None

    async def transfer(self, target: str) -> None:
        """Accepted. Raises ValueError when ``target`` is not 1 to 32 digits."""
        if not _TARGET.fullmatch(target):
            raise ValueError("transfer target must be 1 to 32 digits, with or without a leading +")
        if self._up:
            self._callee.cancel()
            self._say(Transferred(accepted=True, sip_code=200))
            self._end(Ended(hung_up_by=HungUpBy.RINGBACK, reason="transferred"))

    async def connect(self, other: Leg) -> None:
        """They hear each other. Raises :class:`EngineUnavailable` when the other is no call of the sandbox."""
        if not isinstance(other, SandboxLeg):
            raise EngineUnavailable("the other call is not in the sandbox")
        await self.stop_playing()
        await other.stop_playing()

    async def hang_up(self) -> None:
        """End the call from our side."""
        if not self._over:
            self._callee.cancel()
            self._end(Ended(hung_up_by=HungUpBy.RINGBACK if self._up else None, reason="hung up"))

    async def _play(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._player = None
        self._say(PromptFinished())
        self._first_prompt_heard.set()

    async def _live(self) -> None:
        match self._behaviour.kind:
            case Kind.REFUSES:
                self._end(Ended(sip_code=self._behaviour.sip_code, reason="refused"))
            case Kind.EARLY_MEDIA:
                self._say(EarlyMedia())
                await self._clock.sleep(numbers.EARLY_MEDIA_SECONDS)
                await self._carried()
                self._end(Ended(sip_code=self._behaviour.sip_code, reason="refused after early media"))
            case Kind.RINGS_ON:
                self._say(Ringing())
            case Kind.SILENT:
                pass
            case _:
                await self._answer()

    async def _answer(self) -> None:
        self._say(Ringing())
        await self._clock.sleep(numbers.RING_SECONDS)
        await self._carried()
        self._up = True
        self._up_since = self._clock.monotonic()
        self._say(Answered())
        # A phone of ours stays until it is hung up: the callee goes first.
        listens = math.inf if self._order.phone_user else numbers.LONGEST_LISTEN_SECONDS
        match self._behaviour.kind:
            case Kind.HANGS_UP:
                listens = numbers.HANGS_UP_AFTER_SECONDS
            case Kind.VOICEMAIL:
                await self._clock.sleep(TALKING_NOTICED_AFTER_SECONDS)
                if self._order.detect_talking:
                    self._say(TalkingStarted())
                await self._clock.sleep(MACHINE_DETECTED_AFTER_SECONDS - TALKING_NOTICED_AFTER_SECONDS)
                self._say(MachineDetected())
            case Kind.PRESSES_KEY:
                await self._first_prompt_heard.wait()
                await self._clock.sleep(PRESSES_AFTER_SECONDS)
                await self._carried()
                assert self._behaviour.key is not None
                self._say(KeyPressed(self._behaviour.key))
        if math.isinf(listens):
            return
        await self._clock.sleep(listens)
        await self._carried()
        self._end(Ended(hung_up_by=HungUpBy.CALLEE, reason="the callee hung up"))

    async def _carried(self) -> None:
        """What the callee does next reaches us, or never does."""
        if self._engine.dead:
            await asyncio.get_running_loop().create_future()

    def _say(self, event: CallEvent) -> None:
        if not self._over:
            self._events.put_nowait(event)

    def _end(self, ended: Ended) -> None:
        if self._up and self._order.record_to:
            ended = msgspec.structs.replace(ended, recorded=self._record())
        self._say(ended)
        self._over = True
        self._up = False
        if self._player is not None:
            self._player.cancel()
            self._player = None
        self._engine.forget(self._order.call_id)

    def _record(self) -> bool:
        """Write silence as long as the talk."""
        file = WavFile(Path(self._order.record_to))
        samples = round((self._clock.monotonic() - self._up_since) * SAMPLE_RATE)
        try:
            file.open()
            file.write(bytes(samples * BYTES_PER_SECOND // SAMPLE_RATE))
            file.complete()
        except OSError as error:
            file.discard()
            _log.warning("a call is not recorded", file=str(file.target), reason=str(error))
            return False
        return True
