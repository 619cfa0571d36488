"""An engine that stands in for telephony: its calls cost a timer each, so that all else is measured."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from ringback.telephony.port import Answered, CallEvent, DialOrder, Ended, EngineUnavailable, HungUpBy, Prompt

if TYPE_CHECKING:
    from ringback.model.engine_node import NodeState

LINES = 1_000_000


class StandIn:
    """``seconds``: the shortest and longest time that an answered call stays up; ``None``: every call is busy at once.

    ``placed`` holds when each call of a task was handed over, epoch microseconds; ``due`` when a call was to end,
    monotonic seconds, until somebody takes it out.
    """

    name = "sandbox"
    known_as = ""

    def __init__(self, seconds: tuple[float, float] | None) -> None:
        self._seconds = seconds
        self._dice = random.Random(1)
        self._legs: dict[int, StandInLeg] = {}
        self.placed: defaultdict[int, list[int]] = defaultdict(list)
        self.due: dict[int, float] = {}
        self.count = 0

    async def start(self) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Hang up what is still up."""
        for leg in list(self._legs.values()):
            await leg.hang_up()

    def free_lines(self) -> int:
        """How many more calls could be placed right now."""
        return LINES - len(self._legs)

    def trouble(self) -> str:
        """It has none."""
        return ""

    def node_states(self) -> list[NodeState]:
        """Has no nodes."""
        return []

    def drain(self, name: str, *, on: bool) -> None:
        """Has no nodes."""

    async def dial(self, order: DialOrder) -> StandInLeg:
        """Place the call. Raises :class:`EngineUnavailable` when it is too late to leave."""
        now = time.monotonic()
        if now > order.leave_by:
            raise EngineUnavailable("it is too late for this call to leave")
        self.placed[order.task_id].append(time.time_ns() // 1_000)
        self.count += 1
        seconds = None if self._seconds is None else self._dice.uniform(*self._seconds)
        self.due[order.call_id] = now + (seconds or 0.0)
        leg = StandInLeg(self, order.call_id, seconds)
        self._legs[order.call_id] = leg
        return leg

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """Its calls die with the process."""
        del call_id, of
        return None

    def forget(self, call_id: int) -> None:
        """A call has ended."""
        self._legs.pop(call_id, None)


class StandInLeg:
    """One call: busy at once, or answered at once and hung up by the callee after a while."""

    def __init__(self, engine: StandIn, call_id: int, seconds: float | None) -> None:
        self._engine = engine
        self._call_id = call_id
        self._loop = asyncio.get_running_loop()
        self._events: deque[CallEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        if seconds is None:
            self._end(Ended(sip_code=486, reason="busy"))
        else:
            self._events.append(Answered())
            self._timer = self._loop.call_later(seconds, self._end, Ended(hung_up_by=HungUpBy.CALLEE))

    async def next_event(self) -> CallEvent:
        """Wait for the next event."""
        while not self._events:
            self._waiting = self._loop.create_future()
            await self._waiting
        return self._events.popleft()

    async def play(self, prompt: Prompt) -> None:
        """Nobody listens."""

    async def stop_playing(self) -> None:
        """Nothing plays."""

    async def transfer(self, target: str) -> None:
        """The templates of measurements do not ask for it."""
        raise NotImplementedError(target)

    async def hang_up(self) -> None:
        """End the call from our side."""
        if self._timer is not None:
            self._timer.cancel()
        self._end(Ended(hung_up_by=HungUpBy.RINGBACK, reason="hung up"))

    def _end(self, ended: Ended) -> None:
        if self._over:
            return
        self._over = True
        self._engine.forget(self._call_id)
        self._events.append(ended)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
