"""The step that connects a callee with a person's phone, on legs without an engine, under virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ringback.clock import VirtualClock
from ringback.model.connect_step import Connect
from ringback.model.template import OnVoicemail, Say, Tag, Template
from ringback.telephony.port import (
    Answered,
    CallEvent,
    Ended,
    EngineUnavailable,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    Ringing,
)
from ringback.voice.prompts import PromptMaker
from ringback.voice.seats import RING_SECONDS, NoSeat, Seat
from ringback.voice.speech import Speech
from ringback.voice.talk import talk
from ringback.voice.talk_result import TalkResult
from tests.voice.fake_leg import FakeLeg

GONE = Ended(hung_up_by=HungUpBy.CALLEE)
PICKED_UP = [(1.0, Ringing()), (2.0, Answered())]

Script = list[tuple[float, CallEvent]]


class ConnectingLeg(FakeLeg):
    """Notes what it is connected with; ``refuses``: it cannot be."""

    refuses = False

    async def connect(self, other: ConnectingLeg) -> None:
        if self.refuses:
            raise EngineUnavailable("not here")
        self._log("connect")
        self._stop()


class SomeSeats:
    """Phones that act by scripts, in this order; an exception: there is none."""

    def __init__(self, clock: VirtualClock, *phones: Script | NoSeat) -> None:
        self._clock = clock
        self._phones = list(phones)
        self.asked: list[tuple[int | None, str, frozenset[str]]] = []
        self.legs: list[FakeLeg] = []
        self.left: list[str] = []

    async def call(self, *, group: int | None, login: str, passed: frozenset[str]) -> Seat:
        self.asked.append((group, login, passed))
        phone = self._phones.pop(0) if self._phones else NoSeat("no phone is free")
        if isinstance(phone, NoSeat):
            raise phone
        self.legs.append(FakeLeg(self._clock, phone))
        return Seat(f"phone{len(self.legs)}", self.legs[-1])

    def leave(self, seat: Seat) -> None:
        self.left.append(seat.login)


def converse(
    *phones: Script | NoSeat,
    steps: list[Any] | None = None,
    script: Sequence[tuple[float, CallEvent]] = (),
    refuses: bool = False,
    max_seconds: float = 100.0,
    on_voicemail: OnVoicemail = OnVoicemail.HANG_UP,
) -> tuple[TalkResult, ConnectingLeg, SomeSeats]:
    clock = VirtualClock()
    nodes = {"start": steps or [Connect(group=7), Tag("102")]}
    template = Template(name="t", initial_node="start", nodes=nodes, on_voicemail=on_voicemail)

    async def main() -> tuple[TalkResult, ConnectingLeg, SomeSeats]:
        leg = ConnectingLeg(clock, script)
        leg.refuses = refuses
        seats = SomeSeats(clock, *phones)
        result = await talk(
            leg,
            template,
            texts={"text1": "4711"},
            prompts=PromptMaker(Speech(clock, None), {}),
            max_seconds=max_seconds,
            clock=clock,
            seats=seats,
        )
        for one in (leg, *seats.legs):
            await one.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return result, leg, seats

    return clock.run(main())


def test_they_talk_until_the_callee_hangs_up() -> None:
    result, leg, seats = converse(PICKED_UP, script=[(30.0, GONE)])
    assert (result.reason, result.intent) == ("connected with phone phone1; callee hung up", None)
    assert leg.done[:2] == [(0.0, "play 5"), (2.0, "connect")], "it hears it ring"
    assert seats.left == ["phone1"]


def test_they_talk_until_the_phone_is_hung_up() -> None:
    result, leg, _ = converse([*PICKED_UP, (12.0, GONE)])
    assert (result.reason, result.intent) == ("connected with phone phone1; phone hung up", None)
    assert leg.done[-1] == (12.0, "hang up")


def test_keys_count_while_they_talk_and_the_longest_duration_holds() -> None:
    result, leg, seats = converse(PICKED_UP, script=[(5.0, KeyPressed("7"))], max_seconds=60)
    assert (result.keys, result.reason) == ("7", "connected with phone phone1; maximum duration")
    assert leg.done[-1] == (60.0, "hang up")
    assert seats.left == ["phone1"]


def test_a_machine_does_not_end_what_a_person_hears() -> None:
    result, _, _ = converse([*PICKED_UP, (12.0, GONE)], script=[(4.0, MachineDetected())])
    assert (result.machine, result.reason) == (True, "connected with phone phone1; phone hung up")


def test_a_machine_before_that_ends_it_and_the_phone_rings_no_more() -> None:
    result, _, seats = converse(PICKED_UP, script=[(1.5, MachineDetected())])
    assert (result.machine, result.reason) == (True, "answering machine")
    assert seats.left == ["phone1"]


def test_the_next_phone_rings_when_one_is_busy_and_after_three_no_more() -> None:
    busy: Script = [(0.5, Ended(sip_code=486))]
    result, _, seats = converse(busy, busy, busy, PICKED_UP)
    assert seats.asked == [
        (7, "", frozenset()),
        (7, "", frozenset({"phone1"})),
        (7, "", frozenset({"phone1", "phone2"})),
    ]
    assert (result.reason, result.intent) == ("phone phone3 did not answer; template ended", "102")
    assert seats.left == ["phone1", "phone2", "phone3"]


def test_a_phone_rings_for_twenty_seconds() -> None:
    rings_on: Script = [(1.0, Ringing())]
    result, leg, _ = converse(rings_on)
    assert result.reason == "phone phone1 did not answer; template ended"
    assert leg.done[-1] == (RING_SECONDS, "hang up")
    assert [what for _, what in leg.done].count("play 5") == 4


def test_a_callee_who_hangs_up_meanwhile_leaves_the_phone() -> None:
    result, _, seats = converse([(1.0, Ringing())], script=[(3.0, GONE)])
    assert result.reason == "callee hung up"
    assert seats.left == ["phone1"]


def test_a_named_phone_is_the_only_one() -> None:
    result, _, seats = converse([(0.5, Ended(sip_code=486))], steps=[Tag("1"), Connect(phone="${text1}"), Tag("2")])
    assert seats.asked == [(None, "4711", frozenset())]
    assert (result.reason, result.intent) == ("phone phone1 did not answer; template ended", "2")


@pytest.mark.parametrize("reason", ["no phone of group 7 is free", "no phone of group 7 is registered"])
def test_without_any_the_template_goes_on(reason: str) -> None:
    result, _, seats = converse(NoSeat(reason), steps=[Connect(group=7), Say("Nobody is there.")])
    assert result.reason == f"{reason}; template ended"
    assert seats.left == []


def test_phones_that_cannot_be_connected() -> None:
    result, _, seats = converse(PICKED_UP, refuses=True)
    assert (result.reason, result.intent) == ("phone phone1 could not be connected: not here; template ended", "102")
    assert seats.left == ["phone1"]
