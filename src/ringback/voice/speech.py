"""Speech from text: espeak-ng when it is installed, else a pattern of notes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from ringback.model.template import PLAIN_VOICE
from ringback.telephony.port import Prompt
from ringback.voice.espeak import PROGRAM, EspeakError, EspeakHung, EspeakRun, speech_program
from ringback.voice.tones import pattern

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.model.template import VoiceSettings

DEFAULT_TIME_LIMIT_SECONDS = 5.0
DEFAULT_CACHE_BYTES = 32_000_000
AT_ONCE = 2
#: After it hung once it is left alone for this long, or every call would begin with that many seconds of silence.
PAUSE_AFTER_HANGING_SECONDS = 30.0

log = structlog.get_logger(__name__)


def speech_available() -> bool:
    """Whether texts can be spoken here; else they are notes, which a user should be told."""
    return speech_program() is not None


class Speech:
    """Makes prompts from texts. One for the whole process: it holds the cache and the limit on programs.

    ``program`` is the path of espeak-ng (see :func:`speech_program`), ``None``: notes only. ``time_limit`` is in
    seconds of one run; ``cache_bytes`` bounds the audio that is kept.
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
        # Not the loop's own threads: their number is not ours, and the loop waits for all of them when it closes.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=PROGRAM)
        self._paused_until = 0.0
        self._warned = False

    async def say(self, text: str, language: str, voice: VoiceSettings = PLAIN_VOICE) -> Prompt:  # noqa: ARG002
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
            except EspeakError as error:
                log.warning(
                    "speech_failed", reason=str(error), language=language, characters=len(text), instead="notes"
                )
                return _notes(text)
        prompt = Prompt(key, pcm)
        self._cache.put(prompt)
        return prompt

    async def _run(self, program: str, text: str, language: str) -> bytes:
        """The audio that one run of the program makes of the text."""
        run = EspeakRun(program, text, language, self._time_limit)
        with self._clock.holding():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, run.audio)
            except asyncio.CancelledError:
                run.stop()
                raise
            except EspeakHung:
                self._paused_until = self._clock.monotonic() + PAUSE_AFTER_HANGING_SECONDS
                log.warning("speech_paused", program=program, seconds=PAUSE_AFTER_HANGING_SECONDS)
                raise


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


def _notes(text: str) -> Prompt:
    return Prompt(f"notes:{_digest('', text)}", pattern(text))


def _digest(language: str, text: str) -> str:
    return hashlib.sha256(f"{language}\n{text}".encode("utf-8", errors="replace")).hexdigest()
