"""Whatever the description allows, and whatever it forbids: answered in the described form, and nothing stored half."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from sqlalchemy import text

from ringback.api.itnio.envelope import Code
from tests.api.door_cases import CASES, Known, furnish, headers, operations, requests
from tests.api.vendor_world import World

OPERATIONS = operations()
EACH = max(10, CASES // (2 * len(OPERATIONS)))
#: Those that the known values are made for: were none of their requests carried out, this test would test little.
CARRIED_OUT = {
    "/group/call/send/agent",
    "/group/call/query",
    "/group/call/cancel",
    "/group/call/detail/{key}",
    "/group/call/resend/ai",
    "/recallFlow/queryDetail",
    "/recallFlow/queryPage",
    "/recallFlow/update",
    "/recallFlow/cancel",
    "/recordGroupQuery",
    "/getBalance",
}
#: So few requests can miss by chance.
ENOUGH = 150
#: What refuses a wrongly signed request, in the voice family's numbers and the jobs' (missing Timestamp, its age).
UNSIGNED = {Code.AUTHENTICATION, Code.TIMESTAMP_EXPIRED, -58, -4}


@pytest.fixture(scope="module")
def known(lasting_world: World) -> Known:
    """A furnished world. The requests of all operations meet in it."""
    return lasting_world.run(furnish(lasting_world))


async def _rows(world: World) -> list[tuple[str, int]]:
    """The last key of every table: a row that was added shows."""
    async with world.store.read() as tx:
        found = await tx.execute(text("SELECT name, seq FROM sqlite_sequence ORDER BY name"))
        return [(name, seq) for name, seq in found]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
@pytest.mark.parametrize("operation", OPERATIONS, ids=[f"{one.method} {one.path}" for one in OPERATIONS])
def test_requests_made_from_the_description(
    lasting_world: World,
    known: Known,
    operation: schemathesis.APIOperation,  # type: ignore[type-arg]  # made by schemathesis at run time
    mode: GenerationMode,
) -> None:
    world = lasting_world
    codes: Counter[int] = Counter()

    async def ask(path: str, body: bytes, signed: str) -> httpx.Response:
        before = await _rows(world)
        response = await world.request(operation.method.upper(), path, content=body, headers=headers(world, signed))
        assert response.status_code == 200, response.text
        code = response.json()["code"]
        codes[code] += 1
        if signed != "right":
            assert code in UNSIGNED, response.text
        if code != Code.SUCCESS:
            assert await _rows(world) == before, "a refused request stored something"
        return response

    @settings(
        max_examples=EACH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(operation.as_strategy(generation_mode=mode), known))
    def answered(request: tuple[str, bytes, str]) -> None:
        response = world.run(ask(*request))
        assert response.json()["code"] != Code.SYSTEM, response.text
        operation.validate_response(response)

    answered()
    assert world.run(world.wrong_counters()) == []
    named = operation.path.removeprefix("/v3").removeprefix("/voice")
    if mode is GenerationMode.POSITIVE and named in CARRIED_OUT and EACH >= ENOUGH:
        assert codes[Code.SUCCESS], codes
