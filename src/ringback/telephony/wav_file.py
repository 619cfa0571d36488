"""A WAV file that grows beside its target and takes the target's name once it is whole."""

from __future__ import annotations

import contextlib
import os
import struct
from io import FileIO
from typing import TYPE_CHECKING, Final

from ringback.telephony.port import BYTES_PER_SECOND, SAMPLE_RATE

if TYPE_CHECKING:
    from pathlib import Path

#: What the name of an unfinished file ends in; one that stays belongs to a process that died.
UNFINISHED: Final = ".part"
_MONO, _PCM, _BITS = 1, 1, 16


class WavFile:
    """8 kHz mono 16-bit audio on disk, readable by its owner only. Every method but ``discard`` raises OSError."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._unfinished = target.with_name(target.name + UNFINISHED)
        self._file: FileIO | None = None
        self._bytes = 0

    def open(self) -> None:
        """Begin the file. Its folder must be there."""
        # Unbuffered: blocks come large, and a buffer that a full disk refuses would be tried again at every close.
        descriptor = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = FileIO(descriptor, "w")
        self._write(_header(0))

    def write(self, pcm: bytes) -> None:
        """Add audio."""
        self._write(pcm)
        self._bytes += len(pcm)

    def complete(self) -> None:
        """Put the lengths into the header and give the file its name."""
        assert self._file is not None
        self._file.seek(0)
        self._write(_header(self._bytes))
        self._file.close()
        self._unfinished.replace(self.target)

    def discard(self) -> None:
        """Remove what was written, as far as that is possible."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
            self._unfinished.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        rest = memoryview(data)
        while rest:  # on a full disk a part may fit
            rest = rest[self._file.write(rest) :]


def _header(audio_bytes: int) -> bytes:
    sizes = struct.pack("<IHHIIHH", 16, _PCM, _MONO, SAMPLE_RATE, BYTES_PER_SECOND, _BITS // 8, _BITS)
    return (
        b"RIFF" + struct.pack("<I", 36 + audio_bytes) + b"WAVEfmt " + sizes + b"data" + struct.pack("<I", audio_bytes)
    )
