"""The courier in long or odd trouble, under the virtual clock: outages of hours, spoilt batches, a lost lease."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import insert, text

from ringback.clock import VirtualClock
from ringback.model.delivery import Tried
from ringback.model.report import Event, Form
from ringback.roles.courier import Courier, CourierSettings
from ringback.roles.sender import AT_ONCE
from ringback.store import report_endpoints
from ringback.store.database import Store
from ringback.store.schema_reports import report
from tests.roles.campaign import Campaign, campaign, numbers

OK = Tried(200)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Answer = Callable[[int], Awaitable[Tried]]


class FakePost:
    """Receivers by URL: each a function of how many requests it has had."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.answers: dict[str, Answer] = {}
        #: Every request: when (seconds), to whom, which id, which body.
        self.got: list[tuple[float, str, str, Any]] = []
        self.most_at_once: Counter[str] = Counter()
        self._now: Counter[str] = Counter()

    async def send(self, url: str, headers: Mapping[str, str], body: str) -> Tried:
        told = headers.get("webhook-id") or headers.get("Idempotency-Key") or ""
        self.got.append((self.clock.monotonic(), url, told, msgspec.json.decode(body)))
        self._now[url] += 1
        self.most_at_once[url] = max(self.most_at_once[url], self._now[url])
        try:
            return await self.answers[url](len(self.to(url)))
        finally:
            self._now[url] -= 1

    async def close(self) -> None:
        pass

    def to(self, url: str) -> list[tuple[float, str, str, Any]]:
        return [one for one in self.got if one[1] == url]

    def ids(self, url: str) -> list[str]:
        return [one[2] for one in self.to(url)]


class Desk:
    """A store, receivers in it, and couriers."""

    def __init__(self, world: Campaign, post: FakePost) -> None:
        self.world = world
        self.store: Store = world.store
        self.clock = world.clock
        self.post = post
        self.running: list[tuple[Courier, asyncio.Task[None]]] = []

    async def receiver(self, url: str, answer: Answer, form: Form = Form.EVENTS) -> int:
        self.post.answers[url] = answer
        async with self.store.write() as tx:
            return await report_endpoints.add(
                tx,
                account_id=self.world.account_id,
                application_id=None,
                url=url,
                form=form,
                secret=SECRET if form is Form.EVENTS else "token",
                events=(),
                now_ms=self.clock.now_ms(),
            )

    async def put(self, to: int, count: int = 1, *, flow: int = 1, barrier: bool = False, due_in: float = 0) -> None:
        now = self.clock.now_ms()
        async with self.store.write() as tx:
            row = {
                "endpoint_id": to,
                "event": str(Event.TASK_FINISHED),
                "subject_id": 1,
                "flow_key": flow,
                "barrier": barrier,
                "body": '{"n":1}',
                "created_at": now,
                "due_at": now + round(due_in * 1000),
            }
            await tx.execute(insert(report), [row] * count)

    def start(self, *, poll: float = 1.0) -> Courier:
        courier = Courier(self.store, self.clock, lambda: self.post, CourierSettings(idle_poll_seconds=poll))
        self.running.append((courier, asyncio.create_task(courier.run())))
        return courier

    async def stop(self) -> None:
        for courier, _ in self.running:
            courier.stop()
        await asyncio.gather(*(task for _, task in self.running))
        self.running.clear()

    async def states(self, to: int) -> Counter[str]:
        async with self.store.read() as tx:
            rows = await tx.execute(text("SELECT state FROM report WHERE endpoint_id = :id"), {"id": to})
            return Counter(row.state for row in rows)

    async def until(self, to: int, *, seconds: float, step: float = 0.5, **states: int) -> float:
        """Wait for these counts, looking every ``step`` seconds. Returns how long that took."""
        began = self.clock.monotonic()
        while (found := await self.states(to)) != Counter(states):
            for _, task in self.running:
                if task.done():
                    task.result()
            assert self.clock.monotonic() - began < seconds, (found, self.post.got[-5:])
            await self.clock.sleep(step)
        return self.clock.monotonic() - began


@contextlib.asynccontextmanager
async def opened(clock: VirtualClock) -> AsyncIterator[Desk]:
    async with campaign(clock) as world:
        desk = Desk(world, FakePost(clock))
        try:
            yield desk
        finally:
            await desk.stop()


def run(story: Callable[[Desk], Awaitable[None]]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with opened(clock) as desk:
            await story(desk)

    clock.run(main())


async def fine(_: int) -> Tried:
    return OK


def test_one_that_is_never_taken_holds_up_no_other_call() -> None:
    async def story(desk: Desk) -> None:
        async def answer(_: int) -> Tried:
            return Tried(500) if desk.post.got[-1][2] == "msg_1" else OK

        to = await desk.receiver("a", answer)
        await desk.put(to, 200)
        desk.start()
        await desk.until(to, seconds=10, delivered=199, pending=1)
        await desk.stop()
        # Days go by; delivered reports are still there.
        desk.start(poll=120)
        await desk.until(to, seconds=6 * 86_400, step=3600, delivered=199, dead=1)
        tries = [when for when, _, name, _ in desk.post.to("a") if name == "msg_1"]
        waits = [after - before for before, after in itertools.pairwise(tries)]
        assert 8 <= len(tries) <= 16
        assert max(waits) <= 86_400 + 125
        assert waits[4] < waits[6] < waits[8], "whatever the spread is; the first ones are lost in the looks"

    run(story)


def test_a_dead_receiver_is_probed_and_its_backlog_follows_when_it_is_back() -> None:
    async def story(desk: Desk) -> None:
        back_at = desk.clock.monotonic() + 2 * 3600

        async def answer(_: int) -> Tried:
            return OK if desk.clock.monotonic() >= back_at else Tried(None, "refused")

        to = await desk.receiver("a", answer)
        await desk.put(to, 5000)
        desk.start(poll=10)
        await desk.clock.sleep(2 * 3600 - 1)
        assert len(desk.post.got) < 60, "one window, and then probes"
        # At most ten minutes until the next probe; what failed is not left for hours.
        await desk.until(to, seconds=700, step=5, delivered=5000)

    run(story)


def test_gone_disables_and_keeps_what_is_pending() -> None:
    async def story(desk: Desk) -> None:
        async def answer(count: int) -> Tried:
            await desk.clock.sleep(0.2)
            return Tried(410) if count == 5 else OK

        to = await desk.receiver("a", answer)
        await desk.put(to, 300)
        desk.start()
        await desk.clock.sleep(20)
        sent = len(desk.post.got)
        assert sent <= 3 * AT_ONCE
        async with desk.store.read() as tx:
            found = await report_endpoints.get(tx, to)
        assert found is not None
        assert "410" in (found.disabled_reason or "")
        # What the others in flight came to was noted: they are not sent again.
        assert (await desk.states(to))["delivered"] == sent - 1
        desk.post.answers["a"] = fine
        async with desk.store.write() as tx:
            await report_endpoints.enable(tx, to, desk.clock.now_ms())
        await desk.until(to, seconds=30, delivered=300)
        assert Counter(desk.post.ids("a")).most_common(1)[0][1] == 2
        assert sum(Counter(desk.post.ids("a")).values()) == 301

    run(story)


def test_slow_and_dead_receivers_do_not_slow_another() -> None:
    async def story(desk: Desk) -> None:
        async def hangs(_: int) -> Tried:
            await desk.clock.sleep(15)
            return Tried(None, "no answer in time")

        async def slow(_: int) -> Tried:
            await desk.clock.sleep(14)
            return OK

        for number in range(60):
            bad = await desk.receiver(f"bad{number}", hangs if number % 2 else slow)
            await desk.put(bad, 100)
        good = await desk.receiver("good", fine)
        await desk.put(good, 2000)
        desk.start()
        assert await desk.until(good, seconds=60, delivered=2000) < 20

    run(story)


def test_batches_and_what_failed_in_one_goes_alone() -> None:
    async def story(desk: Desk) -> None:
        poison = ""

        async def answer(_: int) -> Tried:
            nonlocal poison
            ids = [one["voiceId"] for one in desk.post.got[-1][3]["array"]]
            poison = poison or ids[3]
            return Tried(400) if poison in ids else OK

        to = await desk.receiver("a", answer, Form.BATCH)
        task_id, _ = await desk.world.create(numbers(150, "49300000"))
        desk.world.start()
        await desk.world.until_task(task_id)
        desk.start()
        await desk.until(to, seconds=3600, delivered=149, pending=1)
        sizes = [len(body["array"]) for *_, body in desk.post.to("a")]
        assert sizes[0] == 100
        assert set(sizes[2:]) == {1}
        assert [name for *_, name, _ in desk.post.to("a") if name] == []

    run(story)


def test_one_that_was_overtaken_sends_nothing_more() -> None:
    async def story(desk: Desk) -> None:
        async def slow(_: int) -> Tried:
            await desk.clock.sleep(2)
            return OK

        to = await desk.receiver("a", slow)
        await desk.put(to, 100)
        desk.start()
        await desk.clock.sleep(1)
        async with desk.store.write() as tx:
            await tx.execute(text("UPDATE report_endpoint SET courier = 'other', leased_until = 9000000000000"))
        await desk.clock.sleep(30)
        # It learns it with the first note: by then one more window may be under way.
        assert len(desk.post.got) <= 2 * AT_ONCE
        assert await desk.states(to) == Counter(pending=100), "the other sends them again"

    run(story)


def test_old_deliveries_are_forgotten_and_nothing_else() -> None:
    async def story(desk: Desk) -> None:
        async def answer(_: int) -> Tried:
            return OK if desk.post.got[-1][2] != "msg_1" else Tried(400)

        to = await desk.receiver("a", answer)
        await desk.put(to, 2500)
        desk.start()
        await desk.until(to, seconds=60, delivered=2499, pending=1)
        await desk.stop()
        desk.start(poll=600)
        await desk.clock.sleep(6.9 * 86_400)
        assert (await desk.states(to))["delivered"] == 2499
        await desk.clock.sleep(0.2 * 86_400)
        assert await desk.states(to) == Counter(dead=1)

    run(story)


def test_a_text_message_leaves_when_it_is_due_under_one_id() -> None:
    async def story(desk: Desk) -> None:
        async def answer(count: int) -> Tried:
            return OK if count > 2 else Tried(503)

        to = await desk.receiver("sms", answer, Form.SMS)
        await desk.put(to, due_in=60)
        desk.start()
        took = await desk.until(to, seconds=200, delivered=1)
        assert took >= 60
        assert set(desk.post.ids("sms")) == {"sms_1"}

    run(story)
