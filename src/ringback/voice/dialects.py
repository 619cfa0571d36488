"""Which language tags will do for a language and an accent, the best first."""

from __future__ import annotations

import phonenumbers

_LATIN_AMERICA = "419"  # UN M.49, as language tags have it


def regional(language: str, accent: str = "") -> tuple[str, ...]:
    """Tags in small letters, the best first: with the accent's region, as written, then with less and less of it.

    ``accent`` is a region (``GB``) or a dialling code (``44``); nobody publishes what the vendor's accent codes stand
    for, and its one sample, 91 with English, reads as India's. What means nothing changes nothing.
    """
    tag = language.lower()
    parts = tag.split("-")
    tags = [f"{parts[0]}-{region}" for region in _regions(parts[0], accent)]
    tags += ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys(tags))


def _regions(language: str, accent: str) -> list[str]:
    region = accent.lower()
    if accent.isdecimal():
        known = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(accent), ())
        region = known[0].lower() if known else ""
    if not region:
        return []
    if language == "es" and region != "es":
        return [region, _LATIN_AMERICA]
    return [region]
