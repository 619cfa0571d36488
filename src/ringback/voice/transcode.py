"""Uploaded audio made into the audio of the telephony port, and recordings into MP3.

FFmpeg does it, as a program of its own: its licence is not ours, and a file that makes it crash or hang must take
nothing with it. It reads one file that we wrote, may open no other and no network, knows which container that is, and
is bounded in time, memory and output.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from ringback.telephony.port import BYTES_PER_SECOND, SAMPLE_RATE
from ringback.voice.program_run import OutputTooLong, ProgramError, ProgramFailed, ProgramHung, ProgramRun

PROGRAM: Final = "ffmpeg"
TIME_LIMIT_SECONDS: Final = 20.0
MAX_SECONDS: Final = 5 * 60
MAX_MEMORY_BYTES: Final = 1_000_000_000
#: FFmpeg's name of each container, by the suffix of the file.
_DEMUXERS: Final = {".wav": "wav", ".mp3": "mp3", ".m4a": "mov"}
SUFFIXES: Final = tuple(_DEMUXERS)


class NotAudio(Exception):
    """The file cannot be used; the text says why, to be read after the member's name."""


class NoConverter(Exception):
    """There is no FFmpeg here; the text says what to do."""


def suffix_of(name: str) -> str | None:
    """The suffix of a file name that can be converted, in lower case; ``None`` for another."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in _DEMUXERS else None


def pcm_of(data: bytes, suffix: str, *, time_limit: float = TIME_LIMIT_SECONDS) -> bytes:
    """The audio of the port (8 kHz, 16 bit, mono) in a file with that suffix. Blocks; meant for a thread.

    Raises:
        NotAudio: it holds no audio of that kind, or too much.
        NoConverter: FFmpeg is missing.
    """
    if not _looks_like(data, suffix):
        raise NotAudio(f"is not a {suffix[1:]} file")
    pcm = _run(
        data,
        ["-f", _DEMUXERS[suffix]],
        ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "-t", str(MAX_SECONDS + 1)],
        most_bytes=MAX_SECONDS * BYTES_PER_SECOND,
        time_limit=time_limit,
    )
    if len(pcm) < 2:
        raise NotAudio("holds no audio")
    return pcm[: len(pcm) // 2 * 2]


def mp3_of_pcm(pcm: bytes, *, time_limit: float = TIME_LIMIT_SECONDS) -> bytes:
    """Audio of the port as MP3. Blocks. Raises as :func:`pcm_of`."""
    raw = ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1"]
    return _run(pcm, raw, ["-f", "mp3", "-b:a", "32k"], most_bytes=64_000_000, time_limit=time_limit)


def mp3_of_wav(path: Path, *, time_limit: float = TIME_LIMIT_SECONDS) -> bytes:
    """A WAV file of ours as MP3. Blocks. Raises OSError, and as :func:`pcm_of`."""
    data = path.read_bytes()
    return _run(data, ["-f", "wav"], ["-f", "mp3", "-b:a", "32k"], most_bytes=64_000_000, time_limit=time_limit)


def converter() -> str:
    """The path of FFmpeg: the machine's own, else the one that came with the package. Raises :class:`NoConverter`."""
    own = shutil.which(PROGRAM)
    if own is not None:
        return own
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise NoConverter("audio cannot be converted here: install ffmpeg") from error


def _looks_like(data: bytes, suffix: str) -> bool:
    """A playlist or a script under a wrong name is not given to FFmpeg at all."""
    if suffix == ".wav":
        return data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE"
    if suffix == ".m4a":
        return data[4:8] == b"ftyp"
    # MP3: a tag, or the eleven bits that every frame begins with.
    return data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0)


def _run(data: bytes, reading: list[str], writing: list[str], *, most_bytes: int, time_limit: float) -> bytes:
    program = converter()
    with tempfile.TemporaryDirectory(prefix="ringback-audio-") as folder:
        path = Path(folder) / "input"
        path.write_bytes(data)
        command = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-protocol_whitelist", "file,pipe"]
        command += [*reading, "-i", str(path), "-vn", "-sn", "-dn", "-map_metadata", "-1", "-threads", "1", *writing]
        command += ["pipe:1"]
        run = ProgramRun(
            command,
            time_limit=time_limit,
            max_output=most_bytes,
            max_memory=MAX_MEMORY_BYTES,
            folder=Path(folder),
            environment={"PATH": os.defpath},
        )
        try:
            # FFmpeg has to find its way about in the file, which it cannot in its standard input.
            with Path(os.devnull).open("rb") as nothing:
                return run.output(nothing)
        except ProgramHung:
            raise NotAudio(f"took longer than {time_limit:g} seconds to convert") from None
        except OutputTooLong:
            raise NotAudio(f"plays longer than {MAX_SECONDS} seconds") from None
        except ProgramFailed as error:
            said = _last_line(error.said)
            raise NotAudio(f"cannot be read as audio ({said})" if said else "cannot be read as audio") from None
        except ProgramError as error:
            raise NoConverter(f"audio cannot be converted here: {PROGRAM} {error}") from error


def _last_line(said: str) -> str:
    """Without the path of our own copy, which says nothing to whoever sent the file."""
    return said.splitlines()[-1].rpartition("] ")[2][:120] if said else ""
