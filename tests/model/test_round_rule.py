"""Rounds in full and their narrow form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.audience import Audience, RecallType
from ringback.model.flow import FlowSpec, InvalidFlow
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome
from ringback.model.round_rule import RoundRule, check_rules, is_narrow, narrow, narrowed, rules_of
from ringback.model.windows import parse_window

intents = st.lists(st.sampled_from(["101", "102", "999"]), unique=True, max_size=3).map(lambda one: tuple(sorted(one)))
specs = st.builds(
    FlowSpec,
    recall_type=st.sampled_from(RecallType),
    interval_minutes=st.integers(1, 1_440),
    rounds=st.just(3),
    intents=intents,
    template_ids=st.lists(st.integers(1, 9), min_size=3, max_size=3).map(tuple),
)
audiences = st.builds(
    Audience,
    outcomes=st.frozensets(st.sampled_from(Outcome), min_size=1),
    intents=st.frozensets(st.sampled_from(["101", "102"])),
    talk_at_least_seconds=st.none() | st.floats(0, 5),
    talk_under_seconds=st.none() | st.floats(6, 90),
)
rules = st.builds(
    RoundRule,
    interval_minutes=st.integers(1, 43_200),
    audience=audiences,
    template_id=st.integers(1, 9),
    windows=st.none() | st.just(()) | st.just((parse_window("09:00", "18:00"),)),
    caller_id=st.none() | st.sampled_from(["", "4930"]),
)


@given(specs)
def test_the_narrow_form_in_full_and_back_is_the_same(spec: FlowSpec) -> None:
    in_full = rules_of(spec, 7)
    check_rules(in_full)
    assert narrow(in_full) == spec
    assert all(is_narrow(rule, spec) for rule in in_full)


@given(st.lists(rules, min_size=1, max_size=10))
def test_the_narrow_form_of_any_flow_is_a_valid_one(in_full: list[RoundRule]) -> None:
    check_rules(in_full)
    spec = narrow(in_full)
    assert spec.checked() is spec
    assert spec.node_templates(0) == tuple(rule.template_id for rule in in_full)
    outcomes = in_full[0].audience.outcomes
    if spec.recall_type is RecallType.FAILED:
        assert outcomes & FAILED_OUTCOMES
        assert not outcomes & ANSWERED_OUTCOMES


@given(rules, specs)
def test_a_narrow_edit_keeps_what_it_cannot_see(rule: RoundRule, spec: FlowSpec) -> None:
    after = narrowed(rule, spec, 5)
    assert (after.windows, after.caller_id) == (rule.windows, rule.caller_id)
    assert (after.interval_minutes, after.audience, after.template_id) == (spec.interval_minutes, spec.audience, 5)


@given(audiences, st.sampled_from(Outcome), st.none() | st.sampled_from(["101", "103"]), st.integers(0, 100_000))
def test_talk_time_counts_for_answered_calls_only(
    audience: Audience, outcome: Outcome, intent: str | None, talk_ms: int
) -> None:
    without = Audience(outcomes=audience.outcomes, intents=audience.intents)
    expected = without.includes(outcome, intent)
    if outcome in ANSWERED_OUTCOMES:
        at_least, under = audience.talk_at_least_seconds, audience.talk_under_seconds
        expected = expected and (at_least is None or talk_ms >= round(at_least * 1000))
        expected = expected and (under is None or talk_ms < round(under * 1000))
    assert audience.includes(outcome, intent, talk_ms) == expected


FINE = RoundRule(interval_minutes=5, audience=Audience(outcomes=FAILED_OUTCOMES), template_id=1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval_minutes": 0}, "nodes[0].interval_minutes"),
        ({"interval_minutes": 43_201}, "nodes[0].interval_minutes"),
        ({"audience": Audience()}, "nodes[0].audience"),
        ({"audience": Audience(intents=frozenset({""}))}, "nodes[0].audience.intents"),
        ({"audience": Audience(intents=frozenset(map(str, range(101))))}, "nodes[0].audience.intents"),
        (
            {"audience": Audience(intents=frozenset({"1"}), talk_at_least_seconds=-1)},
            "nodes[0].audience.talk_at_least_seconds",
        ),
        (
            {"audience": Audience(intents=frozenset({"1"}), talk_at_least_seconds=5, talk_under_seconds=5)},
            "nodes[0].audience.talk_under_seconds",
        ),
        ({"windows": (parse_window("09:00", "18:00"),) * 4}, "nodes[0].windows"),
    ],
)
def test_what_is_out_of_range_is_named(changes: dict[str, object], field: str) -> None:
    members = {name: getattr(FINE, name) for name in FINE.__struct_fields__}
    with pytest.raises(InvalidFlow) as caught:
        check_rules([RoundRule(**{**members, **changes})])
    assert caught.value.field == field


def test_a_flow_has_one_to_ten_rounds() -> None:
    for count in (0, 11):
        with pytest.raises(InvalidFlow, match=f"holds {count}"):
            check_rules([FINE] * count)
