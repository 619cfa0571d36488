"""Which codes the vendor's page of each operation documents, and a request that must be answered with each.

To add an operation: an entry in ``OPERATIONS`` with a request that succeeds and one more for each code of its own. What
every operation has (0, -1, -2, -16, -18) is made from the request that succeeds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ringback.store import accounts, registrations
from ringback.store.registrations import Contact
from tests.api.vendor_world import ANSWERED, BUSY, World

LATER = "2031-01-01 00:00:00"
PAGE = {"current": 1, "size": 10, "params": {"strTime": "2020-01-01 00:00:00", "endTime": LATER, "taskType": 3}}
RECORDS = {"params": {"strTime": "2021-09-01T00:00:00Z", "endTime": "2021-09-02T00:00:00Z"}}
UPDATE = {"recallInterval": 5, "recallNum": 1, "recallType": 1}


class Asked(msgspec.Struct, frozen=True):
    """A request: a POST's body, or a GET's key (``""``: it takes none)."""

    body: Any = None
    key: str | None = None


Make = Callable[[World], Awaitable[Asked]]


class NotGiven(msgspec.Struct, frozen=True):
    """A documented code that nothing here leads to, and why."""

    why: str


class Documented(msgspec.Struct, frozen=True):
    """``succeeds`` makes a request that is carried out; ``own`` are the codes beside those that all have."""

    succeeds: Make
    own: Mapping[int, Make | NotGiven]


def same(body: Any = None, *, key: str | None = None) -> Make:
    """A request that needs nothing in the world."""

    async def make(_: World) -> Asked:
        return Asked(body, key)

    return make


async def _create(world: World) -> Asked:
    return Asked(world.task_body())


async def _create_again(world: World) -> Asked:
    await world.send(sendTime=LATER)
    return Asked(world.task_body())


async def _create_without_name(world: World) -> Asked:
    return Asked(world.task_body(taskName=...))


async def _finished(world: World) -> int:
    task_id = await world.send(
        taskName="first", numberInfoList=[{"calleeNumber": f"491511234560{n}"} for n in range(2)]
    )
    await world.submit()
    await world.dial(BUSY, ANSWERED)
    return task_id


def _cancel(times: int = 1) -> Make:
    async def make(world: World) -> Asked:
        return Asked({"taskIdList": [await world.send(sendTime=LATER)] * times})

    return make


async def _cancel_finished(world: World) -> Asked:
    return Asked({"taskIdList": [await _finished(world)]})


async def _detail(world: World) -> Asked:
    return Asked(key=str(await world.send(sendTime=LATER)))


def _resend(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        task_id = await _finished(world)
        return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, "scriptId": world.plain} | changes)

    return make


async def _resend_waiting(world: World) -> Asked:
    task_id = await world.send(sendTime=LATER)
    return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, "scriptId": world.plain})


async def _resend_answered(world: World) -> Asked:
    task_id = await world.send()
    await world.submit()
    await world.dial(ANSWERED)
    return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, "scriptId": world.plain})


def with_balance(make: Make, micros: int) -> Make:
    """The same request of an account that has so much left."""

    async def made(world: World) -> Asked:
        asked = await make(world)
        async with world.store.write() as tx:
            await accounts.set_balance(tx, world.account.id, micros)
        return asked

    return made


async def _flow(world: World) -> Asked:
    _, flow = await world.send_with_flow(sendTime=LATER)
    return Asked({"keyId": flow["keyId"]})


async def _flow_update(world: World) -> Asked:
    return Asked((await _flow(world)).body | UPDATE)


async def _flow_cancel(world: World) -> Asked:
    return Asked({"type": 1, "id": (await _flow(world)).body["keyId"]})


async def _record(world: World) -> Asked:
    await _finished(world)
    page = await world.post("/voice/recordGroupQuery", RECORDS)
    return Asked(key=page["data"]["records"][0]["voiceId"])


PHONES = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 1}


async def _phone(world: World) -> str:
    """A registered phone."""
    (made,) = (await world.post("/voice/sipAdd", PHONES))["data"]
    async with world.store.write() as tx:
        until = world.clock.now_ms() + 60_000
        await registrations.register(tx, made["account"], Contact("desk", "192.0.2.7", 5060), until)
    return str(made["account"])


async def _phones_again(world: World) -> Asked:
    await _phone(world)
    return Asked(PHONES)


async def _phone_reset(world: World) -> Asked:
    return Asked({"appId": "default", "account": await _phone(world)})


async def _phone_call(world: World) -> Asked:
    return Asked({"appId": "default", "account": await _phone(world), "callee": "493012345600"})


async def _phone_call_by_none(world: World) -> Asked:
    return Asked((await _phone_call(world)).body | {"account": "4711"})


async def _phone_call_nowhere(world: World) -> Asked:
    return Asked((await _phone_call(world)).body | {"callee": "12"})


#: By the name that the door gives the operation.
OPERATIONS: dict[str, Documented] = {
    # Its code table is not available: those of the pages beside it.
    "POST /voice/group/call/send/agent": Documented(
        _create,
        {
            -10: with_balance(_create, 0),
            -20: _create_again,
            -22: _create_without_name,
            -26: with_balance(_create, 1),
        },
    ),
    "POST /voice/group/call/query": Documented(same(PAGE), {-22: same({})}),
    "POST /voice/group/call/cancel": Documented(
        _cancel(),
        {
            -20: NotGiven("a cancel stores nothing that could exist already"),
            -21: NotGiven("a body that is wrong is -22, a state that is wrong -54"),
            -22: same({"taskIdList": []}),
            -23: _cancel(1_001),
            -24: same({"taskIdList": [4711]}),
            -54: _cancel_finished,
        },
    ),
    "GET /voice/group/call/detail": Documented(_detail, {-22: same(key="4711")}),
    "POST /voice/group/call/resend/ai": Documented(
        _resend(),
        {
            -10: with_balance(_resend(), 0),
            -20: _resend(taskName="first"),
            -21: _resend_waiting,
            -22: _resend(resendType=2),
            -23: NotGiven("it cannot have more numbers than the finished task"),
            -24: _resend(keyId=4711),
            -26: with_balance(_resend(), 1),
            -34: _resend_answered,
        },
    ),
    "POST /voice/recallFlow/queryDetail": Documented(_flow, {-22: same({"keyId": 4711})}),
    "POST /voice/recallFlow/queryPage": Documented(same(PAGE), {-22: same({})}),
    "POST /voice/recallFlow/update": Documented(_flow_update, {-22: same(UPDATE | {"keyId": 4711})}),
    "POST /voice/recallFlow/cancel": Documented(_flow_cancel, {-22: same({"type": 1, "id": 4711})}),
    "GET /voice/recordGroup": Documented(_record, {-22: same(key="4711")}),
    "POST /voice/recordGroupQuery": Documented(same(RECORDS), {-22: same({})}),
    "GET /getBalance": Documented(same(), {}),
    # Of phones no code table is available: those that their operations answer with here.
    "POST /voice/sipAdd": Documented(same(PHONES), {-20: _phones_again, -22: same(PHONES | {"quantity": 51})}),
    "POST /voice/sipQuery": Documented(same({"current": 1, "size": 10}), {-22: same({})}),
    "POST /voice/sipReset": Documented(
        _phone_reset, {-22: same({"appId": "default"}), -24: same({"appId": "default", "account": "4711"})}
    ),
    "POST /voice/sendSip": Documented(
        _phone_call,
        {
            -10: with_balance(_phone_call, 0),
            -22: _phone_call_nowhere,
            -24: _phone_call_by_none,
            -26: with_balance(_phone_call, 1),
        },
    ),
}
