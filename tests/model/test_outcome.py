"""Outcomes: section 3 of the design, row by row, and what holds of every evidence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.outcome import Evidence, Outcome, Progress, classify

BEFORE_RINGING = [Progress.NONE, Progress.TRYING]
RINGING = [Progress.RINGING, Progress.EARLY_MEDIA]

evidences = st.builds(
    Evidence,
    answered=st.booleans(),
    machine=st.booleans(),
    progress=st.sampled_from(Progress),
    sip_code=st.none() | st.integers(100, 699),
    q850_cause=st.none() | st.integers(0, 127),
    gave_up=st.booleans(),
)


@pytest.mark.parametrize("progress", list(Progress))
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (486, Outcome.BUSY),
        (600, Outcome.BUSY),
        (603, Outcome.REJECTED),
        (607, Outcome.REJECTED),
        (404, Outcome.INVALID_NUMBER),
        (410, Outcome.INVALID_NUMBER),
        (484, Outcome.INVALID_NUMBER),
        (604, Outcome.INVALID_NUMBER),
        (503, Outcome.CONGESTION),
        *[
            (code, Outcome.FAILED)
            for code in (300, 301, 302, 305, 380, 401, 403, 407, 500, 501, 502, 504, 505, 513, 580)
        ],
        *[(code, Outcome.FAILED) for code in (400, 405, 415, 420, 481, 482, 483, 487, 488, 606)],
        *[(code, Outcome.ANSWERED) for code in (200, 202, 299)],
    ],
)
def test_a_final_code_decides(progress: Progress, code: int, outcome: Outcome) -> None:
    # Whatever Q.850 cause came with it: the code that came over the wire is believed first.
    for cause in (None, 1, 17, 18, 19, 21, 34):
        assert classify(Evidence(progress=progress, sip_code=code, q850_cause=cause)) is outcome


@pytest.mark.parametrize("code", [408, 480])
def test_not_available_depends_on_whether_it_rang(code: int) -> None:
    for progress in RINGING:
        assert classify(Evidence(progress=progress, sip_code=code)) is Outcome.NO_ANSWER
    for progress in BEFORE_RINGING:
        assert classify(Evidence(progress=progress, sip_code=code)) is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    ("progress", "outcome"),
    [
        (Progress.RINGING, Outcome.NO_ANSWER),
        (Progress.EARLY_MEDIA, Outcome.NO_ANSWER),
        (Progress.TRYING, Outcome.UNREACHABLE),
        (Progress.NONE, Outcome.FAILED),
    ],
)
def test_our_own_ring_timeout(progress: Progress, outcome: Outcome) -> None:
    # The 487 that follows our CANCEL changes nothing.
    for code in (None, 487):
        assert classify(Evidence(progress=progress, gave_up=True, sip_code=code)) is outcome


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [
        (1, Outcome.INVALID_NUMBER),
        (17, Outcome.BUSY),
        (20, Outcome.UNREACHABLE),
        (21, Outcome.REJECTED),
        (22, Outcome.INVALID_NUMBER),
        (28, Outcome.INVALID_NUMBER),
        (34, Outcome.CONGESTION),
        (42, Outcome.CONGESTION),
        (0, Outcome.FAILED),
        (38, Outcome.FAILED),
        (None, Outcome.FAILED),
    ],
)
def test_without_a_code_the_cause_decides(cause: int | None, outcome: Outcome) -> None:
    for progress in Progress:
        assert classify(Evidence(progress=progress, q850_cause=cause)) is outcome


@pytest.mark.parametrize("cause", [18, 19])
def test_no_answer_causes_need_a_living_trunk(cause: int) -> None:
    assert classify(Evidence(progress=Progress.RINGING, q850_cause=cause)) is Outcome.NO_ANSWER
    assert classify(Evidence(progress=Progress.TRYING, q850_cause=cause)) is Outcome.UNREACHABLE
    assert classify(Evidence(progress=Progress.NONE, q850_cause=cause)) is Outcome.FAILED


@settings(deadline=None)
@given(evidences)
def test_every_evidence_has_one_outcome(evidence: Evidence) -> None:
    outcome = classify(evidence)
    assert outcome is not Outcome.UNKNOWN
    reached = evidence.answered or (evidence.sip_code is not None and 200 <= evidence.sip_code < 300)
    assert (outcome in {Outcome.ANSWERED, Outcome.VOICEMAIL}) == reached
    assert (outcome is Outcome.VOICEMAIL) == (reached and evidence.machine)


@settings(deadline=None)
@given(evidences.filter(lambda evidence: evidence.progress is Progress.NONE))
def test_a_dead_trunk_is_never_the_callees_silence(evidence: Evidence) -> None:
    outcome = classify(evidence)
    assert outcome is not Outcome.NO_ANSWER
    if evidence.gave_up or evidence.sip_code is None:
        assert outcome is not Outcome.UNREACHABLE or evidence.q850_cause == 20 or evidence.answered


@settings(deadline=None)
@given(evidences)
def test_no_answer_means_that_it_rang(evidence: Evidence) -> None:
    if classify(evidence) is Outcome.NO_ANSWER:
        assert evidence.progress.rang
