"""Who is recalled: recall rules 4 and 5, spelled out a second time and compared over every combination."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from ringback.model.audience import Audience, RecallType, audience_of
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome

INTENTS = ("101", "102", "")
CALL_INTENTS = (None, "101", "102", "103", "")
WANTED = list(chain.from_iterable(combinations(INTENTS, count) for count in range(len(INTENTS) + 1)))


def by_the_rules(recall_type: int, wanted: tuple[str, ...], outcome: str, intent: str | None) -> bool:
    answered = outcome in {"answered", "voicemail"}
    with_intent = answered and intent in wanted
    if recall_type == 0:
        return with_intent if wanted else True
    return not answered or with_intent


@pytest.mark.parametrize("recall_type", list(RecallType))
@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_the_narrow_form_is_rule_4(recall_type: RecallType, wanted: tuple[str, ...]) -> None:
    audience = audience_of(recall_type, wanted)
    for outcome in Outcome:
        for intent in CALL_INTENTS:
            expected = by_the_rules(int(recall_type), wanted, outcome.value, intent)
            assert audience.includes(outcome, intent) == expected, (outcome, intent)


def test_failed_is_rule_5() -> None:
    assert {outcome.value for outcome in FAILED_OUTCOMES} == {
        "busy",
        "no_answer",
        "rejected",
        "unreachable",
        "invalid_number",
        "congestion",
        "failed",
        "unknown",
    }
    assert {outcome.value for outcome in ANSWERED_OUTCOMES} == {"answered", "voicemail"}
    assert set(Outcome) == FAILED_OUTCOMES | ANSWERED_OUTCOMES
    # Skipped and cancelled calls have no outcome at all, so that no audience can name them.
    assert not {"skipped", "cancelled"} & {outcome.value for outcome in Outcome}


def test_the_wide_form_can_name_voicemail_alone() -> None:
    audience = Audience(outcomes=frozenset({Outcome.VOICEMAIL}))
    assert audience.includes(Outcome.VOICEMAIL, None)
    assert not audience.includes(Outcome.ANSWERED, "101")
    assert not Audience().includes(Outcome.ANSWERED, "101")


def test_an_intent_counts_on_answered_calls_only() -> None:
    audience = Audience(intents=frozenset({"101"}))
    assert [outcome for outcome in Outcome if audience.includes(outcome, "101")] == [
        Outcome.ANSWERED,
        Outcome.VOICEMAIL,
    ]
