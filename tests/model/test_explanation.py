"""Rules in words."""

from __future__ import annotations

import pytest

from ringback.model.audience import Audience, RecallType, audience_of
from ringback.model.explanation import audience_in_words, listed
from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["b"], "b"),
        (["b", "a"], "a or b"),
        (["c", "b", "a"], "a, b or c"),
        (list("gfedcba"), "a, b, c, d, e or 2 more"),
    ],
)
def test_names_in_order_and_not_too_many(names: list[str], text: str) -> None:
    assert listed(names) == text


@pytest.mark.parametrize(
    ("audience", "text"),
    [
        (audience_of(RecallType.ALL), "every call that ended"),
        (audience_of(RecallType.FAILED), "the failed"),
        (audience_of(RecallType.ALL, ["102", "101"]), "answered calls with intent 101 or 102"),
        (audience_of(RecallType.FAILED, ["101"]), "the failed and answered calls with intent 101"),
        (Audience(outcomes=frozenset({Outcome.NO_ANSWER})), "calls that ended no answer"),
        (
            Audience(outcomes=ANSWERED_OUTCOMES, talk_under_seconds=10),
            "calls that ended answered or voicemail, of answered ones those that lasted less than 10 s",
        ),
        (
            Audience(intents=frozenset({"1"}), talk_at_least_seconds=1, talk_under_seconds=2.5),
            "answered calls with intent 1, of answered ones those that lasted at least 1 s and less than 2.5 s",
        ),
    ],
)
def test_an_audience_in_words(audience: Audience, text: str) -> None:
    assert audience_in_words(audience) == text
