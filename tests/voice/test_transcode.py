"""Uploaded audio: converted in a program of its own, and hostile files come to nothing."""

from __future__ import annotations

import itertools
import math
import struct
import subprocess
import wave
from array import array
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from ringback.telephony.port import BYTES_PER_SECOND, SAMPLE_RATE
from ringback.voice.transcode import MAX_SECONDS, NotAudio, converter, mp3_of_pcm, mp3_of_wav, pcm_of, suffix_of

if TYPE_CHECKING:
    from pathlib import Path


def tone(seconds: float, *, rate: int = 44_100, hertz: float = 440, channels: int = 2) -> bytes:
    """A WAV file with a sine."""
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, 2, rate, 0, "NONE", "NONE"))
        samples = array("h")
        for at in range(int(seconds * rate)):
            samples.extend([int(12_000 * math.sin(2 * math.pi * hertz * at / rate))] * channels)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def encoded(wav: bytes, *options: str, tmp_path: Path, suffix: str) -> bytes:
    path = tmp_path / f"made{suffix}"
    command = [
        converter(),
        "-hide_banner",
        "-loglevel",
        "error",
        "-f",
        "wav",
        "-i",
        "pipe:0",
        *options,
        "-y",
        str(path),
    ]
    subprocess.run(command, input=wav, check=True, timeout=60)
    return path.read_bytes()


def pitch(pcm: bytes) -> float:
    """Hertz, from the zero crossings."""
    samples = array("h", pcm)
    crossings = sum(1 for one, other in itertools.pairwise(samples) if one < 0 <= other)
    return crossings / (len(samples) / SAMPLE_RATE)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".wav", ()), (".wav", ("-c:a", "pcm_mulaw")), (".mp3", ("-b:a", "64k")), (".m4a", ("-c:a", "aac"))],
)
def test_each_kind_becomes_the_audio_of_the_port(tmp_path: Path, suffix: str, options: tuple[str, ...]) -> None:
    pcm = pcm_of(encoded(tone(2), *options, tmp_path=tmp_path, suffix=suffix), suffix)
    assert len(pcm) / BYTES_PER_SECOND == pytest.approx(2, abs=0.15)
    assert pitch(pcm[4_000:-4_000]) == pytest.approx(440, rel=0.03)


def test_a_recording_goes_out_as_mp3(tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    path.write_bytes(tone(1, rate=8_000, channels=1))
    for mp3 in (mp3_of_wav(path), mp3_of_pcm(pcm_of(path.read_bytes(), ".wav"))):
        assert pitch(pcm_of(mp3, ".mp3")[4_000:-4_000]) == pytest.approx(440, rel=0.03)
    with pytest.raises(OSError, match="No such file"):
        mp3_of_wav(tmp_path / "missing.wav")


def test_what_plays_too_long_is_refused() -> None:
    silence = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 0, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", 0)
    with pytest.raises(NotAudio, match=f"plays longer than {MAX_SECONDS} seconds"):
        pcm_of(silence + b"\x80" * 8_000 * (MAX_SECONDS + 2), ".wav")


PLAYLIST = b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"not audio at all" * 100,
        PLAYLIST,
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"ID3" + PLAYLIST,
        b"RIFF\0\0\0\0WAVE" + PLAYLIST,
        b"\0\0\0\x18ftypM4A " + b"\xff" * 2_000,
        b"\xff\xfb" + bytes(range(256)) * 4,
    ],
)
def test_what_is_no_such_file_is_refused(suffix: str, data: bytes) -> None:
    with pytest.raises(NotAudio):
        pcm_of(data, suffix)


def test_a_file_cut_short_gives_what_is_there_or_is_refused(tmp_path: Path) -> None:
    whole = encoded(tone(2), "-c:a", "aac", tmp_path=tmp_path, suffix=".m4a")
    for share in (0.1, 0.5, 0.9):
        try:
            pcm = pcm_of(whole[: int(len(whole) * share)], ".m4a")
        except NotAudio:
            continue
        assert 0 < len(pcm) <= 2.2 * BYTES_PER_SECOND


def test_a_header_that_promises_more_is_not_believed() -> None:
    lying = bytearray(tone(1, rate=8_000, channels=1))
    lying[40:44] = struct.pack("<I", 0x7FFFFFF0)
    assert len(pcm_of(bytes(lying), ".wav")) / BYTES_PER_SECOND == pytest.approx(1, abs=0.1)


def test_a_conversion_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NotAudio, match="took longer than"):
        pcm_of(tone(0.1), ".wav", time_limit=0.2)


def test_the_machine_s_own_program_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'it is broken' >&2\nexit 3\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert converter() == str(program)
    with pytest.raises(NotAudio, match=r"cannot be read as audio \(it is broken\)"):
        pcm_of(tone(0.1), ".wav")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.mp3", ".mp3"), ("A.WAV", ".wav"), ("a.b.m4a", ".m4a"), ("a.ogg", None), ("mp3", None), ("a.mp3.exe", None)],
)
def test_suffixes(name: str, suffix: str | None) -> None:
    assert suffix_of(name) == suffix
