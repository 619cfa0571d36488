"""Tasks through our own door: made once, listed by page, stopped, added to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.v1.own_world import Own
from tests.api.vendor_world import ANSWERED, BUSY

NUMBERS = [{"number": "493012345600"}, {"number": "493012345601"}]


def test_a_task_from_its_making_to_its_calls(own: Own) -> None:
    made = own.task(count=2, caller_id="4930555", limits={"ring_seconds": 30, "lines": 2})
    assert made == {"id": made["id"], "flow_id": None, "numbers": 2, "repeated": []}
    shown = own.good("GET", f"/tasks/{made['id']}")
    assert (shown["state"], shown["caller_id"], shown["limits"]["ring_seconds"]) == ("waiting", "4930555", 30)
    assert shown["counts"]["queued"] == 2
    own.world.run(own.world.submit())
    own.world.run(own.world.dial(ANSWERED, BUSY))
    shown = own.good("GET", f"/tasks/{made['id']}")
    assert (shown["state"], shown["counts"]["answered"], shown["counts"]["failed"]) == ("finished", 1, 1)
    assert shown["waiting"] is None
    calls = own.good("GET", f"/tasks/{made['id']}/calls")["items"]
    assert [one["outcome"] for one in calls] == ["answered", "busy"]
    assert own.good("GET", f"/tasks/{made['id']}/calls?outcome=busy")["items"] == calls[1:]
    assert own.good("GET", f"/tasks/{made['id']}/calls?number=493012345600")["items"] == calls[:1]
    assert own.good("GET", f"/calls/{calls[0]['id']}") == {**calls[0], "task_id": made["id"]}
    own.bad(404, "GET", f"/calls/{calls[0]['id']}/recording")
    explained = own.good("GET", f"/tasks/{made['id']}/explain/493012345601")
    (only,) = explained["rounds"]
    assert (only["qualified"], only["call"]["outcome"], only["call"]["id"]) == (True, "busy", calls[1]["id"])
    own.bad(404, "GET", f"/tasks/{made['id']}/explain/493012345699")


def test_a_list_comes_page_by_page_and_each_once(own: Own) -> None:
    ids = [own.task(name=f"task {number}")["id"] for number in range(7)]
    seen: list[int] = []
    cursor = ""
    while True:
        page = own.good("GET", f"/tasks?limit=3{cursor}")
        seen += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
        own.task(name=f"in between {len(seen)}")
    assert seen == ids[::-1], "what is made meanwhile is not among them, and nothing is missing or twice"
    assert [one["name"] for one in own.good("GET", "/tasks?name=SK%203")["items"]] == ["task 3"]
    assert own.good("GET", "/tasks?state=calling")["items"] == []
    assert own.good("GET", "/tasks?application=nope")["items"] == []
    for wrong in ("x", "MTo", "MTotMQ", "MjoxMDA", "MTowMQ"):
        problem = own.bad(400, "GET", f"/tasks?cursor={wrong}")
        assert problem["errors"][0]["field"] == "cursor"


def test_the_same_request_under_one_key_is_carried_out_once(own: Own) -> None:
    body = {"name": "once", "template_id": own.world.plain, "numbers": NUMBERS}
    first = own.ask("POST", "/tasks", json=body, headers={"Idempotency-Key": "abc"})
    again = own.ask("POST", "/tasks", json=body, headers={"Idempotency-Key": "abc"})
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    problem = own.bad(422, "POST", "/tasks", json={**body, "name": "twice"}, headers={"Idempotency-Key": "abc"})
    assert problem["type"].endswith("key-reused")
    assert len(own.good("GET", "/tasks")["items"]) == 1
    # Keys are the account's own.
    other = {**body, "template_id": own.world.foreign}
    assert own.ask("POST", "/tasks", key=own.foreign, json=other, headers={"Idempotency-Key": "abc"}).status_code == 201
    # A refused request keeps nothing, so it may be sent again when it is mended.
    refused = {**body, "name": "once"}
    own.bad(409, "POST", "/tasks", json=refused, headers={"Idempotency-Key": "def"})
    own.good("POST", "/tasks", json={**body, "name": "mended"}, headers={"Idempotency-Key": "def"})
    for wrong in ("", "x" * 129):
        own.bad(400, "POST", "/tasks", json=body, headers={"Idempotency-Key": wrong})
    own.world.clock.set(own.world.clock.now_ms() / 1000 + 24 * 3_600 + 1)
    own.bad(409, "POST", "/tasks", json=body, headers={"Idempotency-Key": "abc"})


def test_stop_and_go(own: Own) -> None:
    task = own.task()["id"]
    own.bad(409, "POST", f"/tasks/{task}/pause")
    own.world.run(own.world.submit())
    assert own.good("POST", f"/tasks/{task}/pause")["state"] == "suspended"
    assert own.good("GET", f"/tasks/{task}")["waiting"] == "it is paused"
    assert own.good("POST", f"/tasks/{task}/resume")["state"] == "calling"
    assert own.good("POST", f"/tasks/{task}/cancel")["state"] == "cancelled"
    problem = own.bad(409, "POST", f"/tasks/{task}/cancel")
    assert "cancelled" in problem["detail"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "x"}, "name"),
    ({"name": None}, "name"),
    ({"template_id": 4711}, "template_id"),
    ({"template_id": "1"}, "template_id"),
    ({"template_id": 0}, "template_id"),
    ({"numbers": []}, "numbers"),
    ({"numbers": [{"number": "12"}]}, "numbers"),
    ({"numbers": [{"nmber": "493012345600"}]}, "numbers[0]"),
    ({"numbers": [{"number": "493012345600", "variables": {"text11": "x"}}]}, "numbers[0].variables"),
    ({"application": "nope"}, "application"),
    ({"caller_id": "+49"}, "caller_id"),
    ({"start_at": "2026-01-01 00:00:00"}, "start_at"),
    ({"start_at": "2026-01-01T00:00:00"}, "start_at"),
    ({"limits": {"ring_seconds": 4}}, "limits.ring_seconds"),
    ({"limits": {"lines": 0}}, "limits.lines"),
    ({"limits": {"windows": [{"start": "9:00", "end": "18:00"}]}}, "limits.windows[0].start"),
    ({"limits": {"windows": [{"start": "09:00", "end": "09:00"}]}}, "limits.windows[0]"),
    ({"limits": {"windows": [{"start": "09:00", "end": "10:00"}] * 4}}, "limits.windows"),
    ({"limits": {"colour": 1}}, "limits"),
    ({"colour": 1}, "body"),
    ({"flow": {"nodes": []}}, "flow.nodes"),
    ({"flow": {"nodes": [{}]}}, "flow.nodes[0]"),
    ({"flow": {"nodes": [{"interval_minutes": 0}]}}, "flow.nodes[0].interval_minutes"),
    ({"flow": {"nodes": [{"interval_minutes": 43_201}]}}, "flow.nodes[0].interval_minutes"),
    ({"flow": {"nodes": [{"interval_minutes": 1}] * 11}}, "flow.nodes"),
    ({"flow": {"nodes": [{"interval_minutes": 1, "audience": {}}]}}, "flow.nodes[0].audience"),
    ({"flow": {"nodes": [{"interval_minutes": 1, "audience": {"outcomes": ["lost"]}}]}}, "flow.nodes[0].audience"),
    (
        {
            "flow": {
                "nodes": [
                    {
                        "interval_minutes": 1,
                        "audience": {"intents": ["1"], "talk_at_least_seconds": 5, "talk_under_seconds": 5},
                    }
                ]
            }
        },
        "flow.nodes[0].audience.talk_under_seconds",
    ),
    ({"flow": {"nodes": [{"interval_minutes": 1, "template_id": 4711}]}}, "flow.nodes[0].template_id"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED, ids=[json.dumps(change)[:60] for change, _ in REFUSED])
def test_what_is_refused_names_the_field_and_stores_nothing(own: Own, change: dict[str, Any], field: str) -> None:
    body = {"name": "a task", "template_id": own.world.plain, "numbers": NUMBERS}
    before = own.world.run(own.world.contents())
    problem = own.bad(400, "POST", "/tasks", json={**body, **change})
    assert problem["errors"][0]["field"].startswith(field)
    assert own.world.run(own.world.contents()) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"name":' + b"[" * 10_000])
def test_what_is_no_body(own: Own, content: bytes) -> None:
    own.bad(400, "POST", "/tasks", content=content, headers={"Content-Type": "application/json"})


def test_variables_that_a_round_uses_are_asked_for(own: Own) -> None:
    flow = {"nodes": [{"interval_minutes": 1, "template_id": own.world.greeting}]}
    body = {"name": "a task", "template_id": own.world.plain, "numbers": NUMBERS, "flow": flow}
    problem = own.bad(400, "POST", "/tasks", json=body)
    assert "text1: is missing" in problem["detail"].replace("text1 is", "text1: is")
    own.good("POST", "/tasks", json={**body, "numbers": [{**NUMBERS[0], "variables": {"text1": "Ann"}}]})


def test_numbers_join_and_leave(own: Own) -> None:
    task = own.task(count=1, takes_more=True)["id"]
    more = {"numbers": [{"number": "493012345699"}, {"number": "493012345600"}, {"number": "493012345699"}]}
    joined = own.good("POST", f"/tasks/{task}/numbers", json=more)
    assert joined == {"added": 1, "repeated": ["493012345699", "493012345600"]}
    assert own.good("POST", f"/tasks/{task}/numbers/withdraw", json={"numbers": ["493012345600", "1"]}) == {
        "withdrawn": 1
    }
    own.world.run(own.world.submit())
    own.world.run(own.world.dial(ANSWERED))
    assert own.good("GET", f"/tasks/{task}")["state"] == "calling", "more may come"
    own.good("POST", f"/tasks/{task}/close")
    assert own.good("GET", f"/tasks/{task}")["state"] == "finished"
    problem = own.bad(409, "POST", f"/tasks/{task}/numbers", json=more)
    assert "takes no more numbers" in problem["detail"]


CSV = b'\xef\xbb\xbfnumber, text1\r\n493012345601,Ann\r\n\r\n12,Bob\r\n493012345602,"Ce, Ce"\r\n493012345601,again\r\n'
LINES = (
    b'{"number":"493012345601","variables":{"text1":"Ann"}}\n{"number":"12"}\n\n{"number":"493012345602"}\n{"no":1}\n[]'
)


def test_a_file_of_numbers_tells_what_is_wrong_line_by_line(own: Own) -> None:
    task = own.task(count=1, takes_more=True)["id"]
    path = f"/tasks/{task}/numbers/file"
    csv = {"Content-Type": "text/csv; charset=utf-8"}
    done = own.good("POST", path, content=CSV, headers=csv)
    assert (done["lines"], done["added"], done["faulty"]) == (6, 0, 1)
    assert [one["line"] for one in done["errors"]] == [4]
    assert own.good("GET", f"/tasks/{task}")["counts"]["total"] == 1, "a file with a fault adds nothing"
    done = own.good("POST", f"{path}?skip_faulty=true", content=CSV, headers=csv)
    assert (done["added"], done["repeated"], done["faulty"]) == (2, 1, 1)
    done = own.good("POST", f"{path}?skip_faulty=true", content=LINES, headers={"Content-Type": "application/jsonl"})
    assert (done["added"], done["repeated"], [one["line"] for one in done["errors"]]) == (0, 2, [2, 5, 6])
    own.bad(415, "POST", path, content=CSV, headers={"Content-Type": "application/xml"})
    for header in (b"name\n1\n", b"number,number\n1,1\n", b"number,colour\n1,red\n"):
        assert "line 1" in own.bad(400, "POST", path, content=header, headers=csv)["detail"]
    own.bad(413, "POST", path, content=b"number\n" + b"1" * 70_000, headers=csv)
    own.bad(413, "POST", path, content=b"number\n" * 10_000_000, headers=csv)
    assert own.good("GET", f"/tasks/{task}")["counts"]["total"] == 3


def test_templates(own: Own) -> None:
    made = own.good("POST", "/templates", json={"yaml": "name: mine\nsteps:\n  - say: Hi ${text2}\n"})
    shown = own.good("GET", f"/templates/{made['id']}")
    assert (shown["name"], shown["variables"], shown["retired"]) == ("mine", ["text2"], False)
    problem = own.bad(400, "POST", "/templates", json={"yaml": "steps:\n  - sing: Hi\n  - pause: long\n"})
    assert [one["message"][:6] for one in problem["errors"]] == ["line 2", "line 3"]
    own.good("DELETE", f"/templates/{made['id']}")
    own.bad(404, "DELETE", f"/templates/{made['id']}")
    own.bad(404, "DELETE", f"/templates/{own.world.plain}")
    body = {"name": "late", "template_id": made["id"], "numbers": NUMBERS}
    own.bad(400, "POST", "/tasks", json=body)
