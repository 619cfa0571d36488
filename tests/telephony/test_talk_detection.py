"""When speech begins, in made-up audio."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.port import BYTES_PER_SECOND
from ringback.telephony.talk_detection import SILENCE_SECONDS, TalkDetector
from tests.telephony.sip_peer import pcm, tone
from tests.telephony.test_machine_detection import mixed, noise, pieces, silence, sound

STEP = 640


def begins(pcm: bytes, step: int = STEP) -> list[float]:
    """Where speech begins, in seconds."""
    detector = TalkDetector()
    return [
        round((start + step) / BYTES_PER_SECOND, 2)
        for start in range(0, len(pcm), step)
        if detector.feed(pcm[start : start + step])
    ]


def test_each_utterance_begins_once() -> None:
    assert begins(silence(0.5) + sound(0.5) + silence(0.5)) == [0.6]
    assert begins(sound(0.4) + silence(1) + sound(0.3) + silence(0.5) + sound(3)) == [0.12, 1.52]


def test_a_short_silence_is_within_an_utterance() -> None:
    words = b"".join([sound(0.3), silence(SILENCE_SECONDS - 0.1)] * 4)
    assert len(begins(words)) == 1
    sentences = b"".join([sound(0.3), silence(SILENCE_SECONDS + 0.1)] * 4)
    assert len(begins(sentences)) == 4


@pytest.mark.parametrize(
    "quiet",
    [
        silence(3),
        noise(3, 450),  # a street
        silence(1) + noise(3, 150),  # comfort noise that sets in
        b"".join([silence(0.3), noise(0.5, 150)] * 4),  # and comes and goes
        b"".join([sound(0.06), silence(0.5)] * 5),  # clicks
        b"".join([sound(0.02), silence(0.06)] * 50),  # a crackling line
    ],
    ids=["silence", "street", "comfort noise", "comfort noise that comes and goes", "clicks", "crackle"],
)
def test_what_is_no_speech(quiet: bytes) -> None:
    assert begins(quiet) == []


def test_speech_over_a_street() -> None:
    street = mixed(noise(4, 350), silence(2) + sound(1) + silence(1))
    assert begins(street) == [pytest.approx(2.1, abs=0.05)]


def test_a_far_side_that_sends_nothing_is_silent() -> None:
    detector = TalkDetector()
    assert detector.feed(sound(0.5))
    assert not detector.feed(sound(0.5))
    detector.fall_silent()
    assert detector.feed(sound(0.5))


@given(pcm=pieces, cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_how_the_audio_is_cut_makes_no_difference(pcm: bytes, cuts: list[int]) -> None:
    """As long as not two utterances begin in one piece, which would be told as one."""
    whole = begins(pcm)
    detector, told, start = TalkDetector(), 0, 0
    while start < len(pcm):
        for cut in cuts:
            told += detector.feed(pcm[start : start + cut])
            start += cut
    assert told == len(whole)


@given(before=st.floats(0, 4), voice=st.floats(0.16, 2), amplitude=st.integers(2_500, 32_000))
def test_speech_is_noticed_in_time(before: float, voice: float, amplitude: int) -> None:
    (at,) = begins(silence(before) + sound(voice, amplitude) + silence(2))
    assert before + 0.1 <= at + 0.02
    assert at <= before + 0.2


@pytest.mark.parametrize("hertz", [200, 350, 425, 440, 500, 800, 1_000, 1_004, 1_400, 1_600, 2_000, 3_200])
def test_no_tone_of_the_telephone_goes_unheard(hertz: int) -> None:
    assert len(begins(pcm(tone(0.5, hertz=hertz, amplitude=2_500)))) == 1


@given(data=st.binary(max_size=3 * STEP))
def test_any_bytes_will_do(data: bytes) -> None:
    assert TalkDetector().feed(data) in {True, False}
