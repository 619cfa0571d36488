"""Requests made from the description of our own door: no 5xx, no answer that the description does not have."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core import NotSet
from schemathesis.generation import GenerationMode

from ringback.api.app import create_app
from ringback.api.v1 import events
from ringback.settings import Settings
from ringback.store.database import Store
from tests.api.v1.own_world import Own
from tests.api.vendor_world import FakeClock, World

#: How many requests over all operations; ``make fuzz-api`` asks for more.
CASES = int(os.environ.get("FUZZ_API_CASES", "1200"))


def operations() -> list[schemathesis.APIOperation[Any, Any, Any]]:
    app = create_app(cast("Store", None), FakeClock(0), Settings())
    described = schemathesis.openapi.from_dict(app.openapi_schema.to_schema())
    found = [result.ok() for result in described.get_all_operations()]
    return [one for one in found if one.path.startswith("/v1/")]


OPERATIONS = operations()
EACH = max(10, CASES // (2 * len(OPERATIONS)))


@pytest.fixture(scope="module")
def own(lasting_world: World) -> Iterator[Own]:
    """One furnished world: the requests of all operations meet in it."""
    made = Own(lasting_world)
    # A stream is told nothing new here, so it lasts as long as it may.
    patch = pytest.MonkeyPatch()
    patch.setattr(events, "LONGEST_SECONDS", 2.0)
    for number in range(3):
        made.task(f"task {number}", takes_more=True, flow={"nodes": [{"interval_minutes": 5}] * 2})
    made.good("POST", "/templates", json={"yaml": "name: mine\nsteps:\n  - say: Hi\n"})
    yield made
    patch.undo()


def test_the_description_has_every_operation(own: Own) -> None:
    described = {(one.method.upper(), one.path) for one in OPERATIONS}
    routed = {
        (method, route.path_format)
        for route in own.world.app.routes
        if route.path.startswith("/v1/")
        for handler in getattr(route, "route_handlers", ())
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    assert described == routed
    for one in OPERATIONS:
        assert one.definition.raw["security"] == [{"bearer": []}], one.path
        assert one.definition.raw["summary"], one.path


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=[f"{one.method} {one.path}" for one in OPERATIONS])
def test_requests_made_from_the_description(
    own: Own,
    operation: schemathesis.APIOperation,  # type: ignore[type-arg]  # made by schemathesis at run time
    mode: GenerationMode,
) -> None:
    statuses: Counter[int] = Counter()
    ids = [1, 2, 3, 4]

    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        # The description knows that an id is a number, not which there are.
        for name, value in dict(case.path_parameters or {}).items():
            if name == "key_id":
                # One that replaces or revokes the key that asks would end the test.
                case.path_parameters[name] = "aaaaaaaaaaaaaaaa"
            elif isinstance(value, int):
                case.path_parameters[name] = ids[value % len(ids)]
        parts: dict[str, Any] = {}
        if case.body is not None and not isinstance(case.body, NotSet):
            parts = {"content": case.body} if isinstance(case.body, bytes) else {"json": case.body}
        query = {name: value for name, value in (case.query or {}).items() if value is not None}
        path = operation.path.format(**(case.path_parameters or {}))
        response = own.ask(operation.method.upper(), path.removeprefix("/v1"), params=query, **parts)
        statuses[response.status_code] += 1
        assert response.status_code < 500, response.text
        operation.validate_response(response)
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"

    answered()

    assert own.world.run(own.world.wrong_counters()) == []
    assert sum(statuses.values()) >= min(EACH, 10) // 2, "it was asked"
