"""Speech from text: espeak-ng as a program of its own when it is installed, else a pattern of notes.

espeak-ng is run, never linked: its licence is not ours, and a voice that crashes or hangs must not take calls with it.
The text goes to its standard input; no word of it is ever an option or meets a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import re
import shutil
import signal
from asyncio.subprocess import PIPE
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from ringback.telephony.port import Prompt
from ringback.voice.tones import pattern
from ringback.voice.wav import WavError, seconds_of_wav

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from ringback.clock import Clock

PROGRAM = "espeak-ng"
MAX_SPEECH_SECONDS = 180.0
MAX_WAV_BYTES = 8_000_000  # 180 s of espeak-ng's 22,050 16-bit samples a second
DEFAULT_TIME_LIMIT_SECONDS = 5.0
DEFAULT_CACHE_BYTES = 32_000_000
AT_ONCE = 2
#: After it hung once it is left alone for this long, or every call would begin with that many seconds of silence.
PAUSE_AFTER_HANGING_SECONDS = 30.0

_END_WAIT_SECONDS = 1.0  # after a kill
_SAID_BYTES = 300  # of what the program writes to standard error
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

log = structlog.get_logger(__name__)


def speech_program() -> str | None:
    """The path of espeak-ng when it is on ``PATH``."""
    return shutil.which(PROGRAM)


def speech_available() -> bool:
    """Whether texts can be spoken here; else they are notes, which a user should be told."""
    return speech_program() is not None


class Speech:
    """Makes prompts from texts. One for the whole process: it holds the cache and the limit on programs.

    ``program`` is the path of espeak-ng (see :func:`speech_program`), ``None``: notes only. ``time_limit`` is in
    seconds of one run; ``cache_bytes`` bounds the audio that is kept. Virtual time stands still while the program runs,
    so a simulation gives no program: there the time limit could not end one that hangs.
    """

    def __init__(
        self,
        clock: Clock,
        program: str | None,
        *,
        time_limit: float = DEFAULT_TIME_LIMIT_SECONDS,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._clock = clock
        self._program = program
        self._time_limit = time_limit
        self._cache = _PromptCache(cache_bytes)
        self._being_made: dict[str, asyncio.Task[Prompt]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._paused_until = 0.0
        self._warned = False

    async def say(self, text: str, language: str) -> Prompt:
        """The audio of ``text``; empty when there is nothing to say. Never fails: notes take the place of speech."""
        text = " ".join(text.split())
        if not text:
            return Prompt("silence", b"")
        if self._program is None:
            if not self._warned:
                self._warned = True
                log.warning("speech_missing", program=PROGRAM, instead="notes")
            return _notes(text)
        key = f"say:{_digest(language, text)}"
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        making = self._being_made.get(key)
        if making is None:
            making = asyncio.create_task(self._make(self._program, key, text, language))
            self._being_made[key] = making
            making.add_done_callback(lambda _: self._being_made.pop(key, None))
        # Others may wait for the same text: one call that ends must not take it from them.
        return await asyncio.shield(making)

    async def _make(self, program: str, key: str, text: str, language: str) -> Prompt:
        async with self._slots:
            if self._clock.monotonic() < self._paused_until:
                return _notes(text)
            try:
                pcm = await self._run(program, text, language)
            except (_SpeechError, WavError, OSError) as error:
                log.warning(
                    "speech_failed", reason=str(error), language=language, characters=len(text), instead="notes"
                )
                return _notes(text)
        prompt = Prompt(key, pcm)
        self._cache.put(prompt)
        return prompt

    async def _run(self, program: str, text: str, language: str) -> bytes:
        """The audio that one run of the program makes of the text."""
        with self._clock.holding():
            process = await asyncio.create_subprocess_exec(
                program, "--stdout", "--stdin", "-b", "1", "-v", language.lower(),
                stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True,
            )  # fmt: skip
            try:
                async with asyncio.timeout(self._time_limit):
                    wav, said = await _converse(process, _plain(text).encode("utf-8", errors="replace"))
                    code = await process.wait()
            except TimeoutError:
                self._paused_until = self._clock.monotonic() + PAUSE_AFTER_HANGING_SECONDS
                raise _SpeechError(
                    f"did not finish in {self._time_limit:g} s; not tried for {PAUSE_AFTER_HANGING_SECONDS:g} s"
                ) from None
            finally:
                await _end(process)
            if len(wav) > MAX_WAV_BYTES:
                raise _SpeechError(f"made more than {MAX_WAV_BYTES} bytes")
            if code != 0:
                raise _SpeechError(f"ended with {code}: {said.decode(errors='replace').strip()}")
            pcm = bytearray()
            for second in seconds_of_wav(io.BytesIO(wav), MAX_SPEECH_SECONDS):
                pcm += second
                await self._clock.sleep(0)  # a minute of speech takes a tenth of a second; other calls go first
            return bytes(pcm)


class _SpeechError(Exception):
    """The program did not do its work. The text says why."""


class _PromptCache:
    """The prompts used last, at most so many bytes of audio."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._prompts: OrderedDict[str, Prompt] = OrderedDict()

    def get(self, key: str) -> Prompt | None:
        prompt = self._prompts.get(key)
        if prompt is not None:
            self._prompts.move_to_end(key)
        return prompt

    def put(self, prompt: Prompt) -> None:
        replaced = self._prompts.pop(prompt.key, None)
        self._prompts[prompt.key] = prompt
        self._bytes += len(prompt.pcm) - (len(replaced.pcm) if replaced else 0)
        while self._bytes > self._max_bytes:
            _, dropped = self._prompts.popitem(last=False)
            self._bytes -= len(dropped.pcm)


async def _converse(process: Process, text: bytes) -> tuple[bytes, bytes]:
    """Hand over the text and read what comes: the audio, and the beginning of what is said on standard error."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    _, audio, said = await asyncio.gather(
        _feed(process.stdin, text), _read_audio(process, process.stdout), _read_said(process.stderr)
    )
    return audio, said


async def _feed(stdin: asyncio.StreamWriter, text: bytes) -> None:
    # A program that ends without reading is judged by its exit code and its audio.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(text)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _read_audio(process: Process, stdout: asyncio.StreamReader) -> bytes:
    """What the program writes, to the end; one that writes too much is killed, and the rest thrown away."""
    audio = bytearray()
    while chunk := await stdout.read(65_536):
        if len(audio) <= MAX_WAV_BYTES:
            audio += chunk
        if len(audio) > MAX_WAV_BYTES:
            _kill(process)
    return bytes(audio)


async def _read_said(stderr: asyncio.StreamReader) -> bytes:
    said = b""
    while chunk := await stderr.read(65_536):
        said = (said + chunk)[:_SAID_BYTES]
    return said


def _kill(process: Process) -> None:
    """Kill the program, and whatever it has started, if it still runs."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _end(process: Process) -> None:
    """See the program off. What it left in its pipes is read, or asyncio would never call it ended."""
    _kill(process)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_WAIT_SECONDS):
            await process.communicate()


def _plain(text: str) -> str:
    """The text without what espeak-ng takes for commands (control characters) or phonemes (double brackets)."""
    return _CONTROL.sub(" ", text).replace("[[", "[ [")


def _notes(text: str) -> Prompt:
    return Prompt(f"notes:{_digest('', text)}", pattern(text))


def _digest(language: str, text: str) -> str:
    return hashlib.sha256(f"{language}\n{text}".encode("utf-8", errors="replace")).hexdigest()
