"""The courier under the virtual clock: what receivers get, whatever they answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from standardwebhooks import Webhook

from ringback.clock import VirtualClock
from ringback.model.delivery import Tried
from ringback.model.report import Form
from ringback.roles.courier import Courier, CourierSettings
from ringback.store import deliveries, provenance, report_endpoints
from ringback.store.database import News
from ringback.telephony.sandbox import SandboxEngine
from roles.campaign import Campaign, campaign, failed_flow, numbers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Answer = Callable[[int], Tried]


def well(_: int) -> Tried:
    return Tried(200)


class Receivers:
    """Answers by address. Each is told the number of the request; all that was taken is kept."""

    def __init__(self, clock: VirtualClock, seconds: float = 0.02) -> None:
        self._clock = clock
        self.answers: dict[str, Answer] = {}
        self.seconds: dict[str, float] = {}
        self._usual = seconds
        self.tried: list[tuple[str, float, str, int | None]] = []
        self.taken: dict[str, list[tuple[str, Any]]] = {}
        self.closed = False
        #: Reports that are refused so many times, by name, and how.
        self.refused: dict[str, int] = {}
        self.refusal = Tried(400)

    async def send(self, url: str, headers: dict[str, str], body: str) -> Tried:
        number = sum(1 for one in self.tried if one[0] == url)
        name = headers.get("webhook-id", headers.get("Idempotency-Key", ""))
        at = self._clock.monotonic()
        answer = self.answers.get(url, well)(number)
        if self.refused.get(name, 0):
            self.refused[name] -= 1
            answer = self.refusal
        self.tried.append((url, at, name, answer.status))
        await self._clock.sleep(self.seconds.get(url, self._usual))
        if answer.status is not None and 200 <= answer.status <= 299:
            self.taken.setdefault(url, []).append((name, json.loads(body)))
            if "webhook-signature" in headers:
                # The library looks at the real clock, so the signature alone is compared.
                moment = int(headers["webhook-timestamp"])
                from datetime import UTC, datetime

                expected = Webhook(SECRET).sign(name, datetime.fromtimestamp(moment, UTC), body)
                assert headers["webhook-signature"] == expected
        return answer

    async def close(self) -> None:
        self.closed = True

    def calls(self, url: str) -> Counter[int]:
        """How often each call was reported."""
        events = [body for _, body in self.taken.get(url, ())]
        return Counter(body["data"]["call_id"] for body in events if body["type"] == "call.ended")

    def names(self, url: str) -> set[str]:
        return {name for name, _ in self.taken.get(url, ())}


class Stage:
    """A campaign, receivers, and couriers that the story starts."""

    def __init__(self, made: Campaign, receivers: Receivers) -> None:
        self.made = made
        self.receivers = receivers
        self.clock = made.clock
        self._running: list[tuple[Courier, asyncio.Task[None]]] = []

    async def receiver(self, url: str, form: Form = Form.EVENTS) -> int:
        async with self.made.store.write() as tx:
            return await report_endpoints.add(
                tx,
                account_id=self.made.account_id,
                application_id=None,
                url=url,
                form=form,
                secret=SECRET if form is Form.EVENTS else "",
                events=[],
                now_ms=self.clock.now_ms(),
            )

    def courier(self, *, poll: float = 1.0) -> Courier:
        settings = CourierSettings(idle_poll_seconds=poll)
        courier = Courier(self.made.store, self.clock, lambda: self.receivers, settings)  # type: ignore[arg-type, return-value]  # a fake
        self._running.append((courier, asyncio.create_task(courier.run())))
        return courier

    async def end(self) -> None:
        for courier, _ in self._running:
            courier.stop()
        await asyncio.gather(*(task for _, task in self._running))

    def kill(self) -> None:
        """The courier is gone in the middle of everything."""
        _, task = self._running.pop()
        task.cancel()

    async def run(self, count: int, **flow: Any) -> int:
        """A whole task of so many numbers. Returns its id."""
        task_id, flow_id = await self.made.create(numbers(count), flow=failed_flow(**flow) if flow else None)
        self.made.start()
        if flow:
            await self.made.until_flow(flow_id)
        else:
            await self.made.until_task(task_id)
        return task_id

    async def standing(self, endpoint_id: int) -> Any:
        async with self.made.store.read() as tx:
            return next(one for one in await report_endpoints.standings(tx) if one.endpoint.id == endpoint_id)


def play(story: Callable[[Stage], Awaitable[None]]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with campaign(clock, engine=SandboxEngine(clock)) as made:
            stage = Stage(made, Receivers(clock))
            await story(stage)
            await stage.end()

    clock.run(main())


def test_everything_arrives_once_and_in_order() -> None:
    async def story(stage: Stage) -> None:
        await stage.receiver("http://a")
        stage.courier()
        await stage.run(100, rounds=2, interval=5)
        await stage.clock.sleep(10)
        events = [body for _, body in stage.receivers.taken["http://a"]]
        assert set(stage.receivers.calls("http://a").values()) == {1}
        steps = [body["type"] for body in events if body["type"] != "call.ended"]
        of_round = ["node.started", "task.finished", "node.completed"]
        assert steps == ["task.finished", *of_round, *of_round, "flow.completed"]
        where = {body["type"]: at for at, body in enumerate(events)}
        finished = [at for at, body in enumerate(events) if body["type"] == "task.finished"]
        for at, body in enumerate(events):
            if body["type"] == "call.ended":
                assert at < finished[body["data"]["round"]], "a call comes before its task is told to be finished"
        assert where["flow.completed"] == len(events) - 1
        assert not stage.receivers.closed

    play(story)


def test_a_receiver_that_is_away_is_left_alone_and_gets_everything_later() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://away")
        await stage.receiver("http://here")
        stage.receivers.answers["http://away"] = lambda _: Tried(None, "refused")
        stage.courier()
        await stage.run(200)
        await stage.clock.sleep(1)
        assert len(stage.receivers.taken["http://here"]) == 201, "the other receiver has everything at once"
        await stage.clock.sleep(3_600)
        tries = [one for one in stage.receivers.tried if one[0] == "http://away"]
        assert len(tries) < 80, "it is not hammered"
        assert (await stage.standing(to)).pending == 201
        del stage.receivers.answers["http://away"]
        back = stage.clock.monotonic()
        while (await stage.standing(to)).pending:
            await stage.clock.sleep(5)
            assert stage.clock.monotonic() < back + 2 * 3_600
        assert set(stage.receivers.calls("http://away").values()) == {1}
        assert len(stage.receivers.taken["http://away"]) == 201
        first_taken = next(at for url, at, _, status in stage.receivers.tried if url == "http://away" and status == 200)
        assert stage.clock.monotonic() < first_taken + 60, "what failed meanwhile does not wait for its own time"

    play(story)


def test_a_report_that_is_refused_holds_up_no_call_but_what_follows_them() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://picky")
        stage.receivers.refused = {"msg_3": 3, "msg_30": 3}
        stage.courier()
        await stage.run(50)
        await stage.clock.sleep(5)
        assert len(stage.receivers.calls("http://picky")) == 48
        assert "task.finished" not in {body["type"] for _, body in stage.receivers.taken["http://picky"]}
        await stage.clock.sleep(600)
        assert len(stage.receivers.calls("http://picky")) == 50
        assert stage.receivers.taken["http://picky"][-1][1]["type"] == "task.finished"
        assert (await stage.standing(to)).pending == 0

    play(story)


@pytest.mark.parametrize(
    ("status", "refused", "within_seconds"),
    [(400, 150, 20), (422, 20, 20), (302, 20, 600), (404, 20, 600), (500, 20, 600), (500, 60, 3_600)],
)
def test_reports_that_are_never_taken_hold_up_no_call(status: int, refused: int, within_seconds: float) -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://picky")
        stage.receivers.refusal = Tried(status)
        stage.receivers.refused = {f"msg_{number}": 1_000_000 for number in range(1, refused + 1)}
        stage.courier()
        await stage.run(200)
        await stage.clock.sleep(within_seconds)
        assert len(stage.receivers.calls("http://picky")) == 200 - refused
        assert (await stage.standing(to)).pending == refused + 1, "and the end of the task, which waits for them"

    play(story)


@pytest.mark.parametrize("seconds", [30.0, 7_200.0])
def test_retry_after_is_obeyed(seconds: float) -> None:
    async def story(stage: Stage) -> None:
        await stage.receiver("http://busy")
        stage.receivers.answers["http://busy"] = lambda number: (
            Tried(503, retry_after=seconds) if number == 0 else Tried(200)
        )
        stage.courier(poll=30)
        await stage.run(1)
        await stage.clock.sleep(2 * seconds)
        times = [at for _, at, _, _ in stage.receivers.tried]
        assert times[1] - times[0] >= seconds
        assert len(stage.receivers.taken["http://busy"]) == 2

    play(story)


def test_410_disables_and_nothing_is_lost() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://gone")
        stage.receivers.answers["http://gone"] = lambda _: Tried(410)
        stage.courier()
        await stage.run(20)
        await stage.clock.sleep(600)
        tries = len(stage.receivers.tried)
        assert tries <= 20
        standing = await stage.standing(to)
        assert (standing.pending, standing.dead) == (21, 0)
        assert "410" in standing.endpoint.disabled_reason
        del stage.receivers.answers["http://gone"]
        async with stage.made.store.write() as tx:
            assert await report_endpoints.enable(tx, to, stage.clock.now_ms())
        stage.made.store.announce(News.WORK)
        await stage.clock.sleep(30)
        assert len(stage.receivers.taken["http://gone"]) == 21

    play(story)


def test_what_always_fails_is_given_up_in_the_end_and_can_be_sent_again() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://never")
        stage.receivers.answers["http://never"] = lambda _: Tried(500)
        stage.courier(poll=600)
        await stage.run(1)
        await stage.clock.sleep(12 * 86_400)
        standing = await stage.standing(to)
        assert (standing.pending, standing.dead) == (0, 2)
        assert standing.last_error == "HTTP 500"
        tried = Counter(name for _, _, name, _ in stage.receivers.tried)
        assert all(5 <= count <= 30 for count in tried.values()), tried
        del stage.receivers.answers["http://never"]
        async with stage.made.store.write() as tx:
            assert await deliveries.replay(tx, stage.clock.now_ms(), dead_only=True) == 2
        stage.made.store.announce(News.WORK)
        await stage.clock.sleep(30)
        assert stage.receivers.names("http://never") == set(tried), "under the ids that they had"

    play(story)


def test_a_slow_receiver_slows_nobody_else() -> None:
    async def story(stage: Stage) -> None:
        await stage.receiver("http://slow")
        await stage.receiver("http://fast")
        stage.receivers.seconds["http://slow"] = 14.0
        stage.courier()
        await stage.run(300)
        await stage.clock.sleep(2)
        assert len(stage.receivers.taken["http://fast"]) == 301
        assert len(stage.receivers.taken.get("http://slow", ())) < 50
        await stage.clock.sleep(3_600)
        assert len(stage.receivers.taken["http://slow"]) == 301

    play(story)


def test_the_vendor_s_batches_hold_what_is_due_and_single_pushes_one() -> None:
    async def story(stage: Stage) -> None:
        for form in (Form.AGENT, Form.BATCH, Form.SINGLE):
            await stage.receiver(f"http://{form}", form)
        await stage.run(250)
        stage.courier()
        await stage.clock.sleep(30)
        for form in (Form.AGENT, Form.BATCH):
            sizes = [len(body["array"]) for _, body in stage.receivers.taken[f"http://{form}"]]
            assert sum(sizes) == 250
            assert max(sizes) == 100
        ids = Counter(body["voiceId"] for _, body in stage.receivers.taken["http://single"])
        assert (len(ids), set(ids.values())) == (250, {1})

    play(story)


def test_a_courier_that_is_killed_is_followed_by_another() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://a")
        stage.receivers.seconds["http://a"] = 0.5
        stage.courier()
        await stage.run(200)
        await stage.clock.sleep(1)
        stage.kill()
        taken = len(stage.receivers.taken["http://a"])
        assert 0 < taken < 201
        stage.courier()
        await stage.clock.sleep(10)
        assert len(stage.receivers.taken["http://a"]) <= taken + 16, "until the lease runs out"
        await stage.clock.sleep(60)
        assert (await stage.standing(to)).pending == 0
        assert len(stage.receivers.calls("http://a")) == 200
        # At least once: what was in flight may come again, under the same id.
        repeated = len(stage.receivers.taken["http://a"]) - 201
        assert 0 <= repeated <= 32
        assert len(stage.receivers.names("http://a")) == 201

    play(story)


def test_two_couriers_share_receivers_and_send_nothing_twice() -> None:
    async def story(stage: Stage) -> None:
        urls = [f"http://{one}" for one in range(6)]
        for url in urls:
            await stage.receiver(url)
        stage.courier()
        stage.courier()
        await stage.run(50)
        await stage.clock.sleep(20)
        for url in urls:
            assert (len(stage.receivers.taken[url]), set(stage.receivers.calls(url).values())) == (51, {1})

    play(story)


def test_nothing_is_sent_while_the_database_is_held() -> None:
    async def story(stage: Stage) -> None:
        await stage.receiver("http://a")
        await stage.run(5)
        async with stage.made.store.write() as tx:
            await provenance.hold(tx, "a test", stage.clock.now_ms())
        stage.courier()
        await stage.clock.sleep(120)
        assert stage.receivers.tried == []

    play(story)


def test_a_stop_ends_what_is_in_flight_and_notes_it() -> None:
    async def story(stage: Stage) -> None:
        to = await stage.receiver("http://a")
        stage.receivers.seconds["http://a"] = 5.0
        courier = stage.courier()
        await stage.run(50)
        await stage.clock.sleep(1)
        courier.stop()
        await stage.end()
        assert stage.receivers.closed
        taken = len(stage.receivers.taken["http://a"])
        assert 0 < taken <= 32
        assert (await stage.standing(to)).pending == 51 - taken

    play(story)
