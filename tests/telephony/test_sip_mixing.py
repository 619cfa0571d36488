"""The time line of a recording: where what was heard and played ends up in it."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.port import BYTES_PER_SECOND
from ringback.telephony.sip.mixing import BLOCK_SECONDS, SETTLED_SECONDS, Mixer
from tests.telephony.sip_peer import pcm

ROUND = 0.04


def level(value: int, seconds: float) -> bytes:
    return pcm([value] * round(seconds * 8_000))


def at(audio: bytes, seconds: float) -> int:
    return array("h", audio)[round(seconds * 8_000)]


def everything(mixer: Mixer, now: float) -> bytes:
    return mixer.take(now) + mixer.rest(now)


def test_both_sides_are_added_and_too_loud_a_sum_is_cut_off() -> None:
    mixer = Mixer(100.0)
    mixer.played(100.0, level(1_000, 0.2), 0)
    mixer.heard(100.2, level(200, 0.1) + level(32_000, 0.1))
    assert array("h", mixer.rest(100.2)) == array("h", [1_200] * 800 + [32_767] * 800)
    mixer.played(100.2, level(-30_000, 0.1), 0)
    mixer.heard(100.3, level(-30_000, 0.1))
    assert set(array("h", mixer.rest(100.3))) == {-32_768}


def test_a_callee_that_sends_nothing_is_silent_until_it_sends_again() -> None:
    mixer = Mixer(0.0)
    mixer.heard(0.5, level(1, 0.5))
    mixer.heard(3.1, level(2, 0.1))
    audio = everything(mixer, 4.0)
    assert len(audio) == 4 * BYTES_PER_SECOND
    assert [at(audio, seconds) for seconds in (0.49, 0.51, 2.99, 3.01, 3.09, 3.11)] == [1, 0, 0, 2, 2, 0]


def test_small_delays_make_no_gap() -> None:
    mixer = Mixer(0.0)
    now = 0.0
    for delay in (0.0, 0.03, 0.01, 0.039, 0.0):
        now += ROUND
        mixer.heard(now + delay, level(7, ROUND))
    assert set(array("h", mixer.rest(now))) == {7}


def test_audio_that_outruns_the_clock_is_left_out() -> None:
    mixer = Mixer(0.0)
    for number in range(100):
        mixer.heard(number * 0.01, level(1, 0.02))  # twice as fast as time
    assert len(mixer.rest(1.0)) == BYTES_PER_SECOND


def test_what_came_before_the_answer_is_not_in_it() -> None:
    mixer = Mixer(10.0)
    mixer.heard(10.04, level(1, 2) + level(2, 0.04))
    assert set(array("h", mixer.rest(10.04))) == {2}


def test_a_late_round_loses_nothing() -> None:
    mixer = Mixer(0.0)
    mixer.heard(5.0, level(3, 5))
    assert mixer.rest(5.0) == level(3, 5)


def test_what_is_flushed_was_never_played() -> None:
    mixer = Mixer(0.0)
    mixer.played(0.0, level(1, 0.2), 0)
    mixer.played(0.04, level(1, 0.04), round(0.16 * BYTES_PER_SECOND))
    mixer.flushed(round(0.2 * BYTES_PER_SECOND))
    mixer.played(0.1, level(2, 0.1), 0)
    audio = mixer.rest(0.3)
    assert [at(audio, seconds) for seconds in (0.03, 0.05, 0.09, 0.11, 0.19, 0.21)] == [1, 0, 0, 2, 2, 0]


def test_audio_behind_a_queue_that_has_stood_still_is_played_after_it() -> None:
    mixer = Mixer(0.0)
    mixer.played(0.0, level(1, 0.2), 0)
    mixer.played(0.2, level(2, 0.1), round(0.1 * BYTES_PER_SECOND))  # half of the first is still to be sent
    audio = mixer.rest(0.5)
    assert [at(audio, seconds) for seconds in (0.19, 0.21, 0.29, 0.31, 0.39, 0.41)] == [1, 0, 0, 2, 2, 0]


def test_what_was_not_played_before_the_end_is_not_in_it() -> None:
    mixer = Mixer(0.0)
    mixer.played(0.0, level(1, 0.2), 0)
    assert mixer.rest(0.1) == level(1, 0.1)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 0.3),  # until the next round
            st.integers(0, 4_800),  # samples received
            st.integers(0, 1_600),  # samples written ahead
            st.booleans(),  # flushed afterwards
        ),
        max_size=60,
    )
)
def test_it_is_as_long_as_the_call_and_comes_in_order(rounds: list[tuple[float, int, int, bool]]) -> None:
    """Whatever comes and goes: nothing is given out early, twice or never, and little is held back."""
    mixer, now, out = Mixer(0.0), 0.0, b""
    for wait, received, written, flushed in rounds:
        now += wait
        mixer.heard(now, pcm([1] * received))
        mixer.played(now, pcm([1] * written), 0)
        if flushed:
            mixer.flushed(2 * written)
        block = mixer.take(now)
        assert not block or len(block) >= BLOCK_SECONDS * BYTES_PER_SECOND
        out += block
        held_back = now - len(out) / BYTES_PER_SECOND
        assert held_back <= SETTLED_SECONDS + BLOCK_SECONDS + 0.001
        assert not out or held_back >= SETTLED_SECONDS - 0.001
    out += mixer.rest(now)
    assert len(out) == 2 * round(now * 8_000)
    assert set(array("h", out)) <= {0, 1, 2}
