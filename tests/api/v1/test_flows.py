"""Flows through both doors: the same flow, seen and edited in full and in the narrow form."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringback.model.audience import Audience
from ringback.model.outcome import Outcome
from ringback.model.round_rule import RoundRule, narrow
from tests.api.v1.own_world import Own

FAILED = sorted(["busy", "no_answer", "rejected", "unreachable", "invalid_number", "congestion", "failed", "unknown"])
TWO = {
    "nodes": [
        {"interval_minutes": 5},
        {
            "interval_minutes": 2_880,
            "audience": {"outcomes": ["answered"], "intents": ["101"], "talk_under_seconds": 3},
            "windows": [{"start": "09:00", "end": "18:00"}],
            "caller_id": "4930777",
        },
    ]
}


def vendor(own: Own, path: str, body: dict[str, Any]) -> Any:
    """The answer of the vendor's door."""
    return own.world.run(own.world.post(f"/voice/recallFlow/{path}", body))


def test_a_flow_in_full(own: Own) -> None:
    flow_id = own.task(flow=TWO)["flow_id"]
    first, second = own.good("GET", f"/flows/{flow_id}")["nodes"]
    assert (first["interval_minutes"], first["audience"]["outcomes"], first["windows"]) == (5, FAILED, None)
    assert (second["interval_minutes"], second["windows"]) == (2_880, TWO["nodes"][1]["windows"])
    assert second["audience"] == {
        "outcomes": ["answered"],
        "intents": ["101"],
        "talk_at_least_seconds": None,
        "talk_under_seconds": 3.0,
    }
    assert second["caller_id"] == "4930777"
    (listed,) = own.good("GET", "/flows")["items"]
    assert (listed["id"], listed["nodes"], listed["state"]) == (flow_id, 2, "pending")
    detail = vendor(own, "queryDetail", {"keyId": flow_id})["data"]
    assert (detail["recallType"], detail["recallInterval"], detail["recallNum"]) == (1, 5, 2)
    assert [node["keyId"] for node in detail["nodeList"]] == [first["id"], second["id"]]


def test_an_edit_needs_to_know_what_is_there(own: Own) -> None:
    flow_id = own.task(flow=TWO)["flow_id"]
    read = own.ask("GET", f"/flows/{flow_id}")
    tag = {"If-Match": read.headers["etag"]}
    edited = own.ask("PUT", f"/flows/{flow_id}", json={"nodes": [{"interval_minutes": 7}]}, headers=tag)
    assert edited.status_code == 200
    assert edited.json()["nodes"][0]["id"] == read.json()["nodes"][0]["id"], "a position that stays keeps its id"
    own.bad(412, "PUT", f"/flows/{flow_id}", json=TWO, headers=tag)
    own.good("PUT", f"/flows/{flow_id}", json=TWO, headers={"If-Match": f'"x", {edited.headers["etag"]}'})
    node = own.good("GET", f"/flows/{flow_id}")["nodes"][1]
    own.good("PUT", f"/nodes/{node['id']}", json={"interval_minutes": 9}, headers={"If-Match": "*"})
    assert [one["interval_minutes"] for one in own.good("GET", f"/flows/{flow_id}")["nodes"]] == [5, 9]
    (entry, *_) = own.good("GET", "/audit")["items"]
    assert (entry["action"], entry["subject"]) == ("node.edited", f"node:{node['id']}")
    assert entry["before"]["nodes"][1]["interval_minutes"] == 2_880
    problem = own.bad(
        400, "PUT", f"/nodes/{node['id']}", json={"interval_minutes": 9, "template_id": own.world.greeting}
    )
    assert problem["errors"][0]["field"] == "template_id"


def test_cancelled_from_a_node_on(own: Own) -> None:
    flow_id = own.task(flow=TWO)["flow_id"]
    second = own.good("GET", f"/flows/{flow_id}")["nodes"][1]["id"]
    states = [node["state"] for node in own.good("POST", f"/nodes/{second}/cancel")["nodes"]]
    assert states == ["pending", "cancelled"]
    own.bad(409, "POST", f"/nodes/{second}/cancel")
    own.bad(409, "PUT", f"/nodes/{second}", json={"interval_minutes": 9})
    assert own.good("POST", f"/flows/{flow_id}/cancel")["state"] == "cancelled"
    own.bad(409, "POST", f"/flows/{flow_id}/cancel")
    own.bad(409, "PUT", f"/flows/{flow_id}", json=TWO)


outcomes = st.lists(st.sampled_from([str(one) for one in Outcome]), min_size=1, max_size=4, unique=True)
intents = st.lists(st.sampled_from(["101", "102"]), max_size=2, unique=True)
nodes = st.fixed_dictionaries(
    {"interval_minutes": st.integers(1, 43_200)},
    optional={
        "audience": st.fixed_dictionaries(
            {"outcomes": outcomes, "intents": intents},
            optional={"talk_under_seconds": st.sampled_from([3.0, 10.0]), "talk_at_least_seconds": st.just(1.5)},
        ),
        "windows": st.just([{"start": "09:00", "end": "18:00"}]),
        "caller_id": st.sampled_from(["", "4930777"]),
    },
)
in_full = st.builds(lambda listed: ("full", {"nodes": listed}), st.lists(nodes, min_size=1, max_size=4))
one_node = st.builds(lambda at, node: ("node", {"at": at, "node": node}), st.integers(0, 3), nodes)
in_narrow = st.builds(
    lambda kind, minutes, count, wanted: (
        "narrow",
        {"recallType": kind, "recallInterval": minutes, "recallNum": count, "recallIntent": wanted},
    ),
    st.integers(0, 1),
    st.integers(1, 1_440),
    st.integers(1, 4),
    intents,
)


def rule(node: dict[str, Any]) -> RoundRule:
    audience = node["audience"]
    return RoundRule(
        interval_minutes=node["interval_minutes"],
        audience=Audience(
            outcomes=frozenset(map(Outcome, audience["outcomes"])),
            intents=frozenset(audience["intents"]),
            talk_at_least_seconds=audience["talk_at_least_seconds"],
            talk_under_seconds=audience["talk_under_seconds"],
        ),
        template_id=node["template_id"],
    )


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(edits=st.lists(in_full | one_node | in_narrow, min_size=1, max_size=6))
def test_any_edits_through_either_door_leave_one_flow(own: Own, edits: list[tuple[str, dict[str, Any]]]) -> None:
    name = f"task {len(own.good('GET', '/tasks?limit=1000')['items'])}"
    flow_id = own.task(name=name, count=1, flow=TWO)["flow_id"]
    for kind, edit in edits:
        before = own.good("GET", f"/flows/{flow_id}")["nodes"]
        if kind == "full":
            own.good("PUT", f"/flows/{flow_id}", json=edit)
        elif kind == "node":
            own.good("PUT", f"/nodes/{before[edit['at'] % len(before)]['id']}", json=edit["node"])
        else:
            wanted = {"keyId": flow_id, **edit, "nodeList": [{"scriptId": own.world.plain}]}
            assert vendor(own, "update", wanted)["code"] == 0
        after = own.good("GET", f"/flows/{flow_id}")["nodes"]
        # The narrow view that is stored is the one that the rules have of the flow in full.
        detail = vendor(own, "queryDetail", {"keyId": flow_id})["data"]
        spec = narrow([rule(node) for node in after])
        seen = (detail["recallType"], detail["recallInterval"], detail["recallNum"])
        assert seen == (int(spec.recall_type), spec.interval_minutes, spec.rounds)
        assert [node["keyId"] for node in detail["nodeList"]] == [node["id"] for node in after]
        assert [node["scriptId"] for node in detail["nodeList"]] == [node["template_id"] for node in after]
        for old, new in zip(before, after, strict=False):
            assert old["id"] == new["id"], "positions that stay keep their nodes"
            if kind == "narrow":
                hidden = ("windows", "caller_id")
                assert [old[one] for one in hidden] == [new[one] for one in hidden], "what it cannot see stays"
        if kind == "narrow":
            assert {node["interval_minutes"] for node in after} == {edit["recallInterval"]}
        if kind == "full":
            asked = [node["interval_minutes"] for node in edit["nodes"]]
            assert [node["interval_minutes"] for node in after] == asked
