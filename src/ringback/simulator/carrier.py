"""The carrier: the one witness of the simulation, who knows what was really called, when, and by whom.

Every host has an engine of its own; they all lead here. The callees' memory and the log outlive every host. A call in
the air of a killed host ends; that of a frozen one goes on until the callee hangs up. What a host is told of its calls
may come late, or, if it is the end, not at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Protocol

import msgspec

from ringback.model import sandbox_numbers
from ringback.model.sandbox_numbers import Behaviour, Kind
from ringback.simulator.hosts import elsewhere
from ringback.telephony.port import Answered, CallEvent, DialOrder, Ended, EngineUnavailable, HungUpBy
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock, VirtualClock
    from ringback.simulator.hosts import Host


class PlacedCall(msgspec.Struct, kw_only=True):
    """A call as the carrier saw it. Instants are true epoch microseconds.

    ``trunk`` is its name; ``outcome`` what a correct dialler records when nothing disturbs the call. ``disturbed`` says
    what did: the worker may then rightly record something else. ``unknown``: others took its worker for dead,
    and do not know whether it is still up.
    """

    number: int
    call_id: int
    task_id: int
    callee: str
    host: str
    trunk: str
    at_us: int
    behaviour: Behaviour
    answered_us: int | None = None
    ended_us: int | None = None
    disturbed: str = ""
    unknown: bool = False


class Disturber(Protocol):
    """What goes wrong between the carrier and a host."""

    def seconds_late(self, call: PlacedCall, event: CallEvent) -> float | None:
        """How much later the host hears of it; ``None``: never."""

    def dial_seconds(self, host: Host) -> tuple[float, float]:
        """How long the engine takes until an INVITE leaves, and from then on until it says so."""


class Carrier:
    """``placed`` is called with each call in the instant in which its INVITE arrives."""

    def __init__(self, clock: VirtualClock, disturber: Disturber, placed: Callable[[PlacedCall], None]) -> None:
        self.clock = clock
        self.disturber = disturber
        self.log: list[PlacedCall] = []
        #: Trunks that are down, by name: what every new call meets there.
        self.outages: dict[str, Behaviour] = {}
        self._placed = placed
        #: Whether workers may ask it for calls of others, as an engine of its own may be asked.
        self.can_be_asked = False
        self._legs: dict[tuple[str, int], CarrierLeg] = {}
        self._earlier: Counter[str] = Counter()

    def arrived(self, order: DialOrder, host: Host) -> PlacedCall:
        """An INVITE has come."""
        trunk = order.destination.host
        behaviour = self.outages.get(trunk) or sandbox_numbers.behaviour(order.callee, self._earlier[order.callee])
        self._earlier[order.callee] += 1
        call = PlacedCall(
            number=len(self.log),
            call_id=order.call_id,
            task_id=order.task_id,
            callee=order.callee,
            host=host.name,
            trunk=trunk,
            at_us=self.clock.now_us(),
            behaviour=behaviour,
            disturbed="outage" if trunk in self.outages else "",
        )
        self.log.append(call)
        self._placed(call)
        return call

    def settle(self, call_id: int, host: str) -> Ended | None:
        """End a call that a host has up; ``None`` when it has none of that id."""
        leg = self._legs.get((host, call_id)) if self.can_be_asked else None
        return None if leg is None else leg.settle()

    def up(self, leg: CarrierLeg, call: PlacedCall) -> None:
        """A call is up."""
        self._legs[call.host, call.call_id] = leg

    def over(self, call: PlacedCall) -> None:
        """A call has ended."""
        self._legs.pop((call.host, call.call_id), None)

    def is_silent(self, trunk: str) -> bool:
        """Whether nothing at all is heard through that trunk."""
        outage = self.outages.get(trunk)
        return outage is not None and outage.kind is Kind.SILENT


class CarrierEngine(SandboxEngine):
    """The engine of one host."""

    def __init__(self, carrier: Carrier, host: Host, *, lines: int) -> None:
        super().__init__(host.clock, lines=lines)
        self.carrier = carrier
        self.known_as = host.name
        self._host = host

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """As an engine that outlives its workers: what lives is hung up."""
        return self.carrier.settle(call_id, of)

    async def dial(self, order: DialOrder) -> SandboxLeg:
        """As the sandbox's, at the carrier."""
        before, after = self.carrier.disturber.dial_seconds(self._host)
        if before > 0:
            await self._clock.sleep(before)
        if self.free_lines() <= 0:
            raise EngineUnavailable("all lines of the sandbox are busy")
        if self._clock.monotonic() > order.leave_by:
            raise EngineUnavailable("it is too late for this call to leave")
        call = self.carrier.arrived(order, self._host)
        # The callee lives on when this host is frozen.
        leg = elsewhere().run(CarrierLeg, self, order, call, self.carrier.clock)
        self.carrier.up(leg, call)
        self._legs[order.call_id] = leg
        if after > 0:
            await self._clock.sleep(after)
        return leg

    def cut(self) -> None:
        """The host was killed: its calls end, and nobody is told."""
        for leg in list(self._legs.values()):
            assert isinstance(leg, CarrierLeg)
            leg.cut()


class CarrierLeg(SandboxLeg):
    """A call whose doings are in the carrier's log."""

    def __init__(self, engine: CarrierEngine, order: DialOrder, call: PlacedCall, clock: Clock) -> None:
        super().__init__(engine, order, call.behaviour, clock)
        self._call = call
        self._carrier = engine.carrier
        self._told_until = 0.0

    def cut(self) -> None:
        """Ends, and its host is not told."""
        self._callee.cancel()
        self._call.disturbed = "killed"
        self._end(Ended(reason="the host is gone"))

    def settle(self) -> Ended:
        """Hung up by whoever took over what its host held; the host is told too, if it still lives."""
        ended = Ended(sip_code=200 if self._up else 487, hung_up_by=HungUpBy.RINGBACK if self._up else None)
        self._callee.cancel()
        self._call.disturbed = "settled"
        self._end(ended)
        return ended

    async def _carried(self) -> None:
        if self._carrier.is_silent(self._call.trunk):
            self._call.disturbed = "silence"
            await asyncio.get_running_loop().create_future()

    def _say(self, event: CallEvent) -> None:
        if self._over:
            return
        now_us = self._carrier.clock.now_us()
        if isinstance(event, Answered):
            self._call.answered_us = now_us
        elif isinstance(event, Ended):
            self._call.ended_us = now_us
            self._carrier.over(self._call)
        late = self._carrier.disturber.seconds_late(self._call, event)
        if late is None:
            return
        # Events keep their order.
        now = self._carrier.clock.monotonic()
        self._told_until = max(self._told_until, now + late)
        if self._told_until <= now:
            self._events.put_nowait(event)
        else:
            asyncio.get_running_loop().call_at(self._told_until, self._events.put_nowait, event, context=elsewhere())
