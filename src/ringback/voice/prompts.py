"""The audio of a template's prompts on one call: texts filled in and spoken, files as they were loaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import structlog

from ringback.model.template import Say
from ringback.model.text_variables import cut, substituted
from ringback.model.voice_settings import PLAIN_VOICE
from ringback.telephony.port import Prompt
from ringback.voice.speech import Speech
from ringback.voice.tones import pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.model.template import Play
    from ringback.model.voice_settings import VoiceSettings

__all__ = ["PromptMaker", "Speech", "render"]

log = structlog.get_logger(__name__)


def render(text: str, texts: Mapping[str, str]) -> str:
    """The text with each ``${name}`` replaced by ``texts[name]``.

    A value is cut to what counts of it; one that is missing is empty, for whoever made the task has checked that.
    """
    return substituted(text, {name: cut(name, value) for name, value in texts.items()})


class PromptMaker:
    """Makes the prompts of one template. ``audio`` holds the files that it plays, as loaded; ``speech`` is shared."""

    def __init__(self, speech: Speech, audio: Mapping[str, bytes] | None = None) -> None:
        self._speech = speech
        self._files = {
            file: Prompt(f"file:{hashlib.sha256(pcm).hexdigest()}", pcm) for file, pcm in (audio or {}).items()
        }

    async def prompt(
        self, step: Say | Play, language: str, texts: Mapping[str, str], voice: VoiceSettings = PLAIN_VOICE
    ) -> Prompt:
        """The audio of a step; empty when nothing is to be heard. Never fails."""
        if isinstance(step, Say):
            return await self._speech.say(render(step.text, texts), language, voice)
        prompt = self._files.get(step.file)
        if prompt is None:
            log.warning("file_missing", file=step.file, instead="notes")
            return Prompt(f"notes:{step.file}", pattern(step.file))
        return prompt
