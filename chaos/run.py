"""The story of a run: the world, the load, faults by seed, calm, and the evidence."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from chaos.carrier import RINGS_ON_ENDING
from chaos.compare import Check, every_check
from chaos.evidence import CallRow, Evidence, Limits, NodeRow, TaskRow, WorkerRow
from chaos.faults import Faults
from chaos.limits import every_limit
from chaos.load import MAIN, Load
from chaos.world import MINUTE_SECONDS, TAKEOVER_SECONDS, TookTooLong, World, until

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Of the time, faults may take so much; in the rest the campaign comes to its end.
FAULTS_SHARE: Final = 0.8
#: Lines, in parts of the rate of all trunks: of the second trunk, of the campaign, of its account. A call lasts some
#: 1.3 seconds, so that each of them is reached.
NARROW: Final = 0.4
TASK: Final = 0.8
ACCOUNT: Final = 0.9
#: Between two faults, seconds.
PAUSE_SECONDS: Final = (1.0, 5.0)
#: For calls in the air, at the end.
STOP_SECONDS: Final = 60.0


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """``minutes`` bounds the run; ``rate``: calls per second of both trunks together. ``faults``: their names, in
    order; ``None`` for all there are, in an order by ``seed``, again and again. ``long_rings``: some numbers ring until
    they are given up after 20 s, and with them each round lasts so long."""

    minutes: float = 10.0
    seed: int = 1
    numbers: int = 20_000
    rounds: int = 3
    rate: float = 120.0
    faults: tuple[str, ...] | None = None
    small_disk: bool = True
    long_rings: bool = True

    @property
    def trunks(self) -> list[tuple[str, float, int]]:
        """The first is bound by its rate, the second by its channels."""
        return [("wide", self.rate / 2, round(4 * self.rate)), ("narrow", self.rate / 2, round(NARROW * self.rate))]


class Result(msgspec.Struct, kw_only=True):
    """What came of it. ``made``: how often each fault was made; ``left_out``: which were not, and why."""

    plan: Plan
    checks: list[Check]
    made: dict[str, int]
    left_out: dict[str, str]
    seconds: float
    calls: int
    completed: bool
    timeline: list[str]

    @property
    def broken(self) -> int:
        """Violations, all promises together."""
        return sum(len(check.broken) for check in self.checks)


class Run:
    """One run. Call :meth:`go` once."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dice = random.Random(plan.seed)
        self._began = time.monotonic()
        self._timeline: list[str] = []
        self._made: dict[str, int] = {}

    def go(self) -> Result:
        """Run it. Raises what broke the run itself: a promise that is broken raises nothing."""
        plan = self._plan
        with World(plan.trunks, seed=plan.seed, small_disk=plan.small_disk) as world:
            self._began = time.monotonic()
            ends = self._began + 60 * plan.minutes
            load, faults = Load(world, plan.seed), Faults(world, self._dice, self._say)
            try:
                limits = self._start(world, load)
                self._break(world, faults, self._began + FAULTS_SHARE * 60 * plan.minutes)
                load.stop()
                completed = self._calm(world, load, ends)
            finally:
                load.stop()
            self._stop(world)
            if load.errors:
                raise load.errors[0]
            evidence = self._evidence(world, load, faults, limits)
        return Result(
            plan=plan,
            checks=[*every_check(evidence), *every_limit(evidence)],
            made=self._made,
            left_out=faults.left_out,
            seconds=time.monotonic() - self._began,
            calls=len(evidence.seen),
            completed=completed,
            timeline=self._timeline,
        )

    def _say(self, text: str) -> None:
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        self._timeline.append(line)
        print(line, flush=True)

    def _start(self, world: World, load: Load) -> Limits:
        """The campaign, with limits of its own and of the account below what the trunks carry."""
        plan = self._plan
        account_lines, task_lines = round(ACCOUNT * plan.rate), round(TASK * plan.rate)
        world.postgres.sql(f"UPDATE account SET lines = {account_lines}")
        without = "" if plan.long_rings else RINGS_ON_ENDING
        task_id = load.start(plan.numbers, plan.rounds, without=without)
        limited = f"limits = jsonb_set(limits::jsonb, '{{lines}}', '{task_lines}')::text"
        world.postgres.sql(f"UPDATE task SET {limited} WHERE id = {task_id}")
        self._say(f"{plan.numbers} numbers, {plan.rounds} rounds")
        (account,) = world.rows("SELECT id FROM account")
        until(lambda: world.invites() > plan.rate, what="the first calls", seconds=60)
        return Limits(
            rate={name: rate for name, rate, _ in plan.trunks},
            channels={name: channels for name, _, channels in plan.trunks},
            task_lines={task_id: task_lines},
            account_lines={account["id"]: account_lines},
        )

    def _break(self, world: World, faults: Faults, until_s: float) -> None:
        waiting: list[str] = []
        while time.monotonic() < until_s and not self._over(world):
            if not waiting:
                if self._plan.faults is not None and self._made:
                    return
                waiting = list(self._plan.faults or self._dice.sample(sorted(faults.all()), k=len(faults.all())))
            name = waiting.pop(0)
            time.sleep(self._dice.uniform(*PAUSE_SECONDS))
            if self._over(world):
                return
            try:
                faults.make(name)
            except TookTooLong as error:
                if not self._over(world):
                    raise
                self._say(f"  {error}: the campaign is over")
            else:
                self._made[name] = self._made.get(name, 0) + 1

    def _over(self, world: World) -> bool:
        (flow,) = world.rows("SELECT state FROM flow")
        return flow["state"] in {"completed", "cancelled", "exception"}

    def _calm(self, world: World, load: Load, ends: float) -> bool:
        """Wait for the end of everything; when the time is over, cancel what is left. Returns whether the flow
        completed by itself."""
        self._say("calm")
        running = "SELECT id FROM task WHERE state NOT IN ('finished', 'cancelled', 'submission_failed') OR active > 0"

        def done() -> bool:
            return self._over(world) and not world.rows(running)

        left = max(1.0, ends - time.monotonic())
        try:
            until(done, what="the campaign's end", seconds=left)
        except TookTooLong:
            self._say("time is over: the rest is cancelled")
            deadline = time.monotonic() + STOP_SECONDS
            while not done() and time.monotonic() < deadline:
                load.cancel([row["id"] for row in world.rows(running)])
                time.sleep(1)
            return False
        return True

    def _stop(self, world: World) -> None:
        self._say("stop")
        for member in world.members:
            code = member.stop(STOP_SECONDS)
            if code != 0:
                self._say(f"  {member.name} ended with {code}")

    def _evidence(self, world: World, load: Load, faults: Faults, limits: Limits) -> Evidence:
        for carrier in world.carriers:
            carrier.close()
        workers = _rows(world, WorkerRow, "worker")
        settled = {one.id: one.ended_at for one in workers}
        for one in faults.killed:
            at = settled.get(one.worker_id)
            one.settled_ns = None if at is None else at * 1_000_000
        main = _tasks_of_flow(world)
        (lines,) = limits.task_lines.values()
        limits.task_lines = dict.fromkeys(main, lines)  # each round inherits it
        nodes = _nodes(world)
        return Evidence(
            seen=sorted((one for carrier in world.carriers for one in carrier.seen()), key=lambda one: one.at_ns),
            calls=_rows(world, CallRow, "call"),
            tasks=_rows(world, TaskRow, "task"),
            workers=workers,
            nodes=nodes,
            limits=limits,
            takeover_seconds=TAKEOVER_SECONDS,
            interval_seconds=MINUTE_SECONDS,
            stops=load.stops,
            killed=faults.killed,
            frozen=faults.frozen,
            back=faults.back,
            asterisk_deaths_ns=faults.asterisk_deaths_ns,
            asked_twice=load.asked_twice,
        )


def _rows(world: World, kind: type[Any], table: str) -> list[Any]:
    columns = ", ".join(kind.__struct_fields__)
    return [msgspec.convert(row, kind) for row in world.rows(f"SELECT {columns} FROM {table} ORDER BY id")]


def _tasks_of_flow(world: World) -> Sequence[int]:
    (parent,) = world.rows(f"SELECT id FROM task WHERE name = '{MAIN}'")
    return [parent["id"], *(row["task_id"] for row in world.rows("SELECT task_id FROM node WHERE task_id IS NOT NULL"))]


def _nodes(world: World) -> list[NodeRow]:
    rows = world.rows(
        "SELECT n.id, n.state, n.task_id, n.due_at, n.qualified,"
        " coalesce(lag(n.task_id) OVER (ORDER BY n.position), f.parent_task_id) AS previous_task_id"
        " FROM node n JOIN flow f ON f.id = n.flow_id ORDER BY n.position"
    )
    return [msgspec.convert(row, NodeRow) for row in rows]
