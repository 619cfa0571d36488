"""The sandbox engine's recordings, transfers and speech; its behaviours are tested with the roles that use them."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from ringback.clock import VirtualClock
from ringback.model import sandbox_numbers as numbers
from ringback.telephony.port import (
    PHONE_LEG,
    Answered,
    Destination,
    DialOrder,
    Ended,
    HungUpBy,
    MachineDetected,
    Ringing,
    TalkingStarted,
    Transferred,
)
from ringback.telephony.sandbox import DEFAULT_LINES, SandboxEngine, SandboxLeg
from tests.telephony.sip_peer import end_of, events_until, next_event

NOWHERE = Destination(host="", port=0)


def order(
    callee: str, record_to: str = "", *, detect_talking: bool = False, call_id: int = 1, phone_user: str = ""
) -> DialOrder:
    return DialOrder(
        call_id=call_id,
        phone_user=phone_user,
        task_id=1,
        callee=callee,
        caller_id="",
        destination=NOWHERE,
        record_to=record_to,
        detect_talking=detect_talking,
        most_seconds=1,
    )


def on_a_call(what, callee: str = "100000", record_to: str = "", *, detect_talking: bool = False) -> None:
    clock = VirtualClock()

    async def story() -> None:
        engine = SandboxEngine(clock)
        leg = await engine.dial(order(callee, record_to, detect_talking=detect_talking))
        await what(leg, clock)
        assert engine.free_lines() == SandboxEngine(clock).free_lines()

    clock.run(story())


def test_a_recording_is_silence_as_long_as_the_talk(tmp_path: Path) -> None:
    async def what(leg: SandboxLeg, clock: VirtualClock) -> None:
        await events_until(leg, Answered)
        await clock.sleep(3.5)
        await leg.hang_up()
        assert await end_of(leg) == Ended(hung_up_by=HungUpBy.RINGBACK, reason="hung up", recorded=True)

    on_a_call(what, record_to=str(tmp_path / "1.wav"))
    assert [path.name for path in tmp_path.iterdir()] == ["1.wav"]
    with wave.open(str(tmp_path / "1.wav")) as opened:
        assert opened.getparams()[:4] == (1, 2, 8_000, 28_000)
        assert not any(opened.readframes(28_000))


@pytest.mark.parametrize(("callee", "folder"), [("100060", ""), ("100000", "missing")])
def test_no_recording_without_a_talk_or_a_folder(tmp_path: Path, callee: str, folder: str) -> None:
    async def what(leg: SandboxLeg, _: VirtualClock) -> None:
        assert not (await end_of(leg, within=60)).recorded

    on_a_call(what, callee, str(tmp_path / folder / "1.wav"))
    assert list(tmp_path.iterdir()) == []


def test_a_transfer_is_accepted() -> None:
    async def what(leg: SandboxLeg, _: VirtualClock) -> None:
        await leg.transfer("100")  # not up yet: nothing
        await events_until(leg, Answered)
        with pytest.raises(ValueError, match="transfer target must be"):
            await leg.transfer("somebody")
        await leg.transfer("+4930123456")
        assert await next_event(leg) == Transferred(accepted=True, sip_code=200)
        assert await next_event(leg) == Ended(hung_up_by=HungUpBy.RINGBACK, reason="transferred")

    on_a_call(what)


@pytest.mark.parametrize(
    ("callee", "asked", "talks"), [("100050", True, 1), ("100054", True, 1), ("100050", False, 0), ("100000", True, 0)]
)
def test_a_voicemail_talks_from_the_answer_on(callee: str, asked: bool, talks: int) -> None:
    async def what(leg: SandboxLeg, _: VirtualClock) -> None:
        events = await events_until(leg, Ended, within=60)
        assert events.count(TalkingStarted()) == talks
        if talks:
            assert events[1:4] == [Answered(), TalkingStarted(), MachineDetected()]

    on_a_call(what, callee, detect_talking=asked)


def test_a_phone_stays_until_it_is_hung_up_whatever_its_number() -> None:
    clock = VirtualClock()

    async def story() -> None:
        engine = SandboxEngine(clock)
        callee = await engine.dial(order("493012345600", call_id=1))
        phone = await engine.dial(order("1234567860", call_id=PHONE_LEG + 1, phone_user="desk"))
        for leg in (callee, phone):
            assert [await leg.next_event() for _ in range(2)] == [Ringing(), Answered()]
        await callee.connect(phone)
        ended = await callee.next_event()
        assert ended == Ended(hung_up_by=HungUpBy.CALLEE, reason="the callee hung up")
        await clock.sleep(3600)
        await phone.hang_up()
        assert await phone.next_event() == Ended(hung_up_by=HungUpBy.RINGBACK, reason="hung up")
        assert engine.free_lines() == DEFAULT_LINES

    clock.run(story())


def test_a_phone_does_what_it_is_told_to() -> None:
    clock = VirtualClock()

    async def story() -> None:
        engine = SandboxEngine(clock)
        engine.phones["1234567800"] = numbers.BUSY
        phone = await engine.dial(order("1234567800", call_id=PHONE_LEG + 1, phone_user="desk"))
        assert await phone.next_event() == Ended(sip_code=486, reason="refused")

    clock.run(story())
