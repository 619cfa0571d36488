"""Prompts as files in a folder that Asterisk can read too: the way it plays audio without a stream per call."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from ringback.telephony.port import Prompt

#: Prompts kept; the least recently played go first. About nine hours of audio.
MOST_BYTES: Final = 512 * 1024 * 1024
#: Raw signed 16-bit at 8,000 samples/s, as Asterisk names it.
_ENDING: Final = ".sln"


class SoundFolder:
    """Writes each prompt once. ``folder`` must have the same path here and at Asterisk."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder.absolute()
        self._most_bytes = most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()  # least recently played first
        self._total = 0
        self._writing: dict[str, asyncio.Task[None]] = {}

    def prepare(self) -> None:
        """Make the folder and forget what an earlier process left in it. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"ringback-*{_ENDING}*"):
            left.unlink(missing_ok=True)

    async def media(self, prompt: Prompt) -> str:
        """The prompt as a media address for Asterisk's play command. Raises OSError when it cannot be written."""
        name = "ringback-" + hashlib.sha256(prompt.key.encode()).hexdigest()[:32]
        while name not in self._sizes:  # a big one written meanwhile may have pushed it out again
            writing = self._writing.get(name)
            if writing is None:
                writing = self._writing[name] = asyncio.create_task(self._write(name, prompt.pcm))
            await asyncio.shield(writing)
        self._sizes.move_to_end(name)
        return f"sound:{self._folder / name}"

    async def _write(self, name: str, pcm: bytes) -> None:
        try:
            await asyncio.to_thread(_replace, self._folder / (name + _ENDING), pcm)
            self._sizes[name] = len(pcm)
            self._total += len(pcm)
            while self._total > self._most_bytes and len(self._sizes) > 1:
                oldest, size = self._sizes.popitem(last=False)
                self._total -= size
                # One that still plays is open at Asterisk and plays on.
                (self._folder / (oldest + _ENDING)).unlink(missing_ok=True)
        finally:
            del self._writing[name]


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.chmod(0o644)  # Asterisk usually runs as another user
    part.replace(path)
