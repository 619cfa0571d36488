"""The circuit breaker: only the trunk's own failures open it, a probe finds out, and a living trunk is dialled."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.breaker import (
    FIRST_WAIT_MS,
    LONGEST_WAIT_MS,
    OPENS_AT_STRIKES,
    PROBE_PATIENCE_MS,
    Breaker,
    Verdict,
    after_call,
    closed,
    judge,
    probe_alive,
    probe_released,
    probing,
    without_strikes,
)
from ringback.model.outcome import Evidence, Outcome, Progress, classify

NOW_MS = 1_767_600_000_000

evidences = st.builds(
    Evidence,
    answered=st.booleans(),
    machine=st.booleans(),
    progress=st.sampled_from(Progress),
    sip_code=st.none() | st.integers(200, 699),
    q850_cause=st.none() | st.integers(0, 127),
    gave_up=st.booleans(),
)
FAILED = (Verdict.SILENT, Verdict.REFUSED, Verdict.ERROR)
CODES = {Verdict.SILENT: None, Verdict.REFUSED: 403, Verdict.ERROR: 503}


@given(evidences, st.booleans())
def test_only_the_trunks_own_failures_count_against_it(evidence: Evidence, engine_failed: bool) -> None:
    verdict = judge(evidence, engine_failed=engine_failed)
    code = evidence.sip_code
    if evidence.answered or evidence.progress.rang:
        assert verdict is Verdict.ALIVE
    elif code is not None:
        own = {401: Verdict.REFUSED, 403: Verdict.REFUSED, 407: Verdict.REFUSED}
        assert verdict is own.get(code, Verdict.ERROR if code // 100 == 5 else Verdict.ALIVE)
    elif evidence.progress is Progress.TRYING or (not evidence.gave_up and evidence.q850_cause in {1, 17, 21, 22, 28}):
        assert verdict is Verdict.ALIVE
    else:
        assert verdict is (Verdict.NEUTRAL if engine_failed else Verdict.SILENT)


@given(evidences)
def test_busy_and_no_answer_never_count(evidence: Evidence) -> None:
    of_the_callee = set(Outcome) - {Outcome.FAILED, Outcome.CONGESTION, Outcome.UNREACHABLE}
    if classify(evidence) in of_the_callee:
        assert judge(evidence) is Verdict.ALIVE


@pytest.mark.parametrize(
    ("verdict", "code", "calls", "reason"),
    [
        (Verdict.SILENT, None, 5, "no response to 5 calls in a row"),
        (Verdict.REFUSED, 403, 5, "403 to 5 calls in a row"),
        (Verdict.ERROR, 503, 10, "503 to 10 calls in a row"),
    ],
)
def test_it_opens_after_a_run(verdict: Verdict, code: int | None, calls: int, reason: str) -> None:
    breaker = Breaker()
    for call_id in range(calls):
        assert breaker.opened_at is None
        breaker = after_call(breaker, call_id, verdict, code, NOW_MS)
    assert (breaker.opened_at, breaker.retry_at, breaker.openings) == (NOW_MS, NOW_MS + FIRST_WAIT_MS, 1)
    assert breaker.reason == reason
    assert breaker.next_try(NOW_MS) == "next try at 08:00:10 UTC"


def test_the_reason_tells_what_the_failures_have_in_common() -> None:
    def run(*ends: tuple[Verdict, int | None]) -> str:
        breaker = Breaker()
        for verdict, code in ends:
            breaker = after_call(breaker, 1, verdict, code, NOW_MS)
        return breaker.reason

    assert run((Verdict.ERROR, 500), (Verdict.ERROR, 503), (Verdict.ERROR, 503)) == "5xx to 3 calls in a row"
    assert run((Verdict.ERROR, 500), (Verdict.SILENT, None)) == "no usable response to 2 calls in a row"
    assert run((Verdict.REFUSED, 403), (Verdict.ERROR, 503)) == "no usable response to 2 calls in a row"
    assert run((Verdict.SILENT, None), (Verdict.ERROR, 503), (Verdict.ERROR, 503)) == (
        "no usable response to 3 calls in a row"
    )


@given(st.lists(st.sampled_from(Verdict), max_size=60))
def test_it_opens_exactly_when_a_run_weighs_enough(verdicts: list[Verdict]) -> None:
    breaker = Breaker()
    weight = 0
    for verdict in verdicts:
        breaker = after_call(breaker, 1, verdict, CODES.get(verdict), NOW_MS)
        if verdict is Verdict.ALIVE:
            weight = 0
        weight += {Verdict.SILENT: 2, Verdict.REFUSED: 2, Verdict.ERROR: 1}.get(verdict, 0)
        assert (breaker.opened_at is not None) == (weight >= OPENS_AT_STRIKES)
        if breaker.opened_at is not None:
            return
        assert breaker.strikes == weight


def opened(tries: int = 1) -> Breaker:
    breaker = Breaker()
    for _ in range(5):
        breaker = after_call(breaker, 1, Verdict.SILENT, None, NOW_MS)
    return msgspec.structs.replace(breaker, tries=tries)


@given(st.sampled_from(Verdict), st.integers(1, 10))
def test_while_it_is_open_only_the_probe_counts(verdict: Verdict, tries: int) -> None:
    for breaker in (opened(tries), probing(opened(tries), 7, NOW_MS)):
        assert after_call(breaker, 3, verdict, CODES.get(verdict), NOW_MS + 5) == breaker
        assert probe_alive(breaker, 3, NOW_MS + 5) == breaker
        assert probe_released(breaker, 3) == breaker
        assert without_strikes(breaker) == breaker


@given(st.sampled_from(FAILED))
def test_a_probe_that_fails_waits_longer_each_time(verdict: Verdict) -> None:
    breaker = opened()
    waits = []
    for call_id in range(2, 12):
        breaker = probing(breaker, call_id, NOW_MS)
        assert breaker.retry_ms(NOW_MS) == NOW_MS + PROBE_PATIENCE_MS
        assert breaker.next_try(NOW_MS) == "one call is trying it now"
        breaker = after_call(breaker, call_id, verdict, CODES[verdict], NOW_MS)
        waits.append((breaker.retry_at or 0) - NOW_MS)
        assert breaker.opened_at == NOW_MS
        assert breaker.probe_id is None
    assert waits == [20_000, 40_000, 80_000, 160_000, *[LONGEST_WAIT_MS] * 6]
    assert breaker.openings == 1


@given(st.integers(1, 2000))
def test_the_wait_is_bounded_however_long_the_outage(tries: int) -> None:
    breaker = after_call(probing(opened(tries), 7, NOW_MS), 7, Verdict.SILENT, None, NOW_MS)
    assert FIRST_WAIT_MS <= (breaker.retry_at or 0) - NOW_MS <= LONGEST_WAIT_MS


def test_a_sign_of_life_of_the_probe_closes_it_with_nothing_held_against_the_trunk() -> None:
    breaker = probing(opened(5), 7, NOW_MS)
    for after in (
        probe_alive(breaker, 7, NOW_MS + 9),
        after_call(breaker, 7, Verdict.ALIVE, None, NOW_MS + 9),
        closed(breaker, NOW_MS + 9),
    ):
        assert after == Breaker(openings=1, closed_at=NOW_MS + 9)


def test_each_closing_can_be_told_from_the_last_even_when_the_clock_was_set_back() -> None:
    first = closed(opened(), NOW_MS)
    assert closed(first, NOW_MS - 3_600_000).closed_at > first.closed_at


def test_a_probe_that_tells_nothing_waits_as_long_as_before() -> None:
    breaker = after_call(probing(opened(3), 7, NOW_MS), 7, Verdict.NEUTRAL, None, NOW_MS)
    assert (breaker.tries, breaker.retry_at, breaker.probe_id) == (3, NOW_MS + 40_000, None)


def test_a_probe_that_was_not_placed_is_followed_at_once() -> None:
    breaker = probe_released(probing(opened(3), 7, NOW_MS), 7)
    assert breaker.probe_id is None
    assert breaker.retry_ms(NOW_MS) is not None
    assert (breaker.retry_ms(NOW_MS) or 0) <= NOW_MS
    assert breaker.next_try(NOW_MS) == "next try now"


def test_a_clock_set_back_does_not_keep_a_trunk_shut() -> None:
    breaker = opened()
    assert breaker.retry_ms(NOW_MS - 3_600_000) == NOW_MS - 3_600_000
