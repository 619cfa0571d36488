"""A whole dialler in memory: the real roles and store on the sandbox engine, under the virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING

from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.states import FlowState, TaskState
from ringback.model.task import Limits, TaskSpec, build_numbers
from ringback.model.template import Gather, Say, Tag, Template
from ringback.roles.conductor import Conductor
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.library import TemplateLibrary
from ringback.store import accounts, flows, tasks, templates, trunks
from ringback.store.database import News, Store
from ringback.store.opening import open_store
from ringback.telephony.sandbox import SandboxEngine
from ringback.voice.speech import Speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from ringback.clock import VirtualClock
    from ringback.telephony.port import Engine

#: Nothing else writes to the store, so the roles need not look unasked.
NO_POLL = 7200.0

QUESTION = Template(
    name="question",
    initial_node="ask",
    nodes={
        "ask": [
            Gather(prompt=Say("Press one or nine, please, whichever it is."), timeout=3, cases={"1": "yes", "9": "no"}),
            Tag("100"),
        ],
        "yes": [Tag("101"), Say("Thanks.")],
        "no": [Tag("109")],
    },
)


class Campaign:
    """The open store, its fixtures and the running roles. Made by :func:`campaign`."""

    def __init__(self, store: Store, clock: VirtualClock, engine: Engine, url: str) -> None:
        self.store = store
        self.clock = clock
        self.engine = engine
        self.url = url
        self.account_id = 0
        self.application_id = 0
        self.template_id = 0
        self.dialler: Dialler | None = None
        self._running: list[asyncio.Task[None]] = []
        self._conductor: Conductor | None = None

    async def furnish(self, *, rate: float = 1000, channels: int = 5000) -> None:
        """An account, a trunk and a template."""
        now = self.clock.now_ms()
        async with self.store.write() as tx:
            self.account_id = await accounts.create(
                tx,
                name="a",
                api_key="key1",
                api_secret="secret",
                time_zone="UTC",
                envelope="both",
                allowed_networks=[],
                now_ms=now,
            )
            application = await accounts.application_of(tx, self.account_id, accounts.DEFAULT_APP_ID)
            assert application is not None
            self.application_id = application.id
            await trunks.add(tx, name="t", engine="sandbox", calls_per_second=rate, channels=channels, now_ms=now)
            self.template_id = await templates.add(tx, QUESTION, {}, account_id=None, now_ms=now)

    async def create(
        self,
        numbers: Sequence[str],
        *,
        name: str = "task",
        flow: FlowSpec | None = None,
        limits: Limits | None = None,
        send_at: int | None = None,
    ) -> tuple[int, int]:
        """A task, and its flow. Returns their ids (the flow's 0 without one)."""
        built = build_numbers(((number, {}) for number in numbers), field="numbers", needed_texts=frozenset())
        now = self.clock.now_ms()
        async with self.store.write() as tx:
            spec = TaskSpec(
                name=name,
                template_id=self.template_id,
                application_id=self.application_id,
                send_at=send_at,
                limits=limits or Limits(ring_seconds=20),
            )
            task_id = await tasks.create(tx, self.account_id, spec, built.calls, now)
            flow_id = 0
            if flow is not None:
                flow_id = await flows.create(
                    tx, self.account_id, task_id, flow, parent_template_id=self.template_id, now_ms=now
                )
        self.store.announce(News.WORK)
        return task_id, flow_id

    def start(self, *, poll: float = NO_POLL) -> None:
        """Run dialler and conductor. ``poll``: how often the conductor looks unasked, seconds."""
        library = TemplateLibrary(self.store, Speech(self.clock, None))
        settings = DiallerSettings(idle_poll_seconds=NO_POLL, drain_seconds=60)
        self.dialler = Dialler(self.store, self.engine, self.clock, library, settings)
        self._running = [asyncio.create_task(self.dialler.run())]
        self.start_conductor(poll=poll)

    def start_conductor(self, *, poll: float = NO_POLL) -> None:
        """Run the conductor alone: the story has diallers of its own."""
        self._conductor = Conductor(self.store, self.clock, idle_poll_seconds=poll)
        self._running.append(asyncio.create_task(self._conductor.run()))

    async def stop(self) -> None:
        """End the roles in good order."""
        for role in (self.dialler, self._conductor):
            if role is not None:
                role.stop()
        await asyncio.gather(*self._running)
        self._running = []

    def what_a_kill_would_leave(self, path: Path) -> str:
        """Copy the database as it is on disk now, in the middle of everything. Returns the copy's URL."""
        source = sqlite3.connect(self.url.removeprefix("sqlite:///"))
        copy = sqlite3.connect(path)
        source.backup(copy)
        # After a kill the file is where it was; a copy that is not would be taken for a restored one.
        copy.execute("UPDATE provenance SET origin = NULL")
        copy.commit()
        copy.close()
        source.close()
        return f"sqlite:///{path}"

    async def task(self, task_id: int) -> tasks.Task:
        """The task as stored."""
        async with self.store.read() as tx:
            found = await tasks.get(tx, task_id)
        assert found is not None
        return found

    async def flow(self, flow_id: int) -> flows.FlowDetail:
        """The flow as stored."""
        async with self.store.read() as tx:
            found = await flows.detail(tx, flow_id)
        assert found is not None
        return found

    async def until_task(self, task_id: int, state: TaskState = TaskState.FINISHED) -> tasks.Task:
        """Wait until the task is in that state. A role that broke fails the test."""
        bell = self.store.subscribe(News.WORK, News.LINES)
        try:
            while (found := await self.task(task_id)).state is not state:
                await self._wait(bell)
            return found
        finally:
            self.store.unsubscribe(bell)

    async def until_flow(self, flow_id: int, state: FlowState = FlowState.COMPLETED) -> flows.FlowDetail:
        """Wait until the flow is in that state. A role that broke fails the test."""
        bell = self.store.subscribe(News.WORK)
        try:
            while (found := await self.flow(flow_id)).state is not state:
                await self._wait(bell)
            return found
        finally:
            self.store.unsubscribe(bell)

    async def _wait(self, bell: object) -> None:
        for running in self._running:
            if running.done():
                running.result()
        await bell.wait(NO_POLL)  # type: ignore[attr-defined]  # a Bell; its class is not worth an import


@contextlib.asynccontextmanager
async def campaign(
    clock: VirtualClock,
    *,
    url: str = "sqlite://",
    engine: Engine | None = None,
    rate: float = 1000,
    channels: int = 5000,
    furnish: bool = True,
) -> AsyncIterator[Campaign]:
    """A furnished store with its roles, not started yet."""
    store = await open_store(url, clock)
    made = Campaign(store, clock, engine or SandboxEngine(clock), url)
    try:
        if furnish:
            await made.furnish(rate=rate, channels=channels)
        yield made
        await made.stop()
    finally:
        await store.close()


def failed_flow(rounds: int = 3, interval: int = 1440) -> FlowSpec:
    """Recall the failed."""
    return FlowSpec(recall_type=RecallType.FAILED, interval_minutes=interval, rounds=rounds)


def numbers(count: int, prefix: str = "4930") -> list[str]:
    """Numbers whose endings go through the whole table of test numbers."""
    return [f"{prefix}{number:07d}" for number in range(count)]
