"""Phones: what a group may look like, the digest of a password, and how many calls people can take."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.phones import InvalidPhones, PhonesSpec, ha1, seat_lines

SPEC = PhonesSpec(group_name="sales", phone_name="desk", quantity=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"group_name": "abcd"},
        {"group_name": "x" * 32},
        {"phone_name": "销售部门"},
        {"phone_name": "a　b c"},
        {"quantity": 1},
        {"quantity": 50},
        {"caller_id": "1234567"},
        {"caller_id": "1234567890123"},
    ],
)
def test_what_is_in_range_passes(changes: dict[str, Any]) -> None:
    spec = msgspec.structs.replace(SPEC, **changes)
    assert spec.checked() is spec


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"group_name": "abc"}, "groupName"),
        ({"group_name": "x" * 33}, "groupName"),
        ({"group_name": "ab\ncd"}, "groupName"),
        ({"phone_name": ""}, "phoneName"),
        ({"phone_name": "x" * 33}, "phoneName"),
        ({"quantity": 0}, "quantity"),
        ({"quantity": 51}, "quantity"),
        ({"caller_id": "123456"}, "displayNum"),
        ({"caller_id": "12345678901234"}, "displayNum"),
        ({"caller_id": "+1234567"}, "displayNum"),
        ({"caller_id": "١٢٣٤٥٦٧"}, "displayNum"),
    ],
)
def test_what_is_not_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidPhones, match=re.escape(field)) as refused:
        msgspec.structs.replace(SPEC, **changes).checked()
    assert refused.value.field == field


def test_names_of_phones() -> None:
    assert SPEC.phone_names() == ["desk-1", "desk-2", "desk-3"]
    assert msgspec.structs.replace(SPEC, quantity=1).phone_names() == ["desk"]


@given(st.integers(1, 50))
def test_every_phone_has_a_name_of_its_own(quantity: int) -> None:
    names = msgspec.structs.replace(SPEC, phone_name="x" * 32, quantity=quantity).phone_names()
    assert len(set(names)) == quantity
    assert max(map(len, names)) <= 40, "what the column holds"


def test_ha1_is_that_of_the_rfc() -> None:
    """Computed by hand: printf 4711:ringback:secret | md5sum."""
    assert ha1("4711", "secret") == "fa03a65403b479761ada7437d9d08f70"


@given(st.integers(-5, 100), st.integers(-5, 1000))
def test_nobody_is_called_without_anybody_to_talk_to(rate: int, registered: int) -> None:
    lines = seat_lines(rate, registered)
    assert lines >= 0
    assert lines == 0 if registered <= 0 or rate <= 0 else lines == rate * registered
