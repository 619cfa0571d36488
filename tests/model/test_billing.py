"""What a call costs."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.billing import MAX_RATE_MICROS, Tariff, money_text, parse_money, parse_period

tariffs = st.builds(Tariff, st.integers(0, MAX_RATE_MICROS), st.integers(1, 3600), st.integers(1, 3600))
talk = st.integers(1, 86_400_000)


@pytest.mark.parametrize(
    ("talk_ms", "period", "charged"),
    [
        (None, "60+60", 0),
        (0, "60+60", 0),
        (1, "60+60", 60),
        (60_000, "60+60", 60),
        (60_001, "60+60", 120),
        (13_000, "20+20", 20),
        (20_001, "20+20", 40),
        (30_001, "30+6", 36),
        (36_001, "30+6", 42),
        (1_001, "1+1", 2),
    ],
)
def test_steps_that_have_begun_are_charged_whole(talk_ms: int | None, period: str, charged: int) -> None:
    assert Tariff(1, *parse_period(period)).charged_seconds(talk_ms) == charged


def test_the_published_push_holds() -> None:
    """20 seconds charged at 0.023625: its rate and its period come back as they were published."""
    tariff = Tariff(parse_money("0.023625"), *parse_period("20+20"))
    assert (tariff.charged_seconds(13_000), tariff.period, money_text(tariff.rate_micros)) == (20, "20+20", "0.023625")
    assert money_text(tariff.cost_micros(13_000)) == "0.007875"


@given(tariffs, talk)
def test_no_second_is_free_and_no_step_is_too_many(tariff: Tariff, talk_ms: int) -> None:
    charged = tariff.charged_seconds(talk_ms)
    assert charged * 1000 >= talk_ms
    assert charged >= tariff.first_seconds
    if charged > tariff.first_seconds:
        assert (charged - tariff.next_seconds) * 1000 < talk_ms
        assert (charged - tariff.first_seconds) % tariff.next_seconds == 0


@given(tariffs, talk, talk)
def test_a_longer_call_never_costs_less(tariff: Tariff, one: int, other: int) -> None:
    short, long = sorted((one, other))
    assert tariff.cost_micros(short) <= tariff.cost_micros(long)


@given(tariffs, talk)
def test_the_cost_is_the_price_of_the_charged_minutes(tariff: Tariff, talk_ms: int) -> None:
    exact = Decimal(tariff.charged_seconds(talk_ms)) * tariff.rate_micros / 60
    assert tariff.cost_micros(talk_ms) == int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))


@given(st.integers(-(10**15) + 1, 10**15 - 1))
def test_money_is_read_as_it_is_written(micros: int) -> None:
    text = money_text(micros)
    assert parse_money(text) == micros
    assert "e" not in text.lower()


@pytest.mark.parametrize("text", ["", "1,5", "1e3", ".5", "1.", "0.1234567", "+1", "1 000", "١", "NaN", "9" * 10])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="must be an amount"):
        parse_money(text)


@pytest.mark.parametrize("text", ["", "60", "60+", "+60", "a+b", "60-60", "60+60+60", "99999+1"])
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(ValueError, match="must be two numbers"):
        parse_period(text)


@pytest.mark.parametrize(
    ("rate", "first", "further"), [(-1, 60, 60), (MAX_RATE_MICROS + 1, 1, 1), (1, 0, 60), (1, 60, 0), (1, 3601, 1)]
)
def test_what_is_no_tariff(rate: int, first: int, further: int) -> None:
    with pytest.raises(ValueError, match=r"a rate is|each step"):
        Tariff(rate, first, further)
