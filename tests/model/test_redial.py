"""Redial by number, and the result statuses it is asked for with."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.redial import Redial
from ringback.model.result_status import ResultStatus, outcomes_of, status_of

NEVER_GIVEN = {
    ResultStatus.POWER_OFF,
    ResultStatus.OUT_OF_SERVICE,
    ResultStatus.FROM_PHONE_ERROR,
    ResultStatus.TRANSFER_ARTIFICIAL,
}


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_status_that_leads_back_to_it(outcome: Outcome) -> None:
    assert outcome in outcomes_of([status_of(outcome)])


def test_the_statuses_part_the_outcomes() -> None:
    told = [outcome for status in ResultStatus for outcome in outcomes_of([status])]
    assert sorted(told) == sorted(Outcome)
    assert {status for status in ResultStatus if not outcomes_of([status])} == NEVER_GIVEN
    assert outcomes_of([ResultStatus.ANSWERED]) == ANSWERED_OUTCOMES


redials = st.builds(Redial, st.frozensets(st.sampled_from(ResultStatus)), st.integers(0, 10_000), st.integers(0, 5))


@given(
    redial=redials,
    outcome=st.sampled_from(Outcome),
    ended=st.integers(0, 2**42),
    made=st.integers(0, 6),
    minute=st.sampled_from([60.0, 1.0, 0.05, 0.0001]),
)
def test_only_what_was_asked_for_only_so_often_and_never_early(
    redial: Redial, outcome: Outcome, ended: int, made: int, minute: float
) -> None:
    due = redial.due_at(outcome, ended, redials_made=made, minute_seconds=minute)
    assert (due is not None) == (made < redial.times and status_of(outcome) in redial.conditions)
    if due is not None:
        wait = Fraction(str(minute)) * 1000 * redial.interval_minutes
        assert wait <= due - ended <= wait + 1


@pytest.mark.parametrize(("interval", "times", "field"), [(-1, 1, "redialInterval"), (1, -1, "redialTimes")])
def test_what_makes_no_sense_is_refused(interval: int, times: int, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Redial(frozenset(), interval, times)
