"""Templates ready to run: read from the store once, with their audio. A stored template never changes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from ringback.model.template import Template
from ringback.store import templates
from ringback.voice.prompts import PromptMaker

if TYPE_CHECKING:
    from ringback.store.database import Store
    from ringback.voice.speech import Speech


#: Each spoken code is a template of its own: not every one can be kept.
MOST_KEPT = 256


class Ready(msgspec.Struct, frozen=True):
    """A template with what makes its prompts."""

    template: Template
    prompts: PromptMaker


class TemplateLibrary:
    """Keeps the templates that calls are using."""

    def __init__(self, store: Store, speech: Speech) -> None:
        self._store = store
        self._speech = speech
        self._ready: OrderedDict[int, Ready] = OrderedDict()
        self._reading = asyncio.Lock()

    async def get(self, template_id: int) -> Ready:
        """The template. Raises LookupError when the store has none of that id."""
        found = self._ready.get(template_id)
        if found is not None:
            self._ready.move_to_end(template_id)
            return found
        async with self._reading:
            async with self._store.read() as tx:
                stored = await templates.get(tx, template_id)
                audio = await templates.audio_of(tx, template_id)
            if stored is None:
                raise LookupError(f"there is no agent template {template_id}")
            found = self._ready[template_id] = Ready(stored.template, PromptMaker(self._speech, audio))
            while len(self._ready) > MOST_KEPT:
                self._ready.popitem(last=False)
            return found
