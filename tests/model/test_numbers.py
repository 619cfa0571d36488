"""Callees: what is one, where it is in the world, and how it is hidden in a log."""

from __future__ import annotations

from collections.abc import Iterator

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat, PhoneNumberType, timezone

from ringback.model.numbers import (
    MAX_DIGITS,
    MIN_DIGITS,
    UNKNOWN_ZONE,
    InvalidNumber,
    country,
    masked,
    parse_callee,
    zone_key,
    zones,
)
from ringback.model.windows import Window, next_opening

digits = st.text("0123456789", min_size=MIN_DIGITS, max_size=MAX_DIGITS)
#: Phone numbers are text from outside: anything can come.
junk = st.text(max_size=24)


@settings(deadline=None)
@given(digits, st.sampled_from(["", " ", "\t", "\n"]), st.booleans())
def test_six_to_eighteen_digits_are_a_callee(number: str, blank: str, plus: bool) -> None:
    assert parse_callee(f"{blank}{'+' if plus else ''}{number}{blank}") == number


@settings(deadline=None)
@given(junk | st.text("0123456789+ -()", max_size=24) | st.text("0123456789٠١٢३४५６７８²½", min_size=6, max_size=18))
def test_what_comes_out_is_always_a_callee(text: str) -> None:
    try:
        callee = parse_callee(text)
    except InvalidNumber:
        return
    assert callee.isascii()
    assert callee.isdecimal()
    assert MIN_DIGITS <= len(callee) <= MAX_DIGITS
    assert callee == text.strip().removeprefix("+")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("+", "empty"),
        ("12345", "6 to 18 digits, has 5"),
        ("1234567890123456789", "6 to 18 digits, has 19"),
        ("12345a", "digits only"),
        ("++123456", "digits only"),
        ("+ 123456", "digits only"),
        ("123 456 789", "digits only"),
        ("123-456-789", "digits only"),
        ("12345\n6", "digits only"),
        ("-1234567", "digits only"),
        ("1e6000", "digits only"),
        ("１２３４５６７", "digits only"),
        ("٠١٢٣٤٥٦٧", "digits only"),
        ("123456²", "digits only"),
        ("123456\x00", "digits only"),
    ],
)
def test_nothing_else_is_repaired(text: str, why: str) -> None:
    with pytest.raises(InvalidNumber, match=why) as refused:
        parse_callee(text)
    # The text may end up in a log, so it says what is wrong without the number.
    assert len(text) < MIN_DIGITS or text not in str(refused.value)


def valid_numbers() -> Iterator[tuple[str, phonenumbers.PhoneNumber | None]]:
    """An example of every type in every region, and of the codes that belong to none."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in PhoneNumberType.values():
            yield region, phonenumbers.example_number_for_type(region, kind)
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        yield "001", phonenumbers.example_number_for_non_geo_entity(code)


def as_callee(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164).removeprefix("+")


EXAMPLES = sorted({as_callee(number) for _, number in valid_numbers() if number is not None})
SAMPLES = [callee for callee in EXAMPLES if MIN_DIGITS <= len(callee) <= MAX_DIGITS]


def by_the_library(callee: str) -> tuple[str, ...]:
    found = timezone.time_zones_for_geographical_number(phonenumbers.parse(f"+{callee}"))
    return () if found == ("Etc/Unknown",) else tuple(sorted(found))


def test_zones_are_those_of_the_numbering_plan() -> None:
    assert len(SAMPLES) > 500
    assert {callee: zones(callee) for callee in SAMPLES} == {callee: by_the_library(callee) for callee in SAMPLES}


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(SAMPLES), st.data())
def test_zones_of_other_numbers_with_the_same_beginning(sample: str, data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(sample)))
    rest = data.draw(st.text("0123456789", min_size=len(sample) - kept, max_size=len(sample) - kept))
    callee = sample[:kept] + rest
    try:
        number = phonenumbers.parse(f"+{callee}")
    except phonenumbers.NumberParseException:
        return
    if as_callee(number) == callee and phonenumbers.is_valid_number(number):
        assert zones(callee) == by_the_library(callee)


@settings(deadline=None)
@given(digits)
def test_the_key_names_the_zones(callee: str) -> None:
    key = zone_key(callee)
    assert key == ",".join(zones(callee))
    assert (key == UNKNOWN_ZONE) == (not zones(callee))
    # No key is longer than its column, and every zone in it is known to this machine.
    assert len(key) <= 1024
    if key:
        assert next_opening((Window(0, 1440),), key, 1_800_000_000_000) == 1_800_000_000_000


def test_a_number_of_nowhere_has_no_zone() -> None:
    assert zone_key("0000000000") == UNKNOWN_ZONE
    assert zone_key("999999999999") == UNKNOWN_ZONE


def test_country_is_the_main_region_of_the_code() -> None:
    for region, number in valid_numbers():
        if number is None:
            continue
        assert number.country_code is not None
        expected = phonenumbers.region_code_for_country_code(number.country_code)
        found = country(as_callee(number))
        assert found == (None if region == "001" else expected), region


@pytest.mark.parametrize(
    ("callee", "expected"),
    [
        ("14155550123", "US"),
        ("442071838750", "GB"),
        ("8613800138000", "CN"),
        ("0014155550123", None),
        ("044155550123", None),
        ("000000", None),
        ("80012345678", None),
        ("999999999", None),
        ("210123456", None),
    ],
)
def test_country(callee: str, expected: str | None) -> None:
    assert country(callee) == expected


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_masked_number_shows_two_characters(number: str) -> None:
    hidden = masked(number)
    assert len(hidden) == len(number)
    assert hidden[-2:] == number[-2:]
    assert set(hidden[:-2]) <= {"•"}
