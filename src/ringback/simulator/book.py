"""The book: what the witness and the users know, by which the store is judged."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from ringback.model.flow import FlowSpec
from ringback.simulator.plan import TaskPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.simulator.carrier import PlacedCall
    from ringback.simulator.plan import TrunkPlan

SECOND_US = 1_000_000


class Outage(msgspec.Struct):
    """A trunk that is down since ``since_us``: how many calls it has cost, how many workers were started meanwhile."""

    since_us: int
    calls: int = 0
    starts: int = 0


class MadeTask(msgspec.Struct):
    """A task that a user has made: what was asked for."""

    id: int
    plan: TaskPlan
    flow_id: int | None


class MadeFlow(msgspec.Struct):
    """A flow, as it was asked for last. ``cancelled``: nodes that may not run, because a cancel has returned.

    ``moved``: keys of nodes that an edit changed, which it must not.
    """

    id: int
    spec: FlowSpec
    in_doubt: bool = False
    cancelled: set[int] = set()
    moved: list[str] = []


class Book:
    """``state_of`` reads the state of a call from the store, ``root_of`` the parent of a round's task.

    ``tolerance_us``: how far wall clocks have been apart; rules of the wall clock cannot hold closer than that.
    """

    def __init__(
        self, trunks: tuple[TrunkPlan, ...], *, state_of: Callable[[int], str], root_of: Callable[[int], int]
    ) -> None:
        self.trunks = {trunk.name: trunk for trunk in trunks}
        self.state_of = state_of
        self.tolerance_us = 0
        self.calls: list[PlacedCall] = []
        self.made: dict[int, MadeTask] = {}
        self.flows: dict[int, MadeFlow] = {}
        #: Tasks whose pause or cancel has returned, with what it was.
        self.stopped: dict[int, str] = {}
        self.outages: dict[str, Outage] = {}
        #: The calls to each number of each task.
        self.to_number: dict[tuple[int, str], list[PlacedCall]] = {}
        #: The calls of the last second, by trunk.
        self.lately: dict[str, deque[int]] = {name: deque() for name in self.trunks}
        self._root_of = root_of
        self._roots: dict[int, int] = {}
        self._live: list[PlacedCall] = []

    def enter(self, call: PlacedCall) -> None:
        """A call has been placed."""
        self.calls.append(call)
        self.to_number.setdefault((call.task_id, call.callee), []).append(call)
        lately = self.lately[call.trunk]
        lately.append(call.at_us)
        while lately[0] <= call.at_us - SECOND_US:
            lately.popleft()
        self._live = [one for one in self._live if one.ended_us is None]
        self._live.append(call)
        if call.trunk in self.outages:
            self.outages[call.trunk].calls += 1

    def live(self) -> list[PlacedCall]:
        """The calls that are up, as far as anybody can know."""
        return [one for one in self._live if one.ended_us is None and not one.unknown]

    def plan_of(self, task_id: int) -> TaskPlan | None:
        """What was asked for: a round's task is as its parent."""
        if task_id not in self._roots:
            self._roots[task_id] = self._root_of(task_id)
        made = self.made.get(self._roots[task_id])
        return None if made is None else made.plan
