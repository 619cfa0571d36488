"""While the application serves, keys are looked up without a transaction; that must change nothing but the time."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from ringback.store.lookups import ByKey
from tests.api.vendor_world import World

DETAIL = "/voice/recallFlow/queryDetail"


def test_serving_changes_no_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unused(*_: Any) -> None:
        raise AssertionError("a transaction was used")

    async def story() -> None:
        _, flow = await world.send_with_flow()
        asked = [{"keyId": flow["keyId"]}, {"keyId": 999}, {"keyId": "x"}]
        ways = [(world.account, body) for body in asked] + [(world.other, asked[0])]
        before = [await world.post(DETAIL, body, tenant=tenant) for tenant, body in ways]
        assert [one["code"] for one in before] == [0, -22, -22, -22]
        async with world.app.lifespan():
            with monkeypatch.context() as patch:
                patch.setattr(ByKey, "find", unused)
                assert [await world.post(DETAIL, body, tenant=tenant) for tenant, body in ways] == before
        assert await world.post(DETAIL, asked[0]) == before[0]

    world.run(story())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE account SET api_key = 'another' WHERE id = :id", -1),
        ("UPDATE account SET api_secret = 'another' WHERE id = :id", -1),
        ("""UPDATE account SET allowed_networks = '["10.0.0.0/8"]' WHERE id = :id""", -2),
    ],
)
def test_a_changed_account_holds_from_the_next_request_on(world: World, change: str, code: int) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow()
        async with world.app.lifespan():
            assert (await world.post(DETAIL, {"keyId": flow["keyId"]}))["code"] == 0
            async with world.store.write() as tx:
                await tx.execute(text(change), {"id": world.account.id})
            assert (await world.post(DETAIL, {"keyId": flow["keyId"]}))["code"] == code

    world.run(story())
