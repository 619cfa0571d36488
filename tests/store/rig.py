"""A store with one account, a trunk and a template, and short ways to make and move what the tests are about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import text

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.states import FlowState
from ringback.model.task import Limits, NewCall, TaskSpec
from ringback.model.template import Hangup, Template
from ringback.store import (
    accounts,
    calls,
    flow_edits,
    flows,
    leases,
    node_start,
    nodes,
    submission,
    tasks,
    templates,
    trunks,
    workers,
)
from ringback.store.calls import Answer, CallResult
from ringback.store.database import Store
from ringback.store.flows import FlowDetail
from ringback.store.leases import Lease, LeaseBatch
from ringback.store.opening import open_store
from ringback.store.tasks import Task

#: A Monday, 08:00 UTC.
START_MS = 1_767_600_000_000
HORIZON_US = 100_000
GRACE_US = 250_000
ENGINE = "sandbox"
MINUTE_MS = 60_000

TEMPLATE = Template(name="bye", initial_node="first", nodes={"first": [Hangup()]})


class SetClock:
    """A clock that stands still until it is set. Only what the store asks of a clock."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.us = now_ms * 1000

    @property
    def ms(self) -> int:
        """Now, epoch milliseconds."""
        return self.us // 1000

    def advance(self, ms: int) -> None:
        """Go forward, or back."""
        self.us += ms * 1000

    def now_ms(self) -> int:
        return self.ms

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        # Only the news of PostgreSQL are gathered for some milliseconds.
        await asyncio.sleep(seconds)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        yield


class Rig:
    """The open store with what every test needs; ``account``, ``app``, ``trunk``, ``template``, ``worker`` are ids."""

    def __init__(self, store: Store, clock: SetClock) -> None:
        self.store = store
        self.clock = clock
        self.account = self.app = self.trunk = self.template = self.worker = 0
        self._lease_no = 0
        #: The lease that each call left the queue with.
        self.lease_nos: dict[int, int] = {}

    async def furnish(self, **trunk: Any) -> Rig:
        """Make the account and the rest."""
        self.account, self.app = await self.new_account("acme")
        self.trunk = await self.new_trunk("t1", **trunk)
        self.template = await self.new_template()
        self.worker = await self.new_worker()
        return self

    async def new_account(self, name: str) -> tuple[int, int]:
        """An account and its application."""
        async with self.store.write() as tx:
            account_id = await accounts.create(
                tx,
                name=name,
                api_key=f"key-{name}",
                api_secret="secret",
                time_zone="UTC",
                envelope="both",
                allowed_networks=[],
                now_ms=self.clock.ms,
            )
            app = await accounts.application_of(tx, account_id, "default")
        assert app is not None
        return account_id, app.id

    async def new_trunk(self, name: str, *, rate: float = 1000.0, channels: int = 1000, engine: str = ENGINE) -> int:
        async with self.store.write() as tx:
            return await trunks.add(
                tx, name=name, engine=engine, calls_per_second=rate, channels=channels, now_ms=self.clock.ms
            )

    async def new_template(self, account_id: int | None = None) -> int:
        async with self.store.write() as tx:
            return await templates.add(tx, TEMPLATE, {}, account_id=account_id, now_ms=self.clock.ms)

    async def new_worker(self, *, engine: str = ENGINE) -> int:
        async with self.store.write() as tx:
            return await workers.register(tx, engine=engine, pid=1, now_ms=self.clock.ms)

    async def new_task(
        self,
        numbers: int | Sequence[str | NewCall] = 3,
        *,
        name: str = "",
        account: tuple[int, int] | None = None,
        send_in_ms: int | None = None,
        flow: FlowSpec | None = None,
        started: bool = True,
        template: int | None = None,
        **limits: Any,
    ) -> int:
        """A task with numbers (so many, or these), submitted unless told otherwise, with a recall flow if given."""
        account_id, app = account or (self.account, self.app)
        listed = [f"49{number:08}" for number in range(numbers)] if isinstance(numbers, int) else numbers
        new = [one if isinstance(one, NewCall) else NewCall(one, "Europe/Berlin", None) for one in listed]
        template_id = template or self.template
        async with self.store.write() as tx:
            total, _ = await tasks.page(tx, account_id, created_from=0, created_to=1 << 60, limit=1, offset=0)
            spec = TaskSpec(
                name=name or f"task {total + 1}",
                template_id=template_id,
                application_id=app,
                send_at=None if send_in_ms is None else self.clock.ms + send_in_ms,
                limits=Limits(**limits),
            )
            task_id = await tasks.create(tx, account_id, spec, new, self.clock.ms)
            if flow is not None:
                await flows.create(tx, account_id, task_id, flow, parent_template_id=template_id, now_ms=self.clock.ms)
        if started:
            await self.submit()
        return task_id

    async def submit(self) -> list[int]:
        """Submit what is due."""
        async with self.store.write() as tx:
            return await submission.submit_due(tx, self.clock.ms, 100, minute_seconds=60)

    async def lease_batch(
        self,
        *,
        worker: int | None = None,
        free_lines: int = 100_000,
        horizon_us: int = HORIZON_US,
        engine: str = ENGINE,
    ) -> LeaseBatch:
        """One lease transaction, as a dialler makes it."""
        self._lease_no += 1
        async with self.store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=worker or self.worker,
                lease_no=self._lease_no,
                engine=engine,
                now_us=self.clock.us,
                horizon_us=horizon_us,
                grace_us=GRACE_US,
                free_lines=free_lines,
            )
        self.lease_nos.update({lease.call_id: lease.lease_no for lease in batch.leases})
        return batch

    async def lease(self, count: int | None = None, *, worker: int | None = None) -> list[Lease]:
        """Lease so many calls, moving the clock on from slot to slot; without a count, those that may start now."""
        if count is None:
            return (await self.lease_batch(worker=worker)).leases
        taken: list[Lease] = []
        for _ in range(1000):
            if len(taken) >= count:
                return taken
            taken += (await self.lease_batch(worker=worker, free_lines=count - len(taken))).leases
            self.clock.advance(HORIZON_US // 1000)
        raise AssertionError(f"only {len(taken)} of {count} calls could be leased")

    async def answer(self, *call_ids: int, worker: int | None = None) -> None:
        async with self.store.write() as tx:
            answers = [Answer(call_id, self.lease_nos.get(call_id, 0), self.clock.ms) for call_id in call_ids]
            await calls.answered(tx, worker or self.worker, answers)

    async def end(
        self,
        *call_ids: int,
        outcome: Outcome = Outcome.ANSWERED,
        intent: str | None = None,
        worker: int | None = None,
    ) -> list[int]:
        """End calls. Returns the tasks that finished."""
        return await self.end_each(dict.fromkeys(call_ids, (outcome, intent)), worker=worker)

    async def end_each(self, ends: Mapping[int, tuple[Outcome, str | None]], *, worker: int | None = None) -> list[int]:
        """End calls, each in its own way, in one transaction. Returns the tasks that finished."""
        results = [
            CallResult(
                call_id=call_id,
                lease_no=self.lease_nos.get(call_id, 0),
                outcome=outcome,
                ended_at=self.clock.ms,
                answered_at=self.clock.ms if outcome in ANSWERED_OUTCOMES else None,
                talk_ms=1000 if outcome in ANSWERED_OUTCOMES else None,
                intent=intent,
            )
            for call_id, (outcome, intent) in ends.items()
        ]
        async with self.store.write() as tx:
            return await calls.ended(tx, worker or self.worker, results, self.clock.ms, minute_seconds=60)

    async def release(self, *call_ids: int, worker: int | None = None) -> None:
        async with self.store.write() as tx:
            releases = [(call_id, self.lease_nos.get(call_id, 0)) for call_id in call_ids]
            await calls.released(tx, worker or self.worker, releases)

    async def run_all(self, task_id: int, ends: Iterable[tuple[Outcome, str | None]] = ()) -> None:
        """Dial every queued number of the task: they end in turn as told, then answered without intent."""
        todo = iter(ends)
        leased = await self.lease((await self.task(task_id)).queued)
        assert {lease.task_id for lease in leased} <= {task_id}
        await self.end_each({lease.call_id: next(todo, (Outcome.ANSWERED, None)) for lease in leased})

    async def suspend(self, task_id: int, *, account: int | None = None) -> int:
        async with self.store.write() as tx:
            return await tasks.suspend(tx, task_id, self.clock.ms, account_id=account)

    async def resume(self, task_id: int, *, account: int | None = None) -> None:
        async with self.store.write() as tx:
            await tasks.resume(tx, task_id, self.clock.ms, minute_seconds=60, account_id=account)

    async def cancel(self, task_id: int, *, account: int | None = None) -> int:
        async with self.store.write() as tx:
            return await tasks.cancel(tx, task_id, self.clock.ms, account_id=account)

    async def due_nodes(self) -> list[int]:
        async with self.store.read() as tx:
            return await nodes.due(tx, self.clock.ms, 100)

    async def start_node(self, node_id: int) -> int | None:
        async with self.store.write() as tx:
            return (await node_start.start_due(tx, self.clock.ms, 1, only=node_id)).get(node_id)

    async def start_next_node(self) -> int | None:
        """Go to the instant at which the next node is due, start it and submit its task. Returns that task."""
        async with self.store.read() as tx:
            due_ms = await nodes.next_due_at(tx)
        assert due_ms is not None, "no node is due"
        self.clock.us = max(self.clock.us, due_ms * 1000)
        (node_id,) = await self.due_nodes()
        task_id = await self.start_node(node_id)
        await self.submit()
        return task_id

    async def edit(self, flow_id: int, spec: FlowSpec, *, account: int | None = None) -> None:
        async with self.store.write() as tx:
            await flow_edits.edit(tx, account or self.account, flow_id, spec, now_ms=self.clock.ms, minute_seconds=60)

    async def cancel_flow(self, by: flows.CancelBy, key: int, *, account: int | None = None) -> None:
        async with self.store.write() as tx:
            await flows.cancel(tx, account or self.account, by, key, self.clock.ms)

    async def task(self, task_id: int) -> Task:
        async with self.store.read() as tx:
            found = await tasks.get(tx, task_id)
        assert found is not None
        return found

    async def flow(self, flow_id: int) -> FlowDetail:
        async with self.store.read() as tx:
            found = await flows.detail(tx, flow_id)
        assert found is not None
        return found

    async def flow_of(self, task_id: int) -> FlowDetail:
        """The flow that hangs on the task."""
        async with self.store.read() as tx:
            flow_id = await tx.scalar(text("SELECT id FROM flow WHERE parent_task_id = :id"), {"id": task_id})
        assert flow_id is not None
        return await self.flow(flow_id)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        """Read with plain SQL: what is really in the tables."""
        async with self.store.read() as tx:
            return list((await tx.execute(text(sql), values)).all())

    async def one(self, sql: str, **values: Any) -> Any:
        """The first column of the only row."""
        ((value,),) = await self.rows(sql, **values)
        return value

    async def run_sql(self, sql: str, **values: Any) -> None:
        """Change with plain SQL, as no code of ours would."""
        async with self.store.write() as tx:
            await tx.execute(text(sql), values)

    async def state_of(self, call_id: int) -> str:
        return str(await self.one("SELECT state FROM call WHERE id = :id", id=call_id))

    async def check_counters(self) -> None:
        """Every counter is the number of rows that it counts."""
        faults: list[tuple[Any, ...]] = []
        for row in await self.rows("SELECT * FROM task"):
            states = dict(
                await self.rows(
                    "SELECT CASE WHEN state <> 'ended' THEN state WHEN outcome IN ('answered', 'voicemail') "
                    "THEN 'answered' ELSE 'failed' END AS kind, count(*) FROM call WHERE task_id = :id GROUP BY kind",
                    id=row.id,
                )
            )
            counted = {
                "queued": states.pop("queued", 0),
                "active": states.pop("dialling", 0) + states.pop("in_progress", 0),
                **{name: states.pop(name, 0) for name in ("answered", "failed", "skipped", "cancelled")},
            }
            assert not states
            stored = {name: getattr(row, name) for name in counted}
            if stored != counted or row.total != sum(counted.values()):
                faults.append((row.id, stored, counted))
            lanes = await self.rows(
                "SELECT zone, route_prefix, queued, cursor FROM lane WHERE task_id = :id", id=row.id
            )
            for lane in lanes:
                queued = await self.rows(
                    "SELECT id FROM call WHERE task_id = :id AND zone = :zone AND route_prefix = :prefix "
                    "AND state = 'queued'",
                    id=row.id,
                    zone=lane.zone,
                    prefix=lane.route_prefix,
                )
                # Everything queued lies behind the cursor, or no lease would ever see it.
                if len(queued) != lane.queued or any(one.id <= lane.cursor for one in queued):
                    faults.append((row.id, lane.zone, lane.queued, len(queued)))
        for row in await self.rows("SELECT id, busy FROM trunk"):
            held = await self.one(
                "SELECT count(*) FROM call WHERE trunk_id = :id AND state IN ('dialling', 'in_progress')", id=row.id
            )
            if held != row.busy:
                faults.append(("trunk", row.id, row.busy, held))
        assert faults == []


class Database(msgspec.Struct, frozen=True):
    """A kind of database: where the next one is. PostgreSQL would be one more kind."""

    kind: str
    url: str

    def run(self, story: Callable[[Rig], Awaitable[None]], **trunk: Any) -> None:
        """Tell the story with a fresh store; ``trunk`` are the ``rate`` and ``channels`` of its first trunk."""

        async def main() -> None:
            async with self.opened() as rig:
                await rig.furnish(**trunk)
                await story(rig)
                await rig.check_counters()

        asyncio.run(main())

    @contextlib.asynccontextmanager
    async def opened(self, clock: SetClock | None = None) -> AsyncIterator[Rig]:
        """The bare store; on a file, one more opening of the same database."""
        chosen = clock or SetClock()
        store = await open_store(self.url, chosen)
        try:
            yield Rig(store, chosen)
        finally:
            await store.close()


def recall(
    recall_type: RecallType = RecallType.ALL,
    *,
    rounds: int = 1,
    interval: int = 5,
    intents: Sequence[str] = (),
    template_ids: Sequence[int] = (),
) -> FlowSpec:
    """A recall flow as it is asked for."""
    return FlowSpec(
        recall_type=recall_type,
        interval_minutes=interval,
        rounds=rounds,
        intents=tuple(intents),
        template_ids=tuple(template_ids),
    ).checked()


def node_states(flow: FlowDetail) -> list[FlowState]:
    """The states of its nodes in running order."""
    return [node.state for node in flow.nodes]
