"""What a call costs: a price a minute, charged in steps; money in whole millionths, never in floating point.

Source: the vendor's billing periods "20+20" and "60+60": the first so many seconds are charged whole, and so is every
further step that has begun. That the price is that of a minute is our own decision; the vendor does not say.
"""

from __future__ import annotations

import re

import msgspec

MICROS = 1_000_000
MAX_RATE_MICROS = 10**12
MAX_STEP_SECONDS = 3_600
_MONEY = re.compile(r"(-?)([0-9]{1,9})(?:\.([0-9]{1,6}))?", re.ASCII)
_PERIOD = re.compile(r"([0-9]{1,4})\+([0-9]{1,4})", re.ASCII)


class Tariff(msgspec.Struct, frozen=True):
    """What a minute costs, in millionths, and the steps it is charged in. Raises ValueError when out of range."""

    rate_micros: int
    first_seconds: int
    next_seconds: int

    def __post_init__(self) -> None:
        if not 0 <= self.rate_micros <= MAX_RATE_MICROS:
            raise ValueError(f"a rate is 0 to {money_text(MAX_RATE_MICROS)}")
        if not (1 <= self.first_seconds <= MAX_STEP_SECONDS and 1 <= self.next_seconds <= MAX_STEP_SECONDS):
            raise ValueError(f"each step of a billing period is 1 to {MAX_STEP_SECONDS} seconds")

    @property
    def period(self) -> str:
        """The steps as the vendor writes them, such as "60+60"."""
        return f"{self.first_seconds}+{self.next_seconds}"

    def charged_seconds(self, talk_ms: int | None) -> int:
        """How many seconds a call of that length is charged; 0 for one that was not answered."""
        if not talk_ms or talk_ms <= 0:
            return 0
        beyond = talk_ms - self.first_seconds * 1000
        steps = 0 if beyond <= 0 else -(-beyond // (self.next_seconds * 1000))
        return self.first_seconds + steps * self.next_seconds

    def cost_micros(self, talk_ms: int | None) -> int:
        """What a call of that length costs, in millionths, rounded half up."""
        return (self.charged_seconds(talk_ms) * self.rate_micros * 2 + 60) // 120


def parse_period(text: str) -> tuple[int, int]:
    """The steps of a billing period such as "20+20". Raises ValueError with a text for people."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be two numbers of seconds with a plus between, such as 60+60")
    return int(found[1]), int(found[2])


def parse_money(text: str) -> int:
    """Millionths of an amount such as "0.023625". Raises ValueError with a text for people."""
    found = _MONEY.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be an amount with at most 9 digits before the point and 6 behind it")
    micros = int(found[2]) * MICROS + int((found[3] or "").ljust(6, "0"))
    return -micros if found[1] else micros


def money_text(micros: int) -> str:
    """The amount as text: no exponent, no trailing zeros."""
    whole, rest = divmod(abs(micros), MICROS)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}" if micros < 0 else text
