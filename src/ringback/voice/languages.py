"""Languages: the vendor's codes for them, and whether a voice that is installed here speaks one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.voice.dialects import regional
from ringback.voice.espeak import installed_espeak

if TYPE_CHECKING:
    from ringback.model.template import Template

#: The vendor's codes (``lan``, ``language``) and the tags that they stand for. IN and BD are countries: their largest
#: language (I).
TAGS = {
    "VN": "vi",
    "EN": "en",
    "JP": "ja",
    "ARB": "ar",
    "DE": "de",
    "IN": "hi",
    "IT": "it",
    "KR": "ko",
    "RU": "ru",
    "ES": "es",
    "PT": "pt",
    "IDN": "id",
    "BD": "bn",
    "TH": "th",
}


def tag_of(vendor_code: str) -> str | None:
    """The language tag of the vendor's code, in either case of letters; ``None`` when there is no such code."""
    return TAGS.get(vendor_code.strip().upper())


def why_unspoken(tag: str) -> str:
    """Why no voice here speaks the language; empty when one does.

    Empty too when there is no voice at all, or it cannot tell what it speaks: then notes take the place of speech, and
    whoever adds a template is told. The first call runs a program for some hundredths of a second; the answer is kept.
    """
    espeak = installed_espeak()
    known = espeak.languages() if espeak is not None else {}
    if espeak is None or not known or any(one in known for one in regional(tag)):
        return ""
    return f"{espeak.name} has no voice for {tag[:40]!r} here"


def why_silent(template: Template) -> str:
    """Why the template's texts cannot be spoken here; empty when they can, or there are none."""
    return why_unspoken(template.language) if template.speaks else ""
