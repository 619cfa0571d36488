"""Rates and lines from the times at the carrier: what counts, from when and until when."""

from __future__ import annotations

import pytest

from chaos.evidence import MS, Evidence, Limits, Seen
from chaos.limits import JITTER_MS, every_limit, line_free_at, most_at_once
from tests.chaos.stories import T0, kept


def call(at_ms: float, end_ms: float | None, **more: object) -> Seen:
    return Seen(
        trunk="a",
        sip=str(at_ms),
        callee="49",
        caller="",
        at_ns=round(at_ms * MS),
        ended_ns=None if end_ms is None else round(end_ms * MS),
        **more,
    )


def judged(seen: list[Seen], limits: Limits) -> list[str]:
    story = kept()
    evidence = Evidence(
        seen=seen, calls=[], tasks=story.tasks, workers=[], nodes=[], limits=limits, takeover_seconds=1,
        interval_seconds=1, asterisk_deaths_ns=[],
    )  # fmt: skip
    return [line for check in every_limit(evidence) for line in check.broken]


@pytest.mark.parametrize(("within_ms", "found"), [(1000, 0), (1000 - JITTER_MS, 0), (1000 - JITTER_MS - 1, 1)])
def test_one_more_than_the_rate_and_one_is_found_unless_it_is_jitter(within_ms: int, found: int) -> None:
    arrivals = [T0, T0 + 1, T0 + 2, T0 + within_ms]
    calls = [call(at, at) for at in arrivals]
    assert len(judged(calls, Limits(rate={"a": 2.0}, channels={}))) == found
    assert judged(calls, Limits(rate={"a": 3.0}, channels={})) == []


def test_a_line_is_taken_from_the_invite_to_the_end() -> None:
    assert most_at_once([(0, 10), (10, 20), (5, 15)], allowed=2) == (2, [])
    assert most_at_once([(0, 10), (9, 20), (5, 15)], allowed=2) == (3, [3])


def test_a_line_ends_with_the_asterisk_that_had_it() -> None:
    assert line_free_at(call(100, 300), []) == 300 * MS
    assert line_free_at(call(100, 300), [200 * MS]) == 200 * MS
    assert line_free_at(call(100, 300), [50 * MS, 400 * MS]) == 300 * MS
    assert line_free_at(call(100, None, answered_ns=150 * MS), [200 * MS]) == 200 * MS


def test_a_number_that_never_says_a_word_takes_no_line() -> None:
    assert line_free_at(call(100, None), [200 * MS]) is None
    limits = Limits(rate={}, channels={"a": 1})
    assert judged([call(100, None), call(100, 900)], limits) == []
    assert judged([call(100, 800), call(100, 900)], limits) == ["2 at once"]
