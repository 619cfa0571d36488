"""Callees connected with phones of ours, by the real roles on the sandbox: the phone first, or the callee first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from ringback.clock import VirtualClock
from ringback.model import sandbox_numbers as numbers
from ringback.model.connect_step import Connect
from ringback.model.states import TaskState
from ringback.model.task import Limits, NewCall, TaskKind, TaskSpec
from ringback.model.template import Gather, Hangup, Say, Step, Tag, Template
from ringback.roles.control import cancel_tasks
from ringback.store import accounts, phones, records, seats, tasks, templates
from ringback.store.database import News
from ringback.store.phones import NewPhone
from ringback.store.records import CallRecord
from ringback.telephony.port import PHONE_LEG, DialOrder
from ringback.telephony.sandbox import SandboxEngine, SandboxLeg
from roles.campaign import Campaign, campaign

PERSON, BUSY, RINGS_ON, PRESSES_1, HANGS_UP = "493000", "493060", "493070", "493040", "493055"
LIMITS = Limits(ring_seconds=30, call_seconds=100)
FIRST = [Connect(phone="${text1}")]


class Watched(SandboxEngine):
    """Keeps the orders with their instants, and the legs."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.orders: list[tuple[float, DialOrder]] = []
        self.made: list[SandboxLeg] = []
        self.connected: list[tuple[SandboxLeg, SandboxLeg]] = []

    async def dial(self, order: DialOrder) -> SandboxLeg:
        self.orders.append((self._clock.monotonic(), order))
        leg = await super().dial(order)
        self.made.append(leg)
        return leg

    def dialled(self) -> list[str]:
        return [order.callee for _, order in self.orders]


class Desk:
    """A campaign with phones."""

    def __init__(self, made: Campaign, engine: Watched) -> None:
        self.made = made
        self.engine = engine
        self.group = 0

    async def phones(self, *logins: str) -> None:
        async with self.made.store.write() as tx:
            new = [NewPhone(f"desk-{login}", login, "0" * 32) for login in logins]
            self.group = await phones.add_group(
                tx, self.made.application_id, name="sales", caller_id="", phones=new, now_ms=1
            )

    async def template(self, *steps: Step, **nodes: list[Step]) -> int:
        value = Template(name="t", initial_node="start", nodes={"start": list(steps), **nodes})
        async with self.made.store.write() as tx:
            return await templates.add(tx, value, {}, account_id=None, now_ms=1)

    async def task(self, template_id: int, *callees: str, texts: dict[str, str] | None = None, **spec: Any) -> int:
        stored = msgspec.json.encode(texts).decode() if texts else None
        async with self.made.store.write() as tx:
            wanted = TaskSpec(
                name=spec.pop("name", "task"),
                template_id=template_id,
                application_id=self.made.application_id,
                limits=LIMITS,
                kind=TaskKind.PHONE,
                **spec,
            )
            calls = [NewCall(callee, "Europe/Berlin", stored) for callee in callees]
            task_id = await tasks.create(tx, self.made.account_id, wanted, calls, self.made.clock.now_ms())
        self.made.store.announce(News.WORK)
        return task_id

    async def records(self, task_id: int) -> list[CallRecord]:
        await self.made.until_task(task_id)
        async with self.made.store.read() as tx:
            return [record async for record in records.listed(tx, task_id)]

    async def record(self, task_id: int) -> CallRecord:
        (record,) = await self.records(task_id)
        return record

    async def busy_phones(self) -> list[str]:
        async with self.made.store.read() as tx:
            return list(await tx.scalars(text("SELECT login FROM phone WHERE busy_call_id IS NOT NULL ORDER BY id")))

    async def until_free(self) -> None:
        async with asyncio.timeout(60):
            while await self.busy_phones():
                await self.made.clock.sleep(0.1)
        assert self.engine.free_lines() == SandboxEngine(self.made.clock).free_lines()


def at_the_desk(story: Callable[[Desk], Awaitable[None]], **parts: Any) -> None:
    clock = VirtualClock()

    async def main() -> None:
        engine = Watched(clock)
        async with campaign(clock, engine=engine, **parts) as made:
            desk = Desk(made, engine)
            await desk.phones("1000000001", "1000000002")
            made.start()
            await story(desk)
            await desk.until_free()

    clock.run(main())


class TestCalleeFirst:
    def test_a_callee_is_connected_with_a_free_phone(self) -> None:
        async def story(desk: Desk) -> None:
            template = await desk.template(Say("One moment."), Connect(group=desk.group), Say("Nobody is there."))
            record = await desk.record(await desk.task(template, PERSON))
            assert (record.outcome, record.reason) == (
                "answered",
                "connected with phone 1000000001; callee hung up",
            )
            assert record.talk_ms == 20_000, "as long as the callee stays, and no notice was said"
            _, phone = desk.engine.orders[1]
            assert (phone.call_id, phone.callee, phone.phone_user, phone.beside) == (
                PHONE_LEG + 1,
                "1000000001",
                "1000000001",
                1,
            )

        at_the_desk(story)

    def test_by_key(self) -> None:
        async def story(desk: Desk) -> None:
            ask = Gather(prompt=Say("Press one for a person."), timeout=3.0, cases={"1": "person"})
            template = await desk.template(ask, Tag("100"), person=[Tag("101"), Connect(group=desk.group)])
            by_key, without = await desk.records(await desk.task(template, PRESSES_1, PERSON))
            assert (by_key.intent, by_key.reason) == ("101", "connected with phone 1000000001; callee hung up")
            assert (without.intent, without.reason) == ("100", "template ended")

        at_the_desk(story)

    def test_when_the_phone_hangs_up_the_callee_is_hung_up(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.HANGS_UP
            template = await desk.template(Connect(group=desk.group), Say("Never said."))
            record = await desk.record(await desk.task(template, PERSON))
            assert (record.hung_up_by, record.reason) == ("ringback", "connected with phone 1000000001; phone hung up")
            assert 1_500 <= record.talk_ms <= 2_500  # it rings a second, and hangs up within another

        at_the_desk(story)

    def test_phones_ring_one_after_another(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.BUSY
            template = await desk.template(Connect(group=desk.group))
            record = await desk.record(await desk.task(template, PERSON))
            assert record.reason == "connected with phone 1000000002; callee hung up"
            assert desk.engine.dialled() == [PERSON, "1000000001", "1000000002"]

        at_the_desk(story)

    def test_with_nobody_there_the_template_goes_on_and_the_reason_is_told(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones |= dict.fromkeys(("1000000001", "1000000002"), numbers.BUSY)
            template = await desk.template(Connect(group=desk.group), Tag("102"), Say("Nobody is there."))
            record = await desk.record(await desk.task(template, PERSON))
            assert (record.intent, record.reason) == ("102", "phone 1000000002 did not answer; template ended")

        at_the_desk(story)

    def test_a_phone_that_rings_in_vain_is_given_up_after_twenty_seconds(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.RINGS_ON
            stays = await desk.template(Connect(phone="1000000001"), Tag("102"))
            # Its first step names a phone, so that one is called first.
            record = await desk.record(await desk.task(stays, PERSON))
            assert record.state == "skipped"
            callee_first = await desk.template(Tag("101"), Connect(phone="1000000001"), Tag("102"))
            record = await desk.record(await desk.task(callee_first, "493001", name="second"))
            assert record.reason in {
                "phone 1000000001 did not answer; template ended",
                "callee hung up",  # who stays for just as long
            }

        at_the_desk(story)

    def test_two_callees_get_two_phones_and_the_third_none(self) -> None:
        async def story(desk: Desk) -> None:
            template = await desk.template(Connect(group=desk.group))
            found = await desk.records(await desk.task(template, "493000", "493001", "493002"))
            assert sorted(record.reason for record in found) == [
                "connected with phone 1000000001; callee hung up",
                "connected with phone 1000000002; callee hung up",
                f"no phone of group {desk.group} is free; template ended",
            ]

        at_the_desk(story)

    def test_a_callee_who_hangs_up_while_it_rings_leaves_the_phone_free(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.RINGS_ON
            template = await desk.template(Connect(group=desk.group))
            record = await desk.record(await desk.task(template, HANGS_UP))
            assert record.reason == "callee hung up"
            await desk.until_free()

        at_the_desk(story)

    @pytest.mark.parametrize("group", [99, 0])
    def test_another_groups_number_and_another_accounts_group_are_none(self, group: int) -> None:
        async def story(desk: Desk) -> None:
            if group == 0:
                async with desk.made.store.write() as tx:
                    other = await accounts.create(
                        tx,
                        name="b",
                        api_key="key2",
                        api_secret="secret",
                        time_zone="UTC",
                        envelope="both",
                        allowed_networks=[],
                        now_ms=1,
                    )
                    app = await accounts.application_of(tx, other, "default")
                    assert app is not None
                    for table in ("phone", "phone_group"):
                        await tx.execute(text(f"UPDATE {table} SET application_id = {app.id}"))
            wanted = group or desk.group
            template = await desk.template(Connect(group=wanted))
            record = await desk.record(await desk.task(template, PERSON))
            assert record.reason == f"there is no group {wanted}; template ended"

        at_the_desk(story)


class TestPhoneFirst:
    def texts(self, login: str = "1000000001") -> dict[str, str]:
        return {"text1": login}

    def test_the_number_is_dialled_when_the_phone_has_been_picked_up(self) -> None:
        async def story(desk: Desk) -> None:
            task_id = await desk.task(await desk.template(*FIRST), PERSON, texts=self.texts())
            record = await desk.record(task_id)
            assert (record.outcome, record.reason) == ("answered", "connected with phone 1000000001; callee hung up")
            assert desk.engine.dialled() == ["1000000001", PERSON]
            (rang_at, phone), (dialled_at, callee) = desk.engine.orders
            assert dialled_at >= rang_at + numbers.RING_SECONDS
            assert (phone.beside, callee.beside) == (None, PHONE_LEG + callee.call_id)
            await desk.until_free()

        at_the_desk(story)

    @pytest.mark.parametrize(
        ("behaviour", "reason"),
        [(numbers.BUSY, "phone 1000000001 did not answer"), (numbers.RINGS_ON, "phone 1000000001 did not answer")],
    )
    def test_a_phone_that_nobody_picks_up_leaves_the_number_undialled(self, behaviour: Any, reason: str) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = behaviour
            task_id = await desk.task(await desk.template(*FIRST), PERSON, texts=self.texts())
            record = await desk.record(task_id)
            assert (record.state, record.outcome, record.reason) == ("skipped", None, reason)
            assert desk.engine.dialled() == ["1000000001"]
            task = await desk.made.task(task_id)
            assert (task.skipped, task.queued, task.active) == (1, 0, 0)
            async with desk.made.store.read() as tx:
                assert await tx.scalar(text("SELECT busy FROM trunk")) == 0

        at_the_desk(story)

    def test_a_busy_phone_and_an_unknown_one(self) -> None:
        async def story(desk: Desk) -> None:
            template = await desk.template(*FIRST)
            first = await desk.task(template, "493000", texts=self.texts())
            second = await desk.task(template, "493001", texts=self.texts(), name="second")
            third = await desk.task(template, "493002", texts=self.texts("4711"), name="third")
            assert (await desk.record(first)).outcome == "answered"
            assert (await desk.record(second)).reason == "phone '1000000001' is busy"
            assert (await desk.record(third)).reason == "there is no phone '4711'"
            assert "493001" not in desk.engine.dialled()

        at_the_desk(story)

    def test_a_callee_who_does_not_answer_is_a_result_as_ever(self) -> None:
        async def story(desk: Desk) -> None:
            record = await desk.record(await desk.task(await desk.template(*FIRST), BUSY, texts=self.texts()))
            assert (record.outcome, record.sip_code) == ("busy", 486)

        at_the_desk(story)

    def test_a_phone_that_is_hung_up_before_the_callee_answers_ends_the_call(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.HANGS_UP
            record = await desk.record(await desk.task(await desk.template(*FIRST), RINGS_ON, texts=self.texts()))
            assert (record.outcome, record.reason) == ("no_answer", "the phone hung up before the callee answered")
            assert record.ring_ms < 2_000

        at_the_desk(story)

    def test_a_cancel_while_the_phone_rings_keeps_the_number_undialled(self) -> None:
        async def story(desk: Desk) -> None:
            task_id = await desk.task(await desk.template(*FIRST), PERSON, texts=self.texts())
            while not desk.engine.orders:
                await desk.made.clock.sleep(0.05)
            await cancel_tasks(desk.made.store, desk.made.clock, [task_id], account_id=desk.made.account_id)
            await desk.made.clock.sleep(10)
            await desk.until_free()
            assert desk.engine.dialled() == ["1000000001"]
            task = await desk.made.task(task_id)
            assert (task.state, task.cancelled, task.active) == (TaskState.CANCELLED, 1, 0)

        at_the_desk(story)

    def test_the_rate_holds_for_the_numbers(self) -> None:
        """Ten phones are picked up at once, beside a task of twenty numbers: all of them leave at the trunk's rate."""

        async def story(desk: Desk) -> None:
            async with desk.made.store.write() as tx:
                new = [NewPhone(f"more-{number}", f"20000000{number:02}", "0" * 32) for number in range(10)]
                await phones.add_group(tx, desk.made.application_id, name="more", caller_id="", phones=new, now_ms=1)
            template = await desk.template(*FIRST)
            ids = [
                await desk.task(
                    template, f"4930{number:02}", texts=self.texts(f"20000000{number:02}"), name=f"t {number}"
                )
                for number in range(10)
            ]
            plain = await desk.template(Hangup())
            others = await desk.task(plain, *[f"4940{number:02}" for number in range(20)], name="beside")
            for task_id in ids:
                assert (await desk.record(task_id)).outcome == "answered"
            assert len(await desk.records(others)) == 20
            left = sorted(at for at, order in desk.engine.orders if order.call_id < PHONE_LEG)
            assert len(left) == 30
            for start in left:
                assert sum(start <= at < start + 1.0 for at in left) <= 3, "rate + 1"

        at_the_desk(story, rate=2)

    def test_a_stop_of_the_dialler_skips_what_rings(self) -> None:
        async def story(desk: Desk) -> None:
            desk.engine.phones["1000000001"] = numbers.RINGS_ON
            task_id = await desk.task(await desk.template(*FIRST), PERSON, texts=self.texts())
            while not desk.engine.orders:
                await desk.made.clock.sleep(0.05)
            await desk.made.stop()
            assert desk.engine.dialled() == ["1000000001"]
            task = await desk.made.task(task_id)
            assert (task.skipped, task.active) == (1, 0)

        at_the_desk(story)


def test_the_phones_of_a_dead_worker_are_free_when_its_calls_are_settled() -> None:
    async def story(desk: Desk) -> None:
        async with desk.made.store.write() as tx:
            await tx.execute(
                text("UPDATE phone SET busy_call_id = 4711, busy_until = :until"),
                {"until": desk.made.clock.now_ms() + 10**9},
            )
        task_id = await desk.task(await desk.template(Hangup()), PERSON)
        async with desk.made.store.write() as tx:
            # No call of that id is on a line.
            taken = await seats.take(
                tx,
                task_id=task_id,
                call_id=1,
                now_ms=desk.made.clock.now_ms(),
                until_ms=desk.made.clock.now_ms() + 1,
                group_id=desk.group,
                registered_only=False,
            )
            assert taken.login == "1000000001"
            await tx.execute(text("UPDATE phone SET busy_call_id = NULL, busy_until = 0"))

    at_the_desk(story)
