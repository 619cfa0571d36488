"""How texts are spoken, as far as the voices that are installed allow."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_SPEAKING_RATE = 0.25
MAX_SPEAKING_RATE = 4.0

_ACCENT = re.compile(r"[0-9A-Za-z-]{0,32}", re.ASCII)


class Gender(StrEnum):
    """Of a voice."""

    MALE = "male"
    FEMALE = "female"


class VoiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How texts are spoken. ``speaking_rate``: 1 is the voice's own, 2 twice as fast.

    ``gender``: ``None`` leaves it to the voice. ``accent``: a region such as ``GB``, or its dialling code.
    """

    speaking_rate: float = 1.0
    gender: Gender | None = None
    accent: str = ""

    def faults(self) -> Iterator[tuple[str, str]]:
        """What is out of range: the member, and what is wrong with it."""
        if not MIN_SPEAKING_RATE <= self.speaking_rate <= MAX_SPEAKING_RATE:  # no number is neither
            rates = f"{MIN_SPEAKING_RATE:g} to {MAX_SPEAKING_RATE:g}"
            yield "speaking_rate", f"must be {rates}, is {self.speaking_rate:g}"
        if not _ACCENT.fullmatch(self.accent):
            yield "accent", "must have at most 32 letters, digits or -"


PLAIN_VOICE = VoiceSettings()
