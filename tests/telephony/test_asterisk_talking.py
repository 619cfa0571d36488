"""Asterisk's word on talk, in virtual time, with its ways: see the module."""

from __future__ import annotations

import pytest

from ringback.clock import VirtualClock
from ringback.telephony.asterisk.talking import TAKEN_BACK_SECONDS, Talking


def begins(*says: tuple[float, str]) -> list[float]:
    """When speech begins, after Asterisk has said this: (seconds, "started" or "finished")."""
    clock = VirtualClock()
    told: list[float] = []

    async def story() -> None:
        talking = Talking(lambda: told.append(round(clock.monotonic(), 3)))
        for at, what in says:
            await clock.sleep(at - clock.monotonic())
            getattr(talking, what)()
        await clock.sleep(5)

    clock.run(story())
    return told


def talk(start: float, end: float) -> list[tuple[float, str]]:
    """What Asterisk says of sound from here to there."""
    return [(start, "started"), (end + TAKEN_BACK_SECONDS, "finished")]


def test_speech_is_told_soon() -> None:
    assert begins(*talk(1, 1.5)) == [pytest.approx(1.2)]
    assert begins((1, "started")) == [pytest.approx(1.2)]


def test_a_silent_first_frame_and_a_click_are_no_speech() -> None:
    assert begins(*talk(0, 0), *talk(1, 1.06)) == []


def test_speech_goes_on_between_words_and_begins_anew_after_a_silence() -> None:
    words = [*talk(1, 1.3), *talk(1.5, 2), *talk(2.7, 3)]
    assert begins(*words) == [pytest.approx(1.2)]
    assert begins(*words, *talk(3.9, 4.2)) == [pytest.approx(1.2), pytest.approx(4.1)]
    assert begins(*talk(1, 1.3), *talk(1.9, 1.95), *talk(2.2, 3)) == [pytest.approx(1.2)]  # a click is sound
