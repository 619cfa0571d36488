"""Answering machine detection on made-up greetings."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.machine_detection import (
    LISTEN_ON_SECONDS,
    LISTEN_SECONDS,
    MachineDetector,
    Verdict,
)
from ringback.telephony.port import BYTES_PER_SECOND
from ringback.telephony.voice_frames import FRAME_BYTES

noise_source = random.Random(7)


def sound(seconds: float, amplitude: int = 4_000) -> bytes:
    samples = (round(amplitude * math.sin(n * 0.35)) for n in range(round(seconds * 8_000)))
    return b"".join(struct.pack("<h", sample) for sample in samples)


def noise(seconds: float, level: int) -> bytes:
    """Steady noise whose mean magnitude is ``level``."""
    samples = (noise_source.randint(-2 * level, 2 * level) for _ in range(round(seconds * 8_000)))
    return b"".join(struct.pack("<h", sample) for sample in samples)


def silence(seconds: float) -> bytes:
    return bytes(round(seconds * 8_000) * 2)


def mixed(one: bytes, other: bytes) -> bytes:
    length = min(len(one), len(other)) // 2
    left, right = (struct.unpack(f"<{length}h", pcm[: 2 * length]) for pcm in (one, other))
    pairs = zip(left, right, strict=True)
    return b"".join(struct.pack("<h", max(-32_768, min(32_767, a + b))) for a, b in pairs)


def hear(pcm: bytes, step: int = 640) -> tuple[Verdict | None, float]:
    """The verdict and how much audio it took, in seconds."""
    detector = MachineDetector()
    for start in range(0, len(pcm), step):
        if detector.feed(pcm[start : start + step]) is not None:
            return detector.verdict, (start + step) / BYTES_PER_SECOND
    return detector.verdict, len(pcm) / BYTES_PER_SECOND


MACHINE_GREETING = b"".join([sound(0.5), silence(0.15), sound(0.7), silence(0.4), sound(2.0)])


@pytest.mark.parametrize(
    ("greeting", "verdict", "earliest", "latest"),
    [
        (silence(0.4) + sound(0.5) + silence(2), Verdict.HUMAN, 1.6, 1.9),  # "Hello?"
        (sound(0.3) + silence(0.4) + sound(0.4) + silence(2), Verdict.HUMAN, 1.8, 2.1),  # "Yes, hello?"
        (silence(1) + MACHINE_GREETING, Verdict.MACHINE, 3.4, 4.2),
        (sound(10), Verdict.MACHINE, 2.3, 2.5),
        (silence(4.5) + sound(10), Verdict.MACHINE, 6.8, 7.0),  # carriers pass silence first, sometimes for long
        (silence(10), Verdict.UNSURE, LISTEN_SECONDS, LISTEN_SECONDS + 0.1),
        (silence(2) + sound(0.04) + silence(8), Verdict.UNSURE, LISTEN_SECONDS, LISTEN_SECONDS + 0.1),  # a click
        (noise(10, 200), Verdict.UNSURE, LISTEN_SECONDS, LISTEN_SECONDS + 0.1),
        (noise(10, 450), Verdict.UNSURE, LISTEN_SECONDS, LISTEN_SECONDS + 0.1),  # a street
        (mixed(noise(6, 350), silence(0.4) + sound(0.5) + silence(5)), Verdict.HUMAN, 1.6, 1.9),
        (mixed(noise(6, 350), silence(0.4) + MACHINE_GREETING), Verdict.MACHINE, 2.8, 3.6),
    ],
)
def test_greetings(greeting, verdict, earliest, latest):
    heard, seconds = hear(greeting)
    assert heard is verdict
    assert earliest <= seconds <= latest


def test_stammering_is_heard_out_but_not_for_ever():
    heard, seconds = hear(b"".join([sound(0.1), silence(0.7)] * 20))
    assert heard is Verdict.UNSURE
    assert seconds == pytest.approx(LISTEN_ON_SECONDS, abs=0.1)


def test_a_verdict_stands():
    detector = MachineDetector()
    assert detector.feed(sound(3)) is Verdict.MACHINE
    assert detector.feed(silence(3)) is Verdict.MACHINE
    assert detector.verdict is Verdict.MACHINE


def test_nothing_is_said_while_listening():
    detector = MachineDetector()
    assert detector.feed(b"") is None
    assert detector.feed(sound(0.5)) is None
    assert detector.verdict is None


pieces = st.lists(
    st.tuples(st.booleans(), st.floats(0.02, 1.5)).map(
        lambda piece: sound(piece[1]) if piece[0] else silence(piece[1])
    ),
    max_size=8,
).map(b"".join)


@given(pcm=pieces, cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_how_the_audio_is_cut_makes_no_difference(pcm, cuts):
    whole, in_pieces = MachineDetector(), MachineDetector()
    whole.feed(pcm)
    start = 0
    while start < len(pcm):
        for cut in cuts:
            in_pieces.feed(pcm[start : start + cut])
            start += cut
    assert in_pieces.verdict is whole.verdict


@given(pcm=pieces)
def test_there_is_always_a_verdict_in_the_end(pcm):
    assert MachineDetector().feed(pcm + silence(LISTEN_ON_SECONDS)) is not None


@given(before=st.floats(0, 4.9), voice=st.floats(2.5, 5), amplitude=st.integers(2_000, 32_000))
def test_a_long_unbroken_greeting_is_a_machine(before, voice, amplitude):
    assert hear(silence(before) + sound(voice, amplitude))[0] is Verdict.MACHINE


@given(before=st.floats(0, 4), voice=st.floats(0.16, 1.9), amplitude=st.integers(2_000, 32_000))
def test_a_short_greeting_and_then_silence_is_a_person(before, voice, amplitude):
    assert hear(silence(before) + sound(voice, amplitude) + silence(1.5))[0] is Verdict.HUMAN


@given(data=st.binary(max_size=3 * FRAME_BYTES))
def test_any_bytes_will_do(data):
    assert MachineDetector().feed(data) in {None, *Verdict}
