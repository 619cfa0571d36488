"""Recordings of the embedded engine's calls: alone, and over real RTP to a scripted peer."""

from __future__ import annotations

import contextlib
import itertools
import math
import resource
import threading
import wave
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ringback.clock import RealClock, VirtualClock
from ringback.telephony.port import Answered, Prompt, PromptFinished
from ringback.telephony.sip import recording as recording_module
from ringback.telephony.sip.engine import available
from ringback.telephony.sip.recording import MOST_WAITING, Recording
from tests.telephony.sip_peer import Script, SipPeer, end_of, events_until, mu_law, order_to, pcm, silence, tone

sip = [
    pytest.mark.sip,
    pytest.mark.enable_socket,
    pytest.mark.skipif(available() is not None, reason="no embedded SIP engine on this platform"),
]
call_ids = itertools.count(1)


def samples_of(path: Path) -> array[int]:
    with wave.open(str(path)) as opened:
        assert opened.getparams()[:3] == (1, 2, 8_000)
        return array("h", opened.readframes(opened.getnframes()))


def recorded(target: Path, what) -> bool:
    """Run ``what(recording, clock, disk)`` in virtual time with a recording of its own; whether it was completed."""
    clock = VirtualClock()

    async def story() -> bool:
        with ThreadPoolExecutor(1) as disk:
            recording = Recording(target, clock, disk)
            await what(recording, clock, disk)
            with clock.holding():
                recording.stop()
                return await recording.complete()

    return clock.run(story())


async def talk(recording: Recording, clock: VirtualClock, seconds: int) -> None:
    for _ in range(seconds * 25):
        await clock.sleep(0.04)
        recording.heard(pcm([9] * 320))


def test_a_recording_is_written_while_the_call_lasts(tmp_path: Path) -> None:
    async def what(recording, clock, disk) -> None:
        await talk(recording, clock, 5)
        disk.submit(lambda: None).result()
        assert (tmp_path / "1.wav.part").stat().st_size >= 3 * 16_000

    assert recorded(tmp_path / "1.wav", what)
    assert samples_of(tmp_path / "1.wav") == array("h", [9] * 40_000)


def test_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not recorded(tmp_path / "missing" / "1.wav", lambda recording, clock, _: talk(recording, clock, 3))
    assert "not recorded" in capsys.readouterr().out


@contextlib.contextmanager
def largest_file(size: int):
    """No file of this process can grow beyond ``size`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [10, 44, 40_000])
def test_a_disk_that_fills_up(tmp_path: Path, size: int) -> None:
    async def what(recording, clock, disk) -> None:
        with largest_file(size):
            await talk(recording, clock, 5)
            disk.submit(lambda: None).result()

    assert not recorded(tmp_path / "1.wav", what)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_hangs_is_given_up_and_memory_stays_bounded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recording_module, "COMPLETE_SECONDS", 0.0)
    stuck = threading.Event()

    clock = VirtualClock()

    async def story() -> bool:
        with ThreadPoolExecutor(1) as disk:
            disk.submit(stuck.wait)
            recording = Recording(tmp_path / "1.wav", clock, disk)
            await talk(recording, clock, MOST_WAITING + 20)
            assert disk._work_queue.qsize() <= MOST_WAITING + 1
            recording.stop()
            done = await recording.complete()
            stuck.set()
            return done

    assert not clock.run(story())
    assert list(tmp_path.iterdir()) == []


# --- on real calls ---


@pytest.fixture
def story(runner):
    def run(what, scripts=None):
        async def with_peer():
            async with SipPeer(scripts).listening() as peer:
                return await what(peer)

        return runner.run(with_peer())

    return run


def strength(samples: Sequence[int], hertz: float) -> float:
    """How much of a tone there is (Goertzel), 0 to about its amplitude."""
    step = 2 * math.pi * hertz / 8_000
    real = sum(sample * math.cos(step * n) for n, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(step * n) for n, sample in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / max(1, len(samples))


def heard_between(samples: Sequence[int], hertz: float) -> tuple[float, float]:
    """From when to when (seconds) a tone is in it, in steps of 20 ms."""
    found = [
        start for start in range(0, len(samples) - 159, 160) if strength(samples[start : start + 160], hertz) > 2_000
    ]
    return (found[0] / 8_000, (found[-1] + 160) / 8_000) if found else (0.0, 0.0)


class TestCalls:
    pytestmark = sip

    def test_both_sides_are_in_it_where_they_belong(self, story, engine, tmp_path: Path) -> None:
        target = tmp_path / "call.wav"
        scripts = {"1000": Script(says=mu_law(silence(0.5) + tone(1.0, hertz=1_000)))}

        async def what(peer):
            clock = RealClock()
            leg = await engine.dial(order_to(peer, "1000", next(call_ids), record_to=str(target)))
            await events_until(leg, Answered)
            answered = clock.monotonic()
            await leg.play(Prompt("one second", pcm(silence(0.2) + tone(1.0, hertz=400))))
            await events_until(leg, PromptFinished)
            await clock.sleep(1.2)  # the callee sends nothing any more
            await leg.hang_up()
            assert (await end_of(leg)).recorded
            return clock.monotonic() - answered, peer.calls[0].heard()

        talked, heard = story(what, scripts)
        samples = samples_of(target)
        assert len(samples) / 8_000 == pytest.approx(talked, abs=0.25)
        began, ended = heard_between(samples, 400)
        assert (began, ended - began) == (pytest.approx(0.2, abs=0.25), pytest.approx(1.0, abs=0.05))
        began, ended = heard_between(samples, 1_000)
        assert (began, ended - began) == (pytest.approx(0.5, abs=0.25), pytest.approx(1.0, abs=0.2))
        began, ended = heard_between(heard, 400)  # and the callee heard the prompt as if nothing were recorded
        assert ended - began == pytest.approx(1.0, abs=0.05)
        assert [path.name for path in tmp_path.iterdir()] == ["call.wav"]

    def test_what_was_thrown_away_is_not_in_it(self, story, engine, tmp_path: Path) -> None:
        target = tmp_path / "call.wav"

        async def what(peer):
            leg = await engine.dial(order_to(peer, "1000", next(call_ids), record_to=str(target)))
            await events_until(leg, Answered)
            await leg.play(Prompt("long tone", pcm(tone(4, hertz=400))))
            await peer.calls[0].heard_packets(25)
            await leg.stop_playing()
            await leg.play(Prompt("other tone", pcm(tone(0.5, hertz=1_000))))
            await events_until(leg, PromptFinished)
            await leg.hang_up()
            assert (await end_of(leg)).recorded
            return peer.calls[0].heard()

        heard = story(what)
        samples = samples_of(target)
        for hertz in (400, 1_000):
            began, ended = heard_between(samples, hertz)
            heard_from, heard_to = heard_between(heard, hertz)
            assert ended - began == pytest.approx(heard_to - heard_from, abs=0.06)  # 0.2 s were thrown away
        assert heard_between(samples, 1_000)[0] >= heard_between(samples, 400)[1] - 0.02

    def test_a_call_goes_on_when_it_cannot_be_recorded(self, story, engine, tmp_path: Path) -> None:
        async def what(peer):
            order = order_to(peer, "1000", next(call_ids), record_to=str(tmp_path / "missing" / "call.wav"))
            leg = await engine.dial(order)
            await events_until(leg, Answered)
            await leg.play(Prompt("tone", pcm(tone(0.3))))
            await events_until(leg, PromptFinished)
            await leg.hang_up()
            ended = await end_of(leg)
            assert not ended.recorded
            assert ended.reason == "hung up"

        story(what)

    def test_a_call_that_is_not_answered_leaves_no_file(self, story, engine, tmp_path: Path) -> None:
        async def what(peer):
            leg = await engine.dial(order_to(peer, "1000", next(call_ids), record_to=str(tmp_path / "call.wav")))
            ended = await end_of(leg)
            assert (ended.sip_code, ended.recorded) == (486, False)

        story(what, {"1000": Script(final=486)})
        assert list(tmp_path.iterdir()) == []
