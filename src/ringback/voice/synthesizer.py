"""The port for speech: what makes audio of a text. All of it happens out of process, or in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.model.voice_settings import VoiceSettings


class SpeechError(Exception):
    """A text could not be spoken. The text says why."""


class SpeechHung(SpeechError):
    """It took too long and was given up."""


class SpeechRun(Protocol):
    """One text on its way to audio."""

    def audio(self) -> bytes:
        """PCM of the telephony port; blocks its thread. To be called once. Raises :class:`SpeechError`."""

    def stop(self) -> None:
        """End it, now or as soon as it begins. Safe from any thread, at any time."""


class Synthesizer(Protocol):
    """A voice, or many of them."""

    @property
    def name(self) -> str:
        """What people know it by."""

    def languages(self) -> Mapping[str, str]:
        """The language tags that it speaks, in small letters, each with its best voice. Empty: it cannot tell.

        The first call may block for a fraction of a second; the answer is kept.
        """

    def make(self, text: str, language: str, settings: VoiceSettings, time_limit: float) -> SpeechRun:
        """Speak a text. ``language`` is a tag, ``time_limit`` seconds of real time."""
