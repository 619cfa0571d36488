"""The recall flow's rules: ranges, nodes, due times, names."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.audience import RecallType, audience_of
from ringback.model.flow import MAX_TASK_NAME, FlowSpec, InvalidFlow, due_at, recall_task_name


def spec(**changes: object) -> FlowSpec:
    parts: dict[str, object] = {"recall_type": RecallType.FAILED, "interval_minutes": 5, "rounds": 3, **changes}
    return FlowSpec(**parts)  # type: ignore[arg-type]  # test data


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"interval_minutes": 0}, "recallInterval"),
        ({"interval_minutes": -1}, "recallInterval"),
        ({"interval_minutes": 1441}, "recallInterval"),
        ({"rounds": 0}, "recallNum"),
        ({"rounds": 11}, "recallNum"),
        ({"template_ids": (1, 2, 3, 4)}, "nodeList"),
        ({"intents": ("101", "")}, "recallIntent"),
        ({"intents": ("1" * 33,)}, "recallIntent"),
    ],
)
def test_out_of_range_is_refused_and_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidFlow) as refused:
        spec(**changes).checked()
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"interval_minutes": 1, "rounds": 1},
        {"interval_minutes": 1440, "rounds": 10},
        {"template_ids": (1, 2, 3), "intents": ("1" * 32, "a")},
    ],
)
def test_the_edges_of_the_range_are_allowed(changes: dict[str, object]) -> None:
    wanted = spec(**changes)
    assert wanted.checked() is wanted


@settings(deadline=None)
@given(rounds=st.integers(1, 10), templates=st.lists(st.integers(1, 99), max_size=10), parent=st.integers(100, 200))
def test_there_is_one_template_a_round_and_the_last_repeats(rounds: int, templates: list[int], parent: int) -> None:
    asked = tuple(templates[:rounds])
    made = spec(rounds=rounds, template_ids=asked).checked().node_templates(parent)
    assert len(made) == rounds
    assert made[: len(asked)] == asked
    assert set(made[len(asked) :]) <= {asked[-1] if asked else parent}


def test_the_audience_is_that_of_the_type_and_intents() -> None:
    assert spec(intents=("101",)).audience == audience_of(RecallType.FAILED, ["101"])
    assert spec(recall_type=RecallType.ALL).audience == audience_of(RecallType.ALL)


@settings(deadline=None)
@given(
    finished=st.integers(0, 4_000_000_000_000),
    interval=st.integers(1, 1440),
    minute=st.one_of(st.just(60.0), st.just(60), st.floats(0.001, 60.0)),
)
def test_a_node_is_never_due_early(finished: int, interval: int, minute: float) -> None:
    due = due_at(finished, interval, minute)
    # Exact arithmetic: the whole interval has passed, and less than two milliseconds are lost by rounding.
    exact = finished + interval * Fraction(minute) * 1000
    if minute == 60:
        assert due == finished + interval * 60_000
    assert exact - Fraction(1, 1000) <= due < exact + 2


def test_a_fraction_of_a_millisecond_makes_it_late() -> None:
    assert due_at(1000, 1, 0.0101) == 1011


names = st.text(st.characters(exclude_categories=["C"]), min_size=2, max_size=MAX_TASK_NAME)


@settings(deadline=None)
@given(parent=names, position=st.integers(1, 10), clashes=st.integers(0, 120))
def test_a_recall_task_has_a_free_name_of_its_parent(parent: str, position: int, clashes: int) -> None:
    taken: set[str] = set()
    for _ in range(clashes):
        taken.add(recall_task_name(parent, position, taken.__contains__))
    name = recall_task_name(parent, position, taken.__contains__)
    assert len(taken) == clashes
    assert name not in taken
    assert len(name) <= MAX_TASK_NAME
    kept, _, rest = name.rpartition(f"-recall-{position}")
    assert parent.startswith(kept)
    assert rest == ("" if clashes == 0 else f"-{clashes + 1}")
    if len(parent) + len(f"-recall-{position}{rest}") <= MAX_TASK_NAME:
        assert kept == parent
    else:
        assert len(name) == MAX_TASK_NAME
