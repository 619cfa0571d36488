"""A callee connected with a phone: they hear each other, and whoever hangs up ends it for that one alone."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringback.clock import RealClock
from ringback.telephony.port import (
    PHONE_LEG,
    Answered,
    Ended,
    Engine,
    EngineUnavailable,
    HungUpBy,
    KeyPressed,
    Leg,
    Prompt,
    PromptFinished,
    Ringing,
)
from tests.telephony.conformance.engines import ENGINES, marks
from tests.telephony.conformance.test_sound import loudness, recorded
from tests.telephony.sip_peer import Script, SipPeer, end_of, events_until, mu_law, next_event, order_to, pcm, tone

CALLEE, PHONE = "493012345600", "4711"
CALLEE_HERTZ, PHONE_HERTZ = 1_000, 440
#: Far longer than any story.
TALKS = 8.0

call_ids = itertools.count(1_000)
Story = Callable[[Engine, SipPeer, SipPeer], Awaitable[None]]


def says(hertz: float) -> bytes:
    return mu_law(tone(TALKS, hertz=hertz))


def phone_order(peer: SipPeer, call_id: int, **parts: Any):
    order = order_to(peer, PHONE, PHONE_LEG + call_id, beside=call_id, **parts)
    return msgspec.structs.replace(order, phone_user="desk~1.a")


async def _dialled(engine: Engine, carrier: SipPeer, desk: SipPeer) -> tuple[int, Leg, Leg]:
    call_id = next(call_ids)
    callee = await engine.dial(order_to(carrier, CALLEE, call_id))
    await events_until(callee, Answered)
    phone = await engine.dial(phone_order(desk, call_id))
    await events_until(phone, Answered)
    return call_id, callee, phone


async def connected(engine: Engine, carrier: SipPeer, desk: SipPeer) -> tuple[Leg, Leg]:
    """A callee and a phone that talk."""
    _, callee, phone = await _dialled(engine, carrier, desk)
    await callee.connect(phone)
    return callee, phone


async def hears(peer: SipPeer, hertz: float, *, seconds: float = 1.0) -> list[int]:
    """What the peer hears in so long a time from when that sound has begun; at most ten seconds."""
    call = peer.calls[-1]
    samples, some = round(seconds * 8_000), 400
    async with asyncio.timeout(10):
        while True:
            heard = call.heard()[-samples:]
            if len(heard) == samples and all(loudness(part, hertz) > 3_000 for part in (heard[:some], heard[-some:])):
                return heard
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=[pytest.param(name, marks=marks(name)) for name in ENGINES if name != "sandbox"])
def engine(request, runner):
    """One engine for all stories."""
    stack = contextlib.AsyncExitStack()
    started = runner.run(stack.enter_async_context(ENGINES[request.param](RealClock())))
    yield started
    runner.run(stack.aclose())


@pytest.fixture
def tell(engine, runner):
    def run(story: Story, *, callee: Script | None = None, phone: Script | None = None) -> None:
        @contextlib.asynccontextmanager
        async def peers() -> AsyncIterator[tuple[SipPeer, SipPeer]]:
            carrier = SipPeer(default=callee or Script(says=says(CALLEE_HERTZ)))
            desk = SipPeer(default=phone or Script(says=says(PHONE_HERTZ)))
            async with carrier.listening(), desk.listening():
                yield carrier, desk

        async def main() -> None:
            lines = engine.free_lines()
            async with peers() as (carrier, desk):
                await story(engine, carrier, desk)
            assert engine.free_lines() == lines, "no call is left behind"

        runner.run(main())

    return run


async def _hang_up(*legs: Leg) -> None:
    for leg in legs:
        await leg.hang_up()
        await end_of(leg)


def test_they_hear_each_other_and_nobody_else(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        callee, phone = await connected(engine, carrier, desk)
        assert desk.calls[0].callee == "desk~1.a", "it is asked for by the name it registered"
        at_the_phone, at_the_callee = await asyncio.gather(hears(desk, CALLEE_HERTZ), hears(carrier, PHONE_HERTZ))
        assert loudness(at_the_phone, PHONE_HERTZ) < 300, "no echo"
        assert loudness(at_the_callee, CALLEE_HERTZ) < 300, "no echo"
        # What was said arrives as loud as it was, without holes: each cut out of 50 would be heard.
        assert loudness(at_the_phone, CALLEE_HERTZ) == pytest.approx(8_000, rel=0.1)
        assert loudness(at_the_callee, PHONE_HERTZ) == pytest.approx(8_000, rel=0.1)
        await _hang_up(callee, phone)

    tell(story)


def test_a_recording_has_both(tell, tmp_path: Path) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        call_id, path = next(call_ids), tmp_path / "call.wav"
        order = msgspec.structs.replace(order_to(carrier, CALLEE, call_id), record_to=str(path))
        callee = await engine.dial(order)
        await events_until(callee, Answered)
        phone = await engine.dial(phone_order(desk, call_id))
        await events_until(phone, Answered)
        await callee.connect(phone)
        await asyncio.gather(hears(desk, CALLEE_HERTZ), hears(carrier, PHONE_HERTZ))
        carrier.calls[-1].hang_up()
        assert (await end_of(callee)).recorded
        await _hang_up(phone)
        samples = recorded(path)[-6_000:-1_000]
        assert loudness(samples, CALLEE_HERTZ) > 3_000
        assert loudness(samples, PHONE_HERTZ) > 3_000

    tell(story)


@pytest.mark.parametrize("who", ["callee", "phone"])
def test_the_end_of_one_does_not_end_the_other(tell, who: str) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        callee, phone = await connected(engine, carrier, desk)
        await hears(desk, CALLEE_HERTZ)
        gone, stays = (callee, phone) if who == "callee" else (phone, callee)
        left, staying = (carrier, desk) if who == "callee" else (desk, carrier)
        left.calls[-1].hang_up()
        assert (await end_of(gone)).hung_up_by is HungUpBy.CALLEE
        # The one that is left can be talked to.
        await stays.play(Prompt("sorry", pcm(tone(0.5, hertz=2_000))))
        assert isinstance((await events_until(stays, PromptFinished))[-1], PromptFinished)
        assert loudness(staying.calls[-1].heard()[-3_000:], 2_000) > 1_000
        await stays.hang_up()
        assert (await end_of(stays)).hung_up_by is HungUpBy.RINGBACK

    tell(story)


def test_what_plays_is_cut_off_by_the_connection(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        _, callee, phone = await _dialled(engine, carrier, desk)
        await callee.play(Prompt("music", pcm(tone(6.0, hertz=2_000))))
        await carrier.calls[-1].heard_packets(20)
        await callee.connect(phone)
        heard = await hears(carrier, PHONE_HERTZ)
        assert loudness(heard, 2_000) < 300
        carrier.calls[-1].hang_up()
        assert not [event for event in await events_until(callee, Ended) if isinstance(event, PromptFinished)]
        await _hang_up(phone)

    tell(story)


def test_keys_are_told_while_they_talk(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        callee, phone = await connected(engine, carrier, desk)
        assert await next_event(callee) == KeyPressed("7")
        await _hang_up(callee, phone)

    tell(story, callee=Script(says=mu_law(tone(1.0)), presses="7"))


@pytest.mark.parametrize("code", [486, 480, 603])
def test_a_phone_that_does_not_answer_leaves_the_callee_up(tell, code: int) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        call_id = next(call_ids)
        callee = await engine.dial(order_to(carrier, CALLEE, call_id))
        await events_until(callee, Answered)
        phone = await engine.dial(phone_order(desk, call_id))
        assert (await end_of(phone)).sip_code == code
        await callee.play(Prompt("sorry", pcm(tone(0.3))))
        await events_until(callee, PromptFinished)
        await _hang_up(callee)

    tell(story, phone=Script(provisional=(100,), final=code))


def test_the_phone_may_be_called_first(tell) -> None:
    """And a callee who is busy then leaves it up."""

    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        call_id = next(call_ids)
        first = msgspec.structs.replace(phone_order(desk, call_id), beside=None)
        phone = await engine.dial(first)
        await events_until(phone, Answered)
        carrier.scripts = {"49301": Script(final=486)}
        busy = await engine.dial(order_to(carrier, "49301", call_id, beside=PHONE_LEG + call_id))
        assert (await end_of(busy)).sip_code == 486
        callee = await engine.dial(order_to(carrier, CALLEE, call_id + 1_000, beside=PHONE_LEG + call_id))
        await events_until(callee, Answered)
        await phone.connect(callee)
        await asyncio.gather(hears(desk, CALLEE_HERTZ), hears(carrier, PHONE_HERTZ))
        await _hang_up(phone, callee)

    tell(story)


def test_a_call_beside_one_that_is_gone_is_not_placed(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        with pytest.raises(EngineUnavailable, match="not up"):
            await engine.dial(phone_order(desk, next(call_ids)))
        assert desk.calls == []

    tell(story)


def test_a_connection_with_a_call_that_has_just_ended_does_nothing(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        _, callee, phone = await _dialled(engine, carrier, desk)
        await phone.hang_up()
        await end_of(phone)
        await callee.connect(phone)
        await callee.play(Prompt("sorry", pcm(tone(0.3))))
        await events_until(callee, PromptFinished)
        await _hang_up(callee)

    tell(story)


def test_the_phone_rings_meanwhile_the_prompt_plays(tell) -> None:
    async def story(engine: Engine, carrier: SipPeer, desk: SipPeer) -> None:
        call_id = next(call_ids)
        callee = await engine.dial(order_to(carrier, CALLEE, call_id))
        await events_until(callee, Answered)
        await callee.play(Prompt("music", pcm(tone(4.0, hertz=2_000))))
        phone = await engine.dial(phone_order(desk, call_id))
        assert Ringing() in await events_until(phone, Answered)
        await hears(carrier, 2_000, seconds=0.3)
        await callee.connect(phone)
        await hears(carrier, PHONE_HERTZ)
        await _hang_up(callee, phone)

    tell(story, phone=Script(final_after=0.5, says=says(PHONE_HERTZ)))
