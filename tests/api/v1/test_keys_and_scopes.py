"""Who gets in, and what they may do; and that every route of the running application asks."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ringback.api.v1.door import SCOPE
from ringback.model.api_key import SCOPES_OF, Role, Scope, make_token, parse_token
from tests.api.v1.own_world import Own
from tests.api.vendor_world import World

UNKNOWN = make_token().text


def routes(world: World) -> list[tuple[str, str, Scope]]:
    """Method, path and scope of every route of our own door."""
    found = []
    for route in world.app.routes:
        if not route.path.startswith("/v1/"):
            continue
        for handler in getattr(route, "route_handlers", ()):
            found += [
                (method, route.path.removeprefix("/v1"), handler.opt[SCOPE])
                for method in handler.http_methods
                if method != "OPTIONS"
            ]
    return found


def filled(path: str, values: dict[str, object]) -> str:
    return re.sub(r"\{(\w+):\w+\}", lambda found: str(values.get(found[1], 1)), path)


def test_every_route_refuses_whoever_has_no_key(own: Own) -> None:
    asked = routes(own.world)
    assert len(asked) >= 25
    expired = own.new_key(own.world.account, expires_at=own.world.clock.now_ms())
    token = parse_token(own.key)
    assert token is not None
    wrong_secret = f"rb_{token.key_id}_{make_token().secret}"
    for method, path, _ in asked:
        for key in ("", "nonsense", UNKNOWN, wrong_secret, expired, own.key + "x", own.key.upper()):
            problem = own.bad(401, method, filled(path, {}), key=key)
            assert own.key not in str(problem)


def test_every_route_refuses_a_key_without_its_scope(own: Own) -> None:
    for method, path, scope in routes(own.world):
        key = own.new_key(own.world.account, scopes=frozenset(Scope) - {scope})
        problem = own.bad(403, method, filled(path, {}), key=key)
        assert str(scope) in problem["detail"]


def test_a_viewer_changes_nothing(own: Own) -> None:
    key = own.new_key(own.world.account, role=Role.VIEWER)
    for method, path, scope in routes(own.world):
        if method != "GET":
            assert scope not in SCOPES_OF[Role.VIEWER]
            own.bad(403, method, filled(path, {}), key=key)


BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/tasks/{task_id:int}/numbers"): {"numbers": [{"number": "493099999900"}]},
    ("POST", "/tasks/{task_id:int}/numbers/withdraw"): {"numbers": ["493012345600"]},
    ("PUT", "/flows/{flow_id:int}"): {"nodes": [{"interval_minutes": 9}]},
    ("PUT", "/nodes/{node_id:int}"): {"interval_minutes": 9},
    ("POST", "/keys/{key_id:str}/rotate"): {},
}


def test_every_route_with_an_id_hides_what_is_another_account_s(own: Own) -> None:
    """A new route is in this test by being a route: one that forgets its account fails here."""
    flow = {"nodes": [{"interval_minutes": 5}]}
    task = own.task(flow=flow)
    template = own.good("POST", "/templates", json={"yaml": "name: mine\nsteps:\n  - say: Hi\n"})
    node = own.good("GET", f"/flows/{task['flow_id']}")["nodes"][0]
    (call,) = own.good("GET", f"/tasks/{task['id']}/calls?limit=1")["items"]
    receiver = own.good("POST", "/receivers", json={"url": "https://crm.example.com/in"})
    token = parse_token(own.key)
    assert token is not None
    values = {
        "receiver_id": receiver["id"],
        "task_id": task["id"],
        "number": "493012345600",
        "flow_id": task["flow_id"],
        "node_id": node["id"],
        "call_id": call["id"],
        "template_id": template["id"],
        "key_id": token.key_id,
    }
    before = own.world.run(own.world.contents())
    asked = 0
    for method, path, _ in routes(own.world):
        if "{" not in path:
            continue
        parts: dict[str, Any] = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
        if path.endswith("/numbers/file"):
            parts = {"content": "number\n493099999900\n", "headers": {"Content-Type": "text/csv"}}
        foreign = own.bad(404, method, filled(path, values), key=own.foreign, **parts)
        nowhere = own.bad(404, method, filled(path, dict.fromkeys(values, 4711)), key=own.foreign, **parts)
        told = foreign["detail"]
        for name in sorted(values, key=lambda name: -len(str(values[name]))):
            told = told.replace(str(values[name]), "4711") if f"{{{name}:" in path else told
        assert told == nowhere["detail"], "both look alike"
        asked += 1
    assert asked >= 15
    assert own.world.run(own.world.contents()) == before
    for path in ("/tasks", "/flows", "/audit", "/keys"):
        listed = own.good("GET", path, key=own.foreign)["items"]
        assert not [one for one in listed if str(task["id"]) == str(one.get("id")) and path in ("/tasks", "/flows")]
    (shown,) = own.good("GET", "/keys", key=own.foreign)["items"]
    assert shown["id"] != token.key_id
    assert [one["name"] for one in own.good("GET", "/templates", key=own.foreign)["items"]].count("mine") == 0


def test_a_key_is_shown_once_and_hands_out_no_more_than_it_has(own: Own) -> None:
    made = own.good("POST", "/keys", json={"name": "crm", "role": "operator"})
    assert made["key"].startswith(f"rb_{made['id']}_")
    token = parse_token(made["key"])
    assert token is not None
    assert token.secret not in own.ask("GET", "/keys").text
    assert token.secret not in str(own.world.run(own.world.contents()))
    assert own.good("GET", "/account", key=made["key"])["key"]["role"] == "operator"
    with_keys = own.new_key(own.world.account, scopes=frozenset({Scope.KEYS_WRITE, Scope.TASKS_READ}))
    own.bad(403, "POST", "/keys", key=with_keys, json={"name": "more", "role": "viewer"})
    own.good("POST", "/keys", key=with_keys, json={"name": "less", "role": "viewer", "scopes": ["tasks:read"]})
    own.bad(403, "POST", f"/keys/{made['id']}/rotate", key=with_keys, json={})
    problem = own.bad(400, "POST", "/keys", json={"name": "odd", "role": "viewer", "scopes": ["tasks:write"]})
    assert problem["errors"] == [
        {"field": "scopes", "message": "a key of the role viewer cannot have the scope tasks:write"}
    ]


def test_revoked_and_replaced(own: Own) -> None:
    made = own.good("POST", "/keys", json={"name": "crm"})
    after = own.good("POST", f"/keys/{made['id']}/rotate", json={"overlap_hours": 1})
    for key in (made["key"], after["key"]):
        own.good("GET", "/account", key=key)
    own.world.clock.set(own.world.clock.now_ms() / 1000 + 3_600)
    own.bad(401, "GET", "/account", key=made["key"])
    own.good("GET", "/account", key=after["key"])
    own.bad(404, "POST", f"/keys/{made['id']}/rotate", json={})
    own.good("DELETE", f"/keys/{after['id']}")
    own.bad(401, "GET", "/account", key=after["key"])
    own.bad(404, "DELETE", f"/keys/{after['id']}")
    actions = [one["action"] for one in own.good("GET", "/audit")["items"]]
    assert actions[:3] == ["key.revoked", "key.created", "key.created"]


def test_the_account_s_addresses_hold_here_too(own: Own) -> None:
    far = own.world.run(own.world.tenant("far", "farKey", "farSecret", networks=["10.1.2.0/24"]))
    problem = own.bad(403, "GET", "/account", key=own.new_key(far))
    assert "address" in problem["detail"]


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "BEARER", "Token"])
def test_schemes(own: Own, scheme: str) -> None:
    response = own.ask("GET", "/account", key="", headers={"Authorization": f"{scheme} {own.key}"})
    assert response.status_code == (200 if scheme.lower() == "bearer" else 401)
    if response.status_code == 401:
        assert response.headers["www-authenticate"] == "Bearer"
