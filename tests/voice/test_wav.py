"""WAV files to the audio of the port."""

from __future__ import annotations

import io
import math
import struct
import wave
from array import array
from itertools import pairwise

import pytest

from ringback.voice.wav import WavError, pcm_from_wav


def wav(samples: list[int], rate: int = 8_000, channels: int = 1, width: int = 2) -> io.BytesIO:
    """A file of these samples; of 8 bits when ``width`` is 1 (given as -128 to 127)."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(array("h", samples).tobytes() if width == 2 else bytes(s + 128 for s in samples))
    file.seek(0)
    return file


def sine(hz: float, rate: int, seconds: float = 1.5) -> list[int]:
    return [round(16_000 * math.sin(2 * math.pi * hz * at / rate)) for at in range(round(rate * seconds))]


def converted(file: io.BytesIO, max_seconds: float = 10) -> array[int]:
    return array("h", pcm_from_wav(file, max_seconds))


def test_the_ports_own_form_passes_unchanged() -> None:
    samples = [0, 1, -1, 32_767, -32_768, 1234] * 3_000
    assert converted(wav(samples)) == array("h", samples)


def test_eight_bits_are_unsigned() -> None:
    assert converted(wav([0, 127, -128, 1], width=1)) == array("h", [0, 127 * 256, -128 * 256, 256])


def test_stereo_is_mixed() -> None:
    assert converted(wav([100, 300, -100, -300, 32_767, 32_767], channels=2)) == array("h", [200, -200, 32_767])
    assert converted(wav([10, 30], channels=2, width=1)) == array("h", [20 * 256])


@pytest.mark.parametrize("rate", [4_000, 6_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 192_000])
def test_other_rates_keep_length_and_pitch(rate: int) -> None:
    pcm = converted(wav(sine(300, rate), rate))
    assert abs(len(pcm) - 12_000) <= 1
    assert max(pcm) == pytest.approx(16_000, rel=0.06)
    crossings = sum(1 for before, after in pairwise(pcm) if before < 0 <= after)
    assert abs(crossings - 450) <= 1  # 1.5 s of 300 Hz
    # The seam between two seconds must not be heard: no step larger than the sine's own.
    steps = [abs(after - before) for before, after in pairwise(pcm)]
    assert max(steps[7_990:8_010]) <= max(steps[:7_000]) * 1.1


def test_what_lies_above_the_telephone_band_is_not_folded_into_it() -> None:
    pcm = converted(wav(sine(8_100, 48_000), 48_000))
    assert max(map(abs, pcm)) < 16_000 * 0.05  # picking every sixth sample would give a full 100 Hz tone


def test_a_constant_stays_what_it_is_at_any_rate() -> None:
    for rate in (11_025, 44_100, 4_001):
        assert set(converted(wav([-5_000] * rate * 2, rate))) == {-5_000}


def test_the_length_in_the_header_is_not_believed() -> None:
    """espeak-ng writes to a pipe and claims two gigabytes."""
    samples = array("h", sine(300, 22_050, 0.5)).tobytes()
    header = (
        b"RIFF" + struct.pack("<I", 0x7FFFF024) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 22_050, 44_100, 2, 16)
    )
    file = io.BytesIO(header + b"data" + struct.pack("<I", 0x7FFFF000) + samples)
    assert len(converted(file)) == 4_000


@pytest.mark.parametrize("cut", [1, 3])
def test_a_file_that_ends_within_a_frame_is_used_as_far_as_it_goes(cut: int) -> None:
    whole = wav([100] * 10, channels=2).getvalue()
    assert converted(io.BytesIO(whole[:-cut])) == array("h", [100] * 4)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (io.BytesIO(b""), "is not a PCM WAV file"),
        (io.BytesIO(b"RIFF"), "is not a PCM WAV file"),
        (io.BytesIO(b"ID3" + bytes(100)), "is not a PCM WAV file"),
        (io.BytesIO(wav([1] * 9).getvalue().replace(b"fmt \x10\0\0\0\x01", b"fmt \x10\0\0\0\x07")), "is not a PCM"),
        (wav([]), "holds no audio"),
        (wav([1] * 6, channels=3), "must be mono or stereo, has 3 channels"),
        (wav([1] * 4, width=2, rate=3_999), "4000 to 192000 samples a second, has 3999"),
        (wav([1] * 4, width=2, rate=192_001), "has 192001"),
        (wav([1] * 8_001), "must play at most 1 seconds"),
        (wav([1] * 16_000), "must play at most 1 seconds"),
    ],
)
def test_what_is_refused(file: io.BytesIO, says: str) -> None:
    with pytest.raises(WavError) as raised:
        pcm_from_wav(file, 1)
    assert says in str(raised.value)


def test_24_bits_are_refused() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(3)
        writer.setframerate(8_000)
        writer.writeframes(bytes(30))
    file.seek(0)
    with pytest.raises(WavError, match="8 or 16 bits a sample, has 24"):
        pcm_from_wav(file, 1)
