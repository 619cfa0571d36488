"""Routes, denied prefixes, rewriting and caller ids: the rules by their properties."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.routing import (
    ACCESS_CODES,
    CallerIds,
    Choice,
    Denied,
    RoutePrefixes,
    checked_added,
    checked_caller_id,
    checked_denial,
    checked_prefix,
    checked_strip,
    denied_reason,
    in_service,
    least_loaded,
    rewritten,
)

#: Few digits, so that prefixes meet.
digits = st.text("0149", min_size=6, max_size=18)
prefixes = st.text("0149", max_size=5)
prefix_sets = st.frozensets(prefixes, max_size=6)
choice_lists = st.lists(
    st.builds(Choice, st.integers(1, 5), st.integers(0, 3), st.integers(1, 9)),
    max_size=5,
    unique_by=lambda one: one.trunk_id,
)
anything = st.text(st.sampled_from('09+aZ -@:;<>"\\\r\n\t\x00%?,١²é'), max_size=24)


@given(callee=digits, own=prefix_sets, shared=prefix_sets)
def test_the_longest_prefix_decides_an_accounts_own_before_shared_ones(
    callee: str, own: frozenset[str], shared: frozenset[str]
) -> None:
    fitting = [one for one in own if callee.startswith(one)] or [one for one in shared if callee.startswith(one)]
    assert RoutePrefixes(own, shared).of(callee) == max(fitting, key=len, default="")


@given(callee=digits, own=prefix_sets, shared=prefix_sets)
def test_the_gap_is_the_shortest_beginning_that_no_route_shares(
    callee: str, own: frozenset[str], shared: frozenset[str]
) -> None:
    every = own | shared
    if any(callee.startswith(one) for one in every):
        return
    gap = RoutePrefixes(own, shared).without_route(callee)
    assert callee.startswith(gap)
    if gap != callee:
        # No number that begins so has a route, and of a shorter beginning that cannot be said.
        assert not any(one.startswith(gap) or gap.startswith(one) for one in every)
        assert len(gap) == 1 or any(one.startswith(gap[:-1]) for one in every)


def test_gaps_as_people_read_them() -> None:
    known = RoutePrefixes(own=["4930"], shared=["44"])
    assert known.without_route("4940123") == "494"
    assert known.without_route("33123456") == "3"
    assert not RoutePrefixes()
    assert RoutePrefixes(shared=[""])


@given(choice_lists, st.frozensets(st.integers(1, 5)))
def test_the_lowest_priority_number_with_a_trunk_in_service_counts(choices: list[Choice], up: frozenset[int]) -> None:
    chosen = in_service(choices, up.__contains__)
    for one in chosen:
        assert one.trunk_id in up
        assert one.priority == chosen[0].priority
    for other in choices:
        if other not in chosen and other.trunk_id in up:
            assert other.priority > chosen[0].priority


@given(choice_lists, st.integers(1, 200))
def test_calls_are_shared_by_weight(choices: list[Choice], calls: int) -> None:
    given_out: Counter[int] = Counter()
    for _ in range(calls):
        turn = least_loaded(choices, given_out.__getitem__)
        if turn is None:
            assert not choices
            return
        given_out[turn.trunk_id] += 1
    total = sum(one.weight for one in choices)
    for one in choices:
        assert abs(given_out[one.trunk_id] - calls * one.weight / total) <= len(choices)


@given(callee=digits, denied=st.frozensets(st.text("0149", min_size=1, max_size=5), max_size=5))
def test_a_denied_number_does_not_hide_behind_an_access_code(callee: str, denied: frozenset[str]) -> None:
    found = Denied(denied).by(callee)
    expected = [code + one for code in ACCESS_CODES for one in denied if callee.startswith(code + one)]
    assert (found is not None) == bool(expected)
    assert found is None or found in expected


@pytest.mark.parametrize("number", ["881612345", "00881612345", "011881612345", "0011881612345"])
def test_who_is_denied_and_why(number: str) -> None:
    found = Denied(["44", "881", "8816"]).by(number)
    assert found is not None
    assert denied_reason(found) == f"numbers that begin with {number.partition('881')[0]}881 are denied"


def test_a_number_is_looked_at_as_it_is_sent_too() -> None:
    denied = Denied(["881"])
    assert denied.by_as_dialled("0881612345", "+881612345") == "881"
    assert denied.by_as_dialled("4988161234", "88161234") is None
    assert denied.by_as_dialled("881612345", "00881612345") == "881"


@given(callee=digits, strip=st.text("0149+", max_size=4), added=st.text("0149+", max_size=4))
def test_rewriting_keeps_what_follows_the_prefix(callee: str, strip: str, added: str) -> None:
    try:
        strip, added = checked_strip(strip), checked_added(added)
    except ValueError:
        return
    try:
        dialled = rewritten(callee, strip, added)
    except ValueError:
        assert callee == strip
        return
    assert dialled.startswith(added)
    assert callee in (dialled[len(added) :], strip + dialled[len(added) :])
    assert not (callee.startswith(strip) and strip and callee == dialled[len(added) :])
    assert re.fullmatch(r"\+?[0-9]{1,32}", dialled)


@pytest.mark.parametrize(
    ("callee", "strip", "added", "dialled"),
    [
        ("493012345", "49", "0", "03012345"),
        ("493012345", "44", "+", "+493012345"),
        ("493012345", "", "00", "00493012345"),
        ("9" * 18, "", "+" + "1" * 12, "+" + "1" * 12 + "9" * 18),
    ],
)
def test_rewriting(callee: str, strip: str, added: str, dialled: str) -> None:
    assert rewritten(callee, strip, added) == dialled


def test_a_rewriting_that_leaves_nothing_is_refused_without_the_number() -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        rewritten("493012345", "493012345", "0")
    with pytest.raises(ValueError, match="is no number") as error:
        rewritten("493012345", "", "0\r\nX: y")
    assert "3012345" not in str(error.value)


@pytest.mark.parametrize(
    "check",
    [checked_prefix, checked_denial, checked_strip, checked_added, checked_caller_id],
    ids=lambda one: one.__name__,
)
@given(text=anything)
def test_only_digits_get_through(check: object, text: str) -> None:
    assert callable(check)
    try:
        value = check(text)
    except ValueError:
        return
    assert re.fullmatch(r"\+?[0-9]*", value)
    assert value in (text, text.removeprefix("+"))


@given(
    pool=st.lists(st.text("123", min_size=1, max_size=3), max_size=5, unique=True),
    wishes=st.lists(st.tuples(st.sampled_from(["", "1", "99"]), st.sampled_from(["", "2", "88"])), max_size=20),
    any_allowed=st.booleans(),
)
def test_caller_ids_are_owned_or_allowed_and_go_in_turn(
    pool: list[str], wishes: list[tuple[str, str]], any_allowed: bool
) -> None:
    ids = CallerIds(pool, any_allowed=any_allowed)
    last_use = {number: place - len(pool) for place, number in enumerate(pool)}
    for now, (wanted, usual) in enumerate(wishes):
        chosen = ids.choose(wanted, usual)
        if wanted:
            # Nothing takes the place of what the task wants.
            assert chosen == (wanted if any_allowed or wanted in pool else None)
        elif usual and (any_allowed or usual in pool):
            assert chosen == usual
        elif pool:
            assert chosen == min(pool, key=last_use.__getitem__)
        else:
            assert chosen == ""
        if chosen in last_use:
            last_use[chosen] = now
    used = [number for number in sorted(pool, key=last_use.__getitem__) if last_use[number] >= 0]
    assert ids.used == used
