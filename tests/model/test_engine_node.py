"""A node in one word, and why no node takes a call."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.engine_node import STALE_MS, NodeState, SeenNode, Standing, standing, why_no_line

NOW_MS = 1_767_600_000_000

states = st.builds(
    NodeState,
    name=st.sampled_from(["a:8088", "b:8088", "[::1]:8088"]),
    draining=st.booleans(),
    trouble=st.sampled_from(["", "connection refused"]),
    live_calls=st.integers(0, 400),
    lines=st.integers(1, 300),
    weight=st.integers(1, 10),
    placed=st.integers(0, 10**6),
)


def seen(state: NodeState, age_ms: int) -> SeenNode:
    return SeenNode(**msgspec.structs.asdict(state), seen_at=NOW_MS - age_ms)


def node(name: str = "a:8088", *, draining: bool = False, trouble: str = "", live_calls: int = 0) -> NodeState:
    return NodeState(name=name, draining=draining, trouble=trouble, live_calls=live_calls, lines=2, weight=1, placed=9)


@given(states, st.integers(-STALE_MS, 3 * STALE_MS))
def test_a_node_in_one_word(state: NodeState, age_ms: int) -> None:
    word = standing(seen(state, age_ms), NOW_MS)
    assert (word is Standing.UNKNOWN) == (age_ms > STALE_MS)
    if word is Standing.UNKNOWN:
        return
    assert (word in (Standing.DRAINING, Standing.DRAINED)) == state.draining
    if word is Standing.DRAINED:
        assert state.live_calls == 0, "people are still being talked to there"
    if word is Standing.WELL:
        assert state.free_lines == max(0, state.lines - state.live_calls)
    else:
        assert state.free_lines == 0


@given(st.lists(states, max_size=4))
def test_there_is_a_reason_exactly_when_nodes_take_no_call_for_more_than_busy_lines(nodes: list[NodeState]) -> None:
    idle = [msgspec.structs.replace(one, live_calls=0) for one in nodes]
    reason = why_no_line(nodes)
    assert bool(reason) == (bool(nodes) and not any(one.free_lines for one in idle))
    assert all(one.name in reason for one in nodes if reason)


def test_reasons_can_be_read() -> None:
    away = node("127.0.0.1:8088", trouble="connection refused")
    assert why_no_line([away]) == "no Asterisk is well: 127.0.0.1:8088: connection refused"
    assert why_no_line([away, node("b:1", draining=True, live_calls=1)]) == (
        "no Asterisk takes calls: 127.0.0.1:8088: connection refused; b:1: is being drained"
    )
    assert why_no_line([away, node(live_calls=2)]) == "", "its lines are merely busy"
