"""Tones and the notes in place of speech."""

from __future__ import annotations

import math
from array import array

import pytest

from ringback.voice.tones import MAX_PATTERN_SECONDS, pattern, silence, tone


def level(pcm: bytes, hz: float) -> float:
    """The amplitude of one frequency in the audio, of full scale (Goertzel's sum, written out)."""
    samples = array("h", pcm)
    step = 2 * math.pi * hz / 8_000
    real = sum(sample * math.cos(step * at) for at, sample in enumerate(samples))
    imaginary = sum(sample * math.sin(step * at) for at, sample in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / len(samples) / 32_768


@pytest.mark.parametrize("hz", [100, 440, 1_000, 3_000])
def test_a_tone_has_its_pitch_length_and_loudness(hz: float) -> None:
    pcm = tone(hz, 1.0)
    assert len(pcm) == 16_000
    assert level(pcm, hz) == pytest.approx(0.25, rel=0.05)
    assert level(pcm, hz + 50) < 0.01
    assert level(pcm, 2 * hz) < 0.01


def test_a_tone_does_not_click() -> None:
    samples = array("h", tone(440, 0.1))
    assert samples[0] == samples[-1] == 0
    assert max(map(abs, samples[:5])) < 1_000  # it takes 40 samples to its full 8,192


def test_short_and_empty_tones() -> None:
    assert tone(440, 0) == b""
    assert len(tone(440, 1 / 8_000)) == 2
    assert silence(0.5) == bytes(8_000)


@pytest.mark.parametrize(("hz", "seconds"), [(0, 1), (-1, 1), (4_000, 1), (440, -1)])
def test_what_is_no_tone(hz: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must"):
        tone(hz, seconds)


def test_the_pattern_follows_the_text() -> None:
    assert pattern("") == pattern(" \n ") == b""
    assert pattern("same text") == pattern("same  text")
    assert pattern("one three") != pattern("three one")
    assert len(pattern("Hello Anna.")) == 2 * 8_000 * 0.6  # 5 letters each of 0.05 s, and two gaps
    assert len(pattern("a")) == 2 * 8_000 * 0.15
    assert len(pattern("請按一以確認您的預約謝謝您的來電")) > 8_000


def test_the_pattern_is_bounded() -> None:
    assert len(pattern("word " * 2_000)) == MAX_PATTERN_SECONDS * 16_000
    assert len(pattern("x" * 20_000)) == MAX_PATTERN_SECONDS * 16_000
