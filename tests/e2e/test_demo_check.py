"""The demo's own check can fail: it finds every kind of wrong result."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from ringback.cli.demo_check import Round, invites_match, problems_of
from ringback.model.outcome import Outcome
from ringback.model.sandbox_numbers import Kind, behaviour
from ringback.model.states import CallState
from ringback.store.records import CallRecord

NUMBERS = ["9900000100", "9900000141", "9900000161", "9900000185"]


def _record(call_id: int, callee: str, earlier: int) -> CallRecord:
    wanted = behaviour(callee, earlier)
    return CallRecord(
        id=call_id,
        callee=callee,
        state=CallState.ENDED,
        outcome=wanted.outcome,
        sip_code=wanted.sip_code,
        q850_cause=None,
        ring_ms=None,
        talk_ms=None,
        hung_up_by=None,
        keys=wanted.key if wanted.kind is Kind.PRESSES_KEY else "",
        intent=None,
        trunk="t",
        started_at=1,
        ended_at=2,
        reason="",
        recording=None,
    )


def _rounds() -> list[Round]:
    first = [_record(index, callee, 0) for index, callee in enumerate(NUMBERS, start=1)]
    second = [_record(11, "9900000161", 1), _record(12, "9900000185", 1)]
    return [Round("first round", first), Round("recall 1", second)]


def test_right_results_pass() -> None:
    assert problems_of(NUMBERS, _rounds(), 2) == []
    assert invites_match(_rounds(), Counter({"1": 1, "2": 1, "3": 1, "4": 1, "11": 1, "12": 1})) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda rounds: rounds.pop(),
        lambda rounds: rounds[1].calls.pop(),
        lambda rounds: rounds[1].calls.append(_record(13, "9900000100", 1)),
        lambda rounds: rounds[0].calls.__setitem__(
            0, msgspec.structs.replace(rounds[0].calls[0], outcome=Outcome.BUSY)
        ),
        lambda rounds: rounds[0].calls.__setitem__(1, msgspec.structs.replace(rounds[0].calls[1], keys="9")),
    ],
)
def test_wrong_results_are_found(change) -> None:
    rounds = _rounds()
    change(rounds)
    assert problems_of(NUMBERS, rounds, 2) != []


@pytest.mark.parametrize(
    "invites",
    [
        {"1": 2, "2": 1, "3": 1, "4": 1, "11": 1, "12": 1},
        {"1": 1},
        {**dict.fromkeys("1234", 1), "11": 1, "12": 1, "99": 1},
    ],
)
def test_invites_that_do_not_match_are_found(invites: dict[str, int]) -> None:
    assert invites_match(_rounds(), Counter(invites)) != []
