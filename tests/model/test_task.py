"""A task as it is asked for, and its list of numbers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.numbers import zone_key
from ringback.model.task import (
    MAX_NAMED_PROBLEMS,
    TEXT_NAMES,
    InvalidTask,
    Limits,
    TaskSpec,
    build_numbers,
)
from ringback.model.text_variables import MAX_INFO_LENGTH, MAX_TEXT_LENGTH
from ringback.model.windows import Window

NOTHING: frozenset[str] = frozenset()


def spec(**changes: object) -> TaskSpec:
    parts: dict[str, object] = {"name": "spring", "template_id": 1, "application_id": 1, **changes}
    return TaskSpec(**parts)  # type: ignore[arg-type]  # test data


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "x"}, "taskName"),
        ({"name": ""}, "taskName"),
        ({"name": "x" * 65}, "taskName"),
        ({"name": "two\nlines"}, "taskName"),
        ({"name": "nul\x00"}, "taskName"),
        ({"name": "half \ud800"}, "taskName"),
        ({"caller_id": "+4912345"}, "displayNum"),
        ({"caller_id": "1" * 21}, "displayNum"),
        ({"caller_id": "١٢٣"}, "displayNum"),
        ({"limits": Limits(windows=(Window(0, 60),) * 4)}, "allowSendTime"),
    ],
)
def test_out_of_range_is_refused_and_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        spec(**changes).checked()
    assert refused.value.field == field


@pytest.mark.parametrize("changes", [{"name": "ab"}, {"name": "ü" * 64}, {"caller_id": "1" * 20}, {"caller_id": ""}])
def test_the_edges_of_the_range_are_allowed(changes: dict[str, object]) -> None:
    wanted = spec(**changes)
    assert wanted.checked() is wanted


callees = st.text("0123456789", min_size=6, max_size=7)
texts = st.dictionaries(st.sampled_from(TEXT_NAMES), st.text(st.characters(exclude_categories=["Cs"]), max_size=50))


@settings(deadline=None)
@given(st.lists(st.tuples(callees, texts), min_size=1, max_size=30), st.data())
def test_each_number_once_in_the_order_given(entries: list[tuple[str, dict[str, str]]], data: st.DataObject) -> None:
    # The same number in other clothes is the same number.
    entries += [(f"+{callee} ", texts) for callee, texts in data.draw(st.lists(st.sampled_from(entries), max_size=5))]
    made = build_numbers(entries, field="list", needed_texts=NOTHING)
    written = [callee.strip().removeprefix("+") for callee, _ in entries]
    assert [one.callee for one in made.calls] == list(dict.fromkeys(written))
    assert sorted(made.duplicates + [one.callee for one in made.calls]) == sorted(written)
    first = {callee: texts for callee, (_, texts) in reversed(list(zip(written, entries, strict=True)))}
    for one in made.calls:
        assert one.zone == zone_key(one.callee)
        cut = {name: value[:MAX_TEXT_LENGTH] for name, value in first[one.callee].items()}
        assert (msgspec.json.decode(one.texts) if one.texts is not None else {}) == cut


def test_texts_are_cut_at_thirty_characters() -> None:
    made = build_numbers([("4912345678", {"text1": "é" * 31, "text2": "y" * 30})], field="list", needed_texts=NOTHING)
    assert made.calls[0].texts is not None
    assert msgspec.json.decode(made.calls[0].texts) == {"text1": "é" * 30, "text2": "y" * 30}


def test_a_number_without_texts_stores_none() -> None:
    assert build_numbers([("4912345678", {})], field="list", needed_texts=NOTHING).calls[0].texts is None


def test_bad_numbers_are_named_by_their_index_and_nothing_is_taken() -> None:
    entries: list[tuple[str, dict[str, str]]] = [("4912345678", {}), ("12", {}), ("abc", {}), ("4912345678", {})]
    with pytest.raises(InvalidTask) as refused:
        build_numbers(entries, field="numberInfoList", needed_texts=NOTHING)
    assert refused.value.field == "numberInfoList"
    text = str(refused.value)
    assert "2 of the numbers" in text
    assert "numberInfoList[1].calleeNumber must have 6 to 18 digits, has 2" in text
    assert "numberInfoList[2].calleeNumber may hold digits only" in text
    assert "4912345678" not in text


def test_a_text_that_the_template_uses_must_be_there() -> None:
    entries = [("4912345678", {"text1": "a", "text2": ""}), ("4912345679", {"text1": "b"})]
    with pytest.raises(InvalidTask, match=r"1 of the numbers .* list\[1\]\.text2 is missing"):
        build_numbers(entries, field="list", needed_texts=frozenset({"text1", "text2"}))
    assert build_numbers(entries[:1], field="list", needed_texts=frozenset({"text1", "text2"})).calls


def test_many_problems_are_counted_and_a_few_named() -> None:
    entries: list[tuple[str, dict[str, str]]] = [("x", {})] * (MAX_NAMED_PROBLEMS + 5)
    with pytest.raises(InvalidTask) as refused:
        build_numbers(entries, field="list", needed_texts=NOTHING)
    text = str(refused.value)
    assert f"{MAX_NAMED_PROBLEMS + 5} of the numbers" in text
    assert f"list[{MAX_NAMED_PROBLEMS - 1}]" in text
    assert f"list[{MAX_NAMED_PROBLEMS}]" not in text
    assert text.endswith("; and 5 more")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InvalidTask, match="at least one number"):
        build_numbers([], field="list", needed_texts=NOTHING)


def test_a_text_that_is_no_unicode_is_a_problem_of_its_number() -> None:
    with pytest.raises(InvalidTask, match=r"list\[0\]\.text1"):
        build_numbers([("4912345678", {"text1": "half \ud800"})], field="list", needed_texts=NOTHING)


def test_a_callers_own_values_have_a_limit_of_their_own_and_may_not_be_missing() -> None:
    needed = frozenset({"info.name"})
    built = build_numbers(
        [("4930123456", {"info.name": "x" * 1_200, "text1": "y" * 40})], field="n", needed_texts=needed
    )
    assert msgspec.json.decode(built.calls[0].texts or "") == {"info.name": "x" * MAX_INFO_LENGTH, "text1": "y" * 30}
    with pytest.raises(InvalidTask, match=r"n\[0\].info.name is missing, and the template uses it"):
        build_numbers([("4930123456", {"text1": "y"})], field="n", needed_texts=needed)
