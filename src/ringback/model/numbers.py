"""Phone numbers: what a callee may look like, and where in the world it is.

A callee is 6 to 18 digits with its country code, no plus sign (the vendor's rule). Country and time zones come from the
numbering plan in ``phonenumbers``, looked up by prefix: parsing every number would cost 10 µs each, two seconds for the
largest task.
"""

from __future__ import annotations

import re
from functools import lru_cache

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from phonenumbers.tzdata import TIMEZONE_DATA, TIMEZONE_LONGEST_PREFIX

MIN_DIGITS = 6
MAX_DIGITS = 18
#: Zone of a number whose prefix no numbering plan knows. Never inside a calling window: it is not dialled then.
UNKNOWN_ZONE = ""

_CALLEE = re.compile(rf"[0-9]{{{MIN_DIGITS},{MAX_DIGITS}}}", re.ASCII)
_LONGEST_COUNTRY_CODE = 3
# What phonenumbers calls the region of codes that belong to no country, such as 800.
_NO_COUNTRY = "001"


class InvalidNumber(ValueError):
    """Not a callee. The text says what is wrong, without the number."""


def parse_callee(text: str) -> str:
    """The callee's digits. A leading ``+`` and surrounding blanks are dropped; nothing else is repaired.

    Raises :class:`InvalidNumber`.
    """
    if _CALLEE.fullmatch(text):  # the common case: one match and done
        return text
    digits = text.strip().removeprefix("+")
    if _CALLEE.fullmatch(digits):
        return digits
    if not digits:
        raise InvalidNumber("is empty")
    if not re.fullmatch(r"[0-9]+", digits, re.ASCII):
        raise InvalidNumber("may hold digits only (country code and number)")
    raise InvalidNumber(f"must have {MIN_DIGITS} to {MAX_DIGITS} digits, has {len(digits)}")


def zones(callee: str) -> tuple[str, ...]:
    """The time zones (IANA names) where the number may be, sorted; empty when unknown."""
    return _zones_of_prefix(callee[:TIMEZONE_LONGEST_PREFIX])


def zone_key(callee: str) -> str:
    """The zones as one text, ``,`` between them: numbers with an equal key may be called at the same times."""
    return _zone_key_of_prefix(callee[:TIMEZONE_LONGEST_PREFIX])


def country(callee: str) -> str | None:
    """ISO 3166 code of the country whose code the number starts with; ``None`` when there is none."""
    if callee.startswith("0"):  # no country code does, but int() below would pass over it
        return None
    for length in range(1, _LONGEST_COUNTRY_CODE + 1):
        regions = COUNTRY_CODE_TO_REGION_CODE.get(int(callee[:length]))
        if regions:
            return None if regions[0] == _NO_COUNTRY else str(regions[0])
    return None


def masked(number: str) -> str:
    """The number for a log line: all but the last two characters hidden."""
    return "•" * max(0, len(number) - 2) + number[-2:]


@lru_cache(maxsize=65_536)
def _zone_key_of_prefix(prefix: str) -> str:
    return ",".join(_zones_of_prefix(prefix))


@lru_cache(maxsize=65_536)
def _zones_of_prefix(prefix: str) -> tuple[str, ...]:
    for length in range(len(prefix), 0, -1):
        found = TIMEZONE_DATA.get(prefix[:length])
        if found is not None:
            return tuple(sorted(str(zone) for zone in found))
    return ()
