"""The embedded engine's audio, over real RTP to a scripted peer on loopback."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ringback.clock import RealClock
from ringback.telephony.port import Answered, Ended, MachineDetected, Prompt, PromptFinished
from ringback.telephony.sip.engine import SipEngine, available
from tests.telephony.sip_peer import (
    FRAME,
    MU_LAW,
    Script,
    SipPeer,
    end_of,
    events_until,
    mu_law,
    next_event,
    order_to,
    pcm,
    silence,
    tone,
)

pytestmark = [
    pytest.mark.sip,
    pytest.mark.enable_socket,
    pytest.mark.skipif(available() is not None, reason="no embedded SIP engine on this platform"),
]
call_ids = itertools.count(1)
LOUD = 1_000


@pytest.fixture
def story(runner):
    def run(what, scripts=None):
        async def with_peer():
            async with SipPeer(scripts).listening() as peer:
                return await what(peer)

        return runner.run(with_peer())

    return run


async def answered_call(engine, peer, callee="1000"):
    leg = await engine.dial(order_to(peer, callee, next(call_ids)))
    await events_until(leg, Answered)
    call = next(call for call in peer.calls if call.callee == callee)
    return leg, call


def loudness(payload):
    return sum(abs(MU_LAW[byte]) for byte in payload) // len(payload)


def loud_packets(call):
    return [packet for packet in call.rtp if loudness(packet[3]) >= LOUD]


def test_a_prompt_arrives_whole_and_its_end_is_told_when_it_has_been_sent(story, engine):
    seconds = 1.03  # not a whole number of packets

    async def what(peer):
        leg, call = await answered_call(engine, peer)
        clock = RealClock()
        started = clock.monotonic()
        await leg.play(Prompt("tone", pcm(tone(seconds))))
        assert await next_event(leg) == PromptFinished()
        finished = clock.monotonic()
        await leg.hang_up()
        await end_of(leg)

        heard = call.heard()
        first = next(n for n, sample in enumerate(heard) if abs(sample) > LOUD)
        last = max(n for n, sample in enumerate(heard) if abs(sample) > LOUD)
        assert (last - first) / 8_000 == pytest.approx(seconds, abs=0.01)
        sound = heard[first : last + 1]
        assert (sum(sample**2 for sample in sound) / len(sound)) ** 0.5 == pytest.approx(8_000 / 2**0.5, rel=0.03)
        assert all(loudness(packet[3]) >= LOUD for packet in loud_packets(call))
        # No gap: the timestamps of the loud packets follow one another.
        stamps = [stamp for _, _, stamp, _ in loud_packets(call)]
        assert [later - earlier for earlier, later in itertools.pairwise(stamps)] == [FRAME] * (len(stamps) - 1)
        # Told after the last loud packet, and soon after.
        last_arrival = loud_packets(call)[-1][0]
        assert last_arrival - 0.005 <= finished <= last_arrival + 0.2
        assert finished - started == pytest.approx(seconds, abs=0.25)

    story(what)


def test_a_stopped_prompt_is_silent_at_once_and_never_finishes(story, engine):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        await leg.play(Prompt("long tone", pcm(tone(4))))
        await call.heard_packets(30)
        stopped = RealClock().monotonic()
        await leg.stop_playing()
        await leg.stop_playing()
        await leg.play(Prompt("quiet", pcm(silence(0.3))))
        assert await next_event(leg) == PromptFinished()  # of the second one: the first has seconds to go
        assert RealClock().monotonic() - stopped < 1
        assert loud_packets(call)[-1][0] - stopped < 0.08
        await leg.hang_up()
        assert isinstance(await next_event(leg), Ended)

    story(what)


def test_a_prompt_replaces_another(story, engine):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        await leg.play(Prompt("long silence", pcm(silence(4))))
        await leg.play(Prompt("short tone", pcm(tone(0.2))))
        assert await next_event(leg) == PromptFinished()
        await leg.hang_up()
        assert isinstance(await next_event(leg), Ended)
        assert len(loud_packets(call)) == 10

    story(what)


def test_playing_on_a_call_that_is_not_up_does_nothing(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await leg.play(Prompt("tone", pcm(tone(0.1))))
        await leg.hang_up()
        await leg.play(Prompt("tone", pcm(tone(0.1))))
        events = await events_until(leg, Ended)
        assert PromptFinished() not in events
        await leg.play(Prompt("tone", pcm(tone(0.1))))
        await leg.stop_playing()

    story(what, {"1000": Script(final=None)})


def test_many_calls_hear_the_same_prompt_at_once(story, engine):
    async def one(peer, callee):
        leg, call = await answered_call(engine, peer, callee)
        await leg.play(Prompt("half a second", pcm(tone(0.5))))
        events = await events_until(leg, PromptFinished)
        assert events == [PromptFinished()]
        await leg.hang_up()
        await end_of(leg)
        return len(loud_packets(call))

    async def what(peer):
        counts = await asyncio.gather(*(one(peer, f"10{n:02}") for n in range(10)))
        assert counts == [25] * 10

    story(what)


def test_a_machine_is_told_from_a_person(story, engine):
    def words(seconds):
        """Bursts of sound as in speech: 0.3 s with gaps of 0.1 s."""
        return list(itertools.chain.from_iterable([*tone(0.3), *silence(0.1)] for _ in range(round(seconds / 0.4))))

    scripts = {
        "50": Script(says=mu_law(silence(0.3) + words(4.4)), hangs_up_after=0),
        "10": Script(says=mu_law(silence(0.3) + words(0.8) + silence(3.6)), hangs_up_after=0),
        "11": Script(says=mu_law(silence(4.7)), hangs_up_after=0),
    }

    async def what(peer):
        legs = [await engine.dial(order_to(peer, callee, next(call_ids))) for callee in scripts]
        machine, person, silent = [await events_until(leg, Ended) for leg in legs]
        assert machine.count(MachineDetected()) == 1
        assert machine.index(MachineDetected()) > machine.index(Answered())
        assert MachineDetected() not in person
        assert MachineDetected() not in silent

    story(what, scripts)


def test_detection_can_be_switched_off(runner):
    async def what():
        engine = SipEngine(RealClock(), workers=1, detect_machines=False)
        await engine.start()
        try:
            async with SipPeer(default=Script(says=mu_law(tone(2.6)), hangs_up_after=0)).listening() as peer:
                leg = await engine.dial(order_to(peer, "50", next(call_ids)))
                assert MachineDetected() not in await events_until(leg, Ended)
        finally:
            await engine.stop()

    runner.run(what())
