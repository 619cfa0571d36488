"""Records of calls, and the balance they are paid from."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.model.billing import Tariff
from ringback.store import accounts, tariffs, trunks
from tests.api.vendor_world import ANSWERED, BUSY, World

QUERY = "/voice/recordGroupQuery"
SEND = "/voice/group/call/send/agent"
PERIOD = {"strTime": "2021-09-01T00:00:00+00:00", "endTime": "2021-09-02T00:00:00+00:00"}


async def price(world: World, rate: int | None, balance: int | None) -> None:
    async with world.store.write() as tx:
        trunk = await trunks.by_name(tx, "t")
        assert trunk is not None
        await tariffs.of_trunk(tx, trunk.id, None if rate is None else Tariff(rate, 20, 20))
        await accounts.set_balance(tx, world.account.id, balance)


async def two_calls(world: World) -> None:
    """One answered, key 7 pressed after 13 seconds of ringing, up for 21 seconds; one busy."""
    await world.send(numberInfoList=[{"calleeNumber": f"8613800138{one:03}"} for one in range(2)], displayNum="4930123")
    await world.submit()
    await world.clock.sleep(60)
    at = world.clock.now_ms()
    up = {"answered_at": at - 21_000, "ring_ms": 13_000, "talk_ms": 21_000, "keys": "71", "sip_code": 200}
    await world.dial(ANSWERED | up, BUSY | {"sip_code": 486, "reason": "busy here"})


def test_a_record_has_every_published_member(world: World) -> None:
    async def story() -> None:
        await price(world, 23_625, 1_000_000)
        await two_calls(world)
        page = (await world.post(QUERY, {"params": PERIOD}))["data"]
        assert (page["total"], page["size"], page["current"], page["pages"]) == (2, 25, 1, 1)
        busy, answered = page["records"]
        assert answered == {
            "voiceId": answered["voiceId"],
            "callee": "8613800138000",
            "displayNum": "4930123",
            "code": "CN",
            "submitTime": "2021-09-01T04:00:00+00:00",
            "callTime": "2021-09-01T04:01:00+00:00",
            "ringingTime": "2021-09-01T04:00:26+00:00",
            "answerTime": "2021-09-01T04:00:39+00:00",
            "hangupTime": "2021-09-01T04:01:00+00:00",
            "callDuration": 21,
            "chargedDuration": 40,
            "terminationCode": "200",
            "terminationReason": "success",
            "sipCode": "200",
            "cost": "0.01575",
            "billPeriod": "20+20",
            "rate": "0.023625",
            "baseCost": "0.01575",
            "voiceFileId": None,
            "feedbackValue": "7",
            "calledInfo": "",
            "settleRate": "0.023625",
            "quoteExchange": "1",
            "settlePay": "0.01575",
            "currency": "USD",
        }
        assert (busy["terminationCode"], busy["terminationReason"], busy["feedbackValue"]) == ("486", "busy here", "-1")
        assert (busy["chargedDuration"], busy["cost"], busy["answerTime"]) == (0, "0", None)
        for record in page["records"]:
            assert (await world.get(f"/v3/voice/recordGroup/{record['voiceId']}"))["data"] == record
        second = await world.post(QUERY, {"current": 2, "size": 1, "params": PERIOD})
        assert second["data"]["records"] == [answered]
        for path in ("/getBalance", "/v3/getBalance"):
            left = await world.get(path)
            assert left["data"] == {"balance": "0.98425", "currency": "USD", "gift": "0"}
            assert (left["balance"], left["gift"]) == ("0.98425", "0")

    world.run(story())


def test_records_of_somebody_else_are_not_there(world: World) -> None:
    async def story() -> None:
        await two_calls(world)
        page = (await world.post(QUERY, {"params": PERIOD}, tenant=world.other))["data"]
        assert (page["total"], page["records"]) == (0, [])
        key = (await world.post(QUERY, {"params": PERIOD}))["data"]["records"][0]["voiceId"]
        theirs = await world.get(f"/voice/recordGroup/{key}", tenant=world.other)
        assert (theirs["code"], theirs["msg"]) == (-22, f"voiceId: there is no record {key}")

    world.run(story())


def test_a_call_that_has_not_ended_has_no_record(world: World) -> None:
    async def story() -> None:
        await world.send()
        await world.submit()
        assert (await world.post(QUERY, {"params": PERIOD}))["data"]["total"] == 0
        assert (await world.get("/voice/recordGroup/1"))["code"] == -22

    world.run(story())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "params: is missing"),
    ({"params": None}, "params: expected `object`"),
    ({"params": {"strTime": PERIOD["strTime"]}}, "params.endTime: is missing"),
    ({"params": {"endTime": PERIOD["endTime"]}}, "params.strTime: is missing"),
    ({"params": PERIOD | {"strTime": "2021-09-01 00:00:00"}}, "params.strTime: must be a time with an offset"),
    ({"params": PERIOD | {"strTime": "yesterday"}}, "params.strTime: must be a time with an offset"),
    ({"params": PERIOD | {"endTime": ""}}, "params.endTime: must be a time with an offset"),
    ({"params": PERIOD | {"endTime": "9999-12-31T23:59:59+00:00"}}, "params.endTime: must be a time"),
    ({"params": PERIOD | {"endTime": "2021-08-31T00:00:00Z"}}, "params.endTime: is before params.strTime"),
    ({"params": PERIOD | {"endTime": "2021-10-03T00:00:00Z"}}, "params.endTime: is more than 31 days after"),
    ({"params": PERIOD | {"strTime": "2021-06-30T00:00:00Z", "endTime": "2021-07-01T00:00:00Z"}}, "params.strTime: is"),
    ({"params": PERIOD, "current": 0}, "current: must be 1 to"),
    ({"params": PERIOD, "current": None}, "current: expected `int`"),
    ({"params": PERIOD, "size": 0}, "size: must be 1 to 100"),
    ({"params": PERIOD, "size": 101}, "size: must be 1 to 100"),
    ({"params": PERIOD, "size": "many"}, "size: expected `int`"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_refused_queries(lasting_world: World, body: dict[str, Any], message: str) -> None:
    done = lasting_world.run(lasting_world.post(QUERY, body))
    assert done["code"] == -22
    assert done["msg"].startswith(message), done["msg"]


@pytest.mark.parametrize("key", ["0", "x", "-1", "9" * 19, "%00", "1%27"])
def test_what_is_no_record(lasting_world: World, key: str) -> None:
    done = lasting_world.run(lasting_world.get(f"/voice/recordGroup/{key}"))
    assert done["code"] == -22
    assert done["msg"].startswith("voiceId: ")


def test_nobody_makes_a_task_without_means(world: World) -> None:
    async def story() -> None:
        for rate, balance, code, message in (
            (23_625, 0, -10, "the account's balance is used up: 0"),
            (23_625, -500_000, -10, "the account's balance is used up: -0.5"),
            (None, 1, -26, "no trunk that the account may use has a price"),
        ):
            await price(world, rate, balance)
            before = await world.contents()
            done = await world.post(SEND, world.task_body())
            assert (done["code"], done["msg"]) == (code, message)
            assert await world.contents() == before
        await price(world, 23_625, 1)
        assert (await world.post(SEND, world.task_body()))["code"] == 0
        assert (await world.get("/getBalance", tenant=world.other))["data"]["balance"] is None

    world.run(story())
