"""When a report is tried again, and what answers mean."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.delivery import (
    FIRST_WAIT_SECONDS,
    GIVE_UP_AFTER_SECONDS,
    LEAST_TRIES,
    LONGEST_PROBE_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    Tried,
    Verdict,
    gives_up,
    parse_retry_after,
    probe_wait_seconds,
    wait_seconds,
)

NOW = 1_767_600_000_000
spreads = st.floats(0, 1)


@given(st.integers(1, 1000), spreads, st.one_of(st.none(), st.floats(0, 10**9)))
def test_a_wait_is_at_most_a_day_and_never_shorter_than_asked(
    attempts: int, spread: float, asked: float | None
) -> None:
    wait = wait_seconds(attempts, spread, asked)
    assert FIRST_WAIT_SECONDS / 2 <= wait <= LONGEST_WAIT_SECONDS
    assert wait >= min(asked or 0, LONGEST_WAIT_SECONDS)


@given(st.integers(1, 30), spreads)
def test_waits_grow(attempts: int, spread: float) -> None:
    assert wait_seconds(attempts, spread) <= wait_seconds(attempts + 1, spread)
    assert wait_seconds(attempts, 0) <= wait_seconds(attempts, spread) <= wait_seconds(attempts, 1)


def test_a_dead_receiver_gets_about_ten_tries_before_its_reports_are_given_up() -> None:
    for spread, tries in ((0.0, range(10, 16)), (1.0, range(9, 14))):
        passed, attempts = 0.0, 0
        while passed <= GIVE_UP_AFTER_SECONDS:
            attempts += 1
            passed += wait_seconds(attempts, spread)
        assert attempts in tries
    at_the_end = NOW + int(GIVE_UP_AFTER_SECONDS * 1000)
    assert not gives_up(NOW, at_the_end, 100)
    assert gives_up(NOW, at_the_end + 1, LEAST_TRIES)
    assert not gives_up(NOW, at_the_end + 1, LEAST_TRIES - 1), "it had hardly been tried"


@given(st.integers(1, 10_000), spreads)
def test_a_receiver_in_trouble_is_never_forgotten(failures: int, spread: float) -> None:
    assert FIRST_WAIT_SECONDS / 2 <= probe_wait_seconds(failures, spread) <= LONGEST_PROBE_WAIT_SECONDS


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (204, Verdict.DELIVERED),
        (299, Verdict.DELIVERED),
        (None, Verdict.AGAIN),
        (199, Verdict.AGAIN),
        (301, Verdict.AGAIN),
        (302, Verdict.AGAIN),
        (400, Verdict.REFUSED),
        (401, Verdict.AGAIN),
        (403, Verdict.AGAIN),
        (404, Verdict.AGAIN),
        (408, Verdict.AGAIN),
        (409, Verdict.REFUSED),
        (413, Verdict.REFUSED),
        (422, Verdict.REFUSED),
        (499, Verdict.REFUSED),
        (410, Verdict.GONE),
        (429, Verdict.AGAIN),
        (500, Verdict.AGAIN),
        (503, Verdict.AGAIN),
    ],
)
def test_what_answers_mean(status: int | None, verdict: Verdict) -> None:
    assert Tried(status).verdict is verdict


@given(st.integers(-100_000, 100_000))
def test_a_date_to_come_back_at_is_obeyed(seconds: int) -> None:
    moment = datetime.fromtimestamp(NOW / 1000 + seconds, UTC)
    assert parse_retry_after(format_datetime(moment, usegmt=True), NOW) == min(max(0, seconds), LONGEST_WAIT_SECONDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, LONGEST_WAIT_SECONDS),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_SECONDS),
    ],
)
def test_what_a_receiver_may_ask(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(st.text(max_size=60))
def test_nothing_that_is_sent_breaks_it(text: str) -> None:
    found = parse_retry_after(text, NOW)
    assert found is None or 0 <= found <= LONGEST_WAIT_SECONDS
