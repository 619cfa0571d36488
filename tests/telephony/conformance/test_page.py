"""The page about telephony says what the suite proves."""

from __future__ import annotations

import pytest

from tests.telephony.conformance import page


def test_the_page_has_the_tables_of_the_suite() -> None:
    text = page.PAGE.read_text()
    assert text == page.with_tables(text), "out of step: python -m tests.telephony.conformance.page"


def test_a_page_without_a_place_for_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for outcomes-by-code"):
        page.with_tables("nothing")


def test_the_outcome_of_a_response_depends_on_whether_it_rang() -> None:
    rows = page.by_code().splitlines()
    assert "| 480 | unreachable | no_answer |" in rows
    assert "| 486 | busy | busy |" in rows
