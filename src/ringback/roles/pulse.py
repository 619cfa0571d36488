"""The pulse of the trunks, as one worker feels it: which INVITEs have had no response, and what an end tells.

It bounds what a trunk that just died can cost before its calls have ended and the breaker, in the store, can know. Only
a response brings headroom back, or the closing of the breaker; a call that ended without telling anything counts as
never placed, so that a living trunk can always show that it lives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.model.breaker import FAILURES, MOST_UNANSWERED, Verdict
from ringback.telephony.port import HungUpBy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ringback.store.calls import CallResult
    from ringback.store.leases import Lease

#: Of many workers none may have so little that a slow network looks like a dead trunk.
LEAST_UNANSWERED: Final = 5

_RESPONSES = frozenset({Verdict.ALIVE, Verdict.REFUSED, Verdict.ERROR})


class Placed(msgspec.Struct, frozen=True):
    """A call that has left: its place in the order of its trunk's calls, and the trunk's beat at that instant."""

    number: int
    beat: int


class _Trunk(msgspec.Struct):
    """``beat`` counts responses; ``unanswered`` the INVITEs since the last one; ``rang`` is news for the breaker.

    ``calls`` counts the calls, and ``failed`` is the latest of them that failed: what an earlier one did tells nothing
    of the trunk since.
    ``offered`` is the headroom that the last lease was given, and ``bound`` whether it took all of it; ``seen`` are the
    calls and the beat at that instant, and ``pace`` is how many calls leave from one to the next while it responds.
    """

    beat: int = 0
    calls: int = 0
    failed: int = 0
    unanswered: int = 0
    rang: bool = False
    offered: int = MOST_UNANSWERED
    bound: bool = False
    closed_at: int | None = None
    seen: Placed = Placed(0, 0)
    pace: int = 0


class Pulse:
    """``wake`` is called with a trunk that had too little headroom and has more now."""

    def __init__(self, wake: Callable[[int], None]) -> None:
        self._wake = wake
        self._most = MOST_UNANSWERED
        self._trunks: dict[int, _Trunk] = {}

    def share_among(self, workers: int) -> None:
        """So many workers dial, this one among them: together they may spend on a dead trunk what one may alone."""
        self._most = max(LEAST_UNANSWERED, math.ceil(MOST_UNANSWERED / workers))

    def headroom(self, trunk_id: int) -> int:
        """How many more INVITEs may leave before a response comes."""
        return max(0, self._most - self._trunk(trunk_id).unanswered)

    def offer(self, trunk_id: int) -> int:
        """The headroom for a lease. What is leased already is not taken off: it is held back when its turn comes.

        For the same reason a trunk that responds is offered as many more as leave from one lease to the next: how fast
        it is dialled must not depend on how long a lease takes.
        """
        trunk = self._trunk(trunk_id)
        alive = trunk.beat != trunk.seen.beat
        trunk.pace = max(trunk.calls - trunk.seen.number, trunk.pace // 2) if alive else 0
        trunk.seen = Placed(trunk.calls, trunk.beat)
        trunk.offered = self.headroom(trunk_id) + trunk.pace
        return trunk.offered

    def leased(self, counts: Mapping[int, int], closed_at: Mapping[int, int]) -> None:
        """A lease gave out so many calls by trunk, and said when each trunk's breaker was last closed, epoch ms."""
        for trunk_id, at in closed_at.items():
            trunk = self._trunk(trunk_id)
            trunk.bound = counts.get(trunk_id, 0) >= trunk.offered
            if trunk.closed_at not in (None, at):
                self._beat(trunk_id)
            trunk.closed_at = at

    def placed(self, trunk_id: int) -> Placed:
        """An INVITE has left. Returns what tells this call from others."""
        trunk = self._trunk(trunk_id)
        trunk.unanswered += 1
        trunk.calls += 1
        return Placed(trunk.calls, trunk.beat)

    def responded(self, trunk_id: int, placed: Placed, *, rang: bool) -> None:
        """A response came to that call; ``rang``: 180 or more, so the trunk works."""
        trunk = self._trunk(trunk_id)
        trunk.rang = trunk.rang or (rang and placed.number > trunk.failed)
        self._beat(trunk_id)

    def weighed(self, lease: Lease, placed: Placed, result: CallResult) -> CallResult:
        """The result of a call with what it tells of its trunk now.

        Signs of life were told when they came: the end of a call that had rung is one only when it came over the wire.
        Silence is a failure of the trunk only when nobody has heard from it since that call was placed. A probe is
        alone: its verdict stands.
        """
        trunk = self._trunk(lease.trunk_id)
        verdict = result.verdict
        over_the_wire = (
            result.sip_code is not None if result.answered_at is None else result.hung_up_by == HungUpBy.CALLEE
        )
        if verdict in _RESPONSES and over_the_wire:
            self._beat(lease.trunk_id)
            stale = verdict is Verdict.ALIVE and placed.number < trunk.failed
        elif verdict is Verdict.NEUTRAL and placed.beat == trunk.beat:
            self._set(lease.trunk_id, trunk.unanswered - 1)
            stale = False
        else:
            stale = verdict is not Verdict.SILENT or placed.beat != trunk.beat
        if stale and not lease.probe:
            verdict = Verdict.NEUTRAL
        if verdict in FAILURES:
            trunk.failed = max(trunk.failed, placed.number)
        rang, trunk.rang = trunk.rang, False
        return msgspec.structs.replace(result, verdict=verdict, trunk_rang=rang)

    def _trunk(self, trunk_id: int) -> _Trunk:
        return self._trunks.setdefault(trunk_id, _Trunk())

    def _beat(self, trunk_id: int) -> None:
        self._trunk(trunk_id).beat += 1
        self._set(trunk_id, 0)

    def _set(self, trunk_id: int, unanswered: int) -> None:
        trunk = self._trunk(trunk_id)
        short = trunk.bound or trunk.unanswered >= self._most
        trunk.unanswered = unanswered
        trunk.bound = False
        if short:
            self._wake(trunk_id)
