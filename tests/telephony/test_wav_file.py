"""A WAV file while it grows, and when it is whole."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from ringback.telephony.wav_file import WavFile
from tests.telephony.sip_peer import pcm


def level(value: int, seconds: float) -> bytes:
    return pcm([value] * round(seconds * 8_000))


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "1.wav"
    file = WavFile(target)
    file.open()
    file.write(level(5, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["1.wav.part"]
    file.write(level(-5, 0.5))
    file.complete()
    assert [path.name for path in tmp_path.iterdir()] == ["1.wav"]
    assert target.stat().st_mode & 0o777 == 0o600
    with wave.open(str(target)) as opened:
        assert opened.getparams()[:4] == (1, 2, 8_000, 12_000)
        assert opened.readframes(20_000) == level(5, 1) + level(-5, 0.5)


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    file = WavFile(tmp_path / "1.wav")
    file.discard()
    file.open()
    file.discard()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        WavFile(tmp_path / "missing" / "1.wav").open()
