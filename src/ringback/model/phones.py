"""SIP phones of people: what a group of them may look like, and the rules about calling with their help."""

from __future__ import annotations

import hashlib
import unicodedata

import msgspec

#: What phones are told that they log in to (RFC 3261 section 22.1). Part of every stored HA1: never change it.
REALM = "ringback"
MIN_NAME = 4
MAX_NAME = 32
MAX_AT_ONCE = 50
MIN_CALLER_ID_DIGITS = 7
MAX_CALLER_ID_DIGITS = 13
#: Of one application: what a registrar on one port carries easily.
MAX_PHONES = 1_000


class InvalidPhones(ValueError):
    """The phones asked for are not allowed. ``field`` names the member at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class PhonesSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A group of phones as it is asked for. ``caller_id``: what callees are shown, '' for the application's."""

    group_name: str
    phone_name: str
    quantity: int
    caller_id: str = ""

    def checked(self) -> PhonesSpec:
        """Itself, when everything is in range (ranges: the vendor's SDK). Raises :class:`InvalidPhones`."""
        for field, name in (("groupName", self.group_name), ("phoneName", self.phone_name)):
            if not MIN_NAME <= len(name) <= MAX_NAME:
                raise InvalidPhones(field, f"must have {MIN_NAME} to {MAX_NAME} characters, has {len(name)}")
            # Blanks other than the plain one are welcome: Chinese names hold the wide one.
            if any(not one.isprintable() and unicodedata.category(one) != "Zs" for one in name):
                raise InvalidPhones(field, "must not hold control characters")
        if not 1 <= self.quantity <= MAX_AT_ONCE:
            raise InvalidPhones("quantity", f"must be 1 to {MAX_AT_ONCE}, got {self.quantity}")
        digits = self.caller_id
        if digits and not (
            digits.isascii() and digits.isdecimal() and MIN_CALLER_ID_DIGITS <= len(digits) <= MAX_CALLER_ID_DIGITS
        ):
            raise InvalidPhones("displayNum", f"must be {MIN_CALLER_ID_DIGITS} to {MAX_CALLER_ID_DIGITS} digits")
        return self

    def phone_names(self) -> list[str]:
        """One name a phone: of several, each with its number behind it."""
        if self.quantity == 1:
            return [self.phone_name]
        return [f"{self.phone_name}-{number}" for number in range(1, self.quantity + 1)]


def ha1(login: str, password: str) -> str:
    """What digest authentication keeps of a password (RFC 7616 section 3.4.2, MD5)."""
    return md5(f"{login}:{REALM}:{password}")


def md5(text: str) -> str:
    """MD5 in hex: the only algorithm that every SIP phone knows."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def seat_lines(callout_rate: int, registered: int) -> int:
    """How many calls a task may have at once whose callees are connected with people: ``callout_rate`` for each phone
    that is registered. Without any it calls nobody.

    Source: the vendor's ``outboundControl`` 1 (proportional) with ``calloutRate``; that it counts registered phones,
    not free ones, is decided here, for a phone that talks now is free before most of those called now answer.
    """
    return max(0, callout_rate) * max(0, registered)
