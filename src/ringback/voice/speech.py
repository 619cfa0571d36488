"""Speech from text by the voice that is installed, kept for the next call; without one, a pattern of notes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog

from ringback.model.voice_settings import PLAIN_VOICE
from ringback.telephony.port import Prompt
from ringback.voice.espeak import installed_espeak
from ringback.voice.synthesizer import SpeechError, SpeechHung
from ringback.voice.tones import pattern

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.model.voice_settings import VoiceSettings
    from ringback.voice.synthesizer import Synthesizer

DEFAULT_TIME_LIMIT_SECONDS = 5.0
DEFAULT_CACHE_BYTES = 32_000_000
AT_ONCE = 2
#: After it hung once it is left alone for this long, or every call would begin with that many seconds of silence.
PAUSE_AFTER_HANGING_SECONDS = 30.0

log = structlog.get_logger(__name__)


def installed_voice() -> Synthesizer | None:
    """The voice that is installed here; ``None``: texts are notes, which a user should be told."""
    return installed_espeak()


class Speech:
    """Makes prompts from texts. One for the whole process: it holds the cache and the limit on programs.

    ``voice`` speaks (see :func:`installed_voice`), ``None``: notes only. ``time_limit`` is in seconds of one run;
    ``cache_bytes`` bounds the audio that is kept.
    """

    def __init__(
        self,
        clock: Clock,
        voice: Synthesizer | None,
        *,
        time_limit: float = DEFAULT_TIME_LIMIT_SECONDS,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self._clock = clock
        self._voice = voice
        self._time_limit = time_limit
        self._cache = _PromptCache(cache_bytes)
        self._being_made: dict[str, asyncio.Task[Prompt]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        # Not the loop's own threads: their number is not ours, and the loop waits for all of them when it closes.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="speech")
        self._paused_until = 0.0
        self._warned = False

    async def say(self, text: str, language: str, settings: VoiceSettings = PLAIN_VOICE) -> Prompt:
        """The audio of ``text``; empty when there is nothing to say. Never fails: notes take the place of speech."""
        text = " ".join(text.split())
        if not text:
            return Prompt("silence", b"")
        if self._voice is None:
            if not self._warned:
                self._warned = True
                log.warning("speech_missing", instead="notes")
            return _notes(text)
        key = f"say:{_digest(language, text, settings)}"
        cached = self._cache.get(key)
        if cached is not None:
            return cached
        making = self._being_made.get(key)
        if making is None:
            making = asyncio.create_task(self._make(self._voice, key, text, language, settings))
            self._being_made[key] = making
            making.add_done_callback(lambda _: self._being_made.pop(key, None))
        # Others may wait for the same text: one call that ends must not take it from them.
        return await asyncio.shield(making)

    async def _make(self, voice: Synthesizer, key: str, text: str, language: str, settings: VoiceSettings) -> Prompt:
        async with self._slots:
            if self._clock.monotonic() < self._paused_until:
                return _notes(text)
            try:
                pcm = await self._run(voice, text, language, settings)
            except SpeechError as error:
                log.warning(
                    "speech_failed", reason=str(error), language=language, characters=len(text), instead="notes"
                )
                return _notes(text)
        prompt = Prompt(key, pcm)
        self._cache.put(prompt)
        return prompt

    async def _run(self, voice: Synthesizer, text: str, language: str, settings: VoiceSettings) -> bytes:
        """The audio that the voice makes of the text."""
        run = voice.make(text, language, settings, self._time_limit)
        with self._clock.holding():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, run.audio)
            except asyncio.CancelledError:
                run.stop()
                raise
            except SpeechHung:
                self._paused_until = self._clock.monotonic() + PAUSE_AFTER_HANGING_SECONDS
                log.warning("speech_paused", voice=voice.name, seconds=PAUSE_AFTER_HANGING_SECONDS)
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
    return Prompt(f"notes:{_digest('', text, PLAIN_VOICE)}", pattern(text))


def _digest(language: str, text: str, settings: VoiceSettings) -> str:
    how = f"{settings.speaking_rate} {settings.gender} {settings.accent}"
    return hashlib.sha256(f"{language}\n{how}\n{text}".encode("utf-8", errors="replace")).hexdigest()
