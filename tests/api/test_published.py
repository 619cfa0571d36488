"""The published requests, replayed; the answers against the published ones, name for name and type for type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from ringback.api.itnio.signature import sign
from ringback.model.audience import RecallType
from ringback.model.flow import FlowSpec
from ringback.model.task import Limits, TaskSpec, build_numbers
from ringback.store import accounts, flows, tasks
from ringback.store.schema import application
from tests.api.vendor_world import ANSWERED, BUSY, World

FOLDER = Path(__file__).parents[1] / "fixtures" / "itnio"

#: Where an answer differs on purpose from the published one; the compatibility page says so.
DECIDED = {
    "recallFlow.queryPage.v3": {"status": "0"},  # published as a number
    "recallFlow.cancel.v3": {"status": "0"},  # published as a number
    "groupCall.cancel": {"code": 0},  # published as a text
}


def published(name: str) -> dict[str, Any]:
    found = json.loads((FOLDER / f"{name}.json").read_text())
    assert isinstance(found, dict)
    return found


async def replay(world: World, name: str) -> dict[str, Any]:
    """Send the published request at the clock's time, signed anew."""
    sample = published(name)
    headers = sample["request"]["headers"] | world.headers()
    return await world.post(sample["path"], sample["request"]["body"], headers=headers)


def form(value: Any, where: str = "data") -> dict[str, str]:
    """Every path in a JSON value, with its type; the members of all items of a list count as one."""
    kinds = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "object"}
    found = {where: kinds[type(value)]}
    if isinstance(value, dict):
        for name, member in value.items():
            found |= form(member, f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            found |= form(item, f"{where}[]")
    return found


async def store_task(
    world: World, task_id: int, name: str, *numbers: str, created: str, template_id: int | None = None
) -> None:
    """A task with that id, created at that time (UTC)."""
    await world.next_id("task", task_id)
    built = build_numbers(((number, {}) for number in numbers), field="numbers", needed_texts=frozenset())
    async with world.store.write() as tx:
        spec = TaskSpec(
            name=name,
            template_id=template_id or world.plain,
            application_id=world.application_id,
            limits=Limits(),
        )
        stored = await tasks.create(tx, world.account.id, spec, built.calls, instant(created))
    assert stored == task_id


async def store_flow(world: World, key: int, task_id: int, *, created: str, rounds: int = 1) -> None:
    """A flow with that key on that task."""
    await world.next_id("flow", key)
    async with world.store.write() as tx:
        spec = FlowSpec(recall_type=RecallType.FAILED, interval_minutes=1, rounds=rounds)
        stored = await flows.create(
            tx, world.account.id, task_id, spec, parent_template_id=world.plain, now_ms=instant(created)
        )
    assert stored == key


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def test_the_published_signature_holds() -> None:
    headers = published("recallFlow.queryDetail")["request"]["headers"]
    assert sign("bDqJFiq9", "7bz1lzh9", "1630468800") == headers["Sign"] == "05d7a50893e22a5c4bb3216ae3396c7c"


def test_the_published_headers_pass_when_the_clock_stands_there(world: World) -> None:
    async def story() -> None:
        await store_task(world, 5, "1111", "4915112345600", created="2021-09-01 00:00:00")
        await store_flow(world, 12, 5, created="2021-09-01 00:00:00")
        sample = published("recallFlow.queryDetail")
        done = await world.post(sample["path"], sample["request"]["body"], headers=sample["request"]["headers"])
        assert (done["code"], done["data"]["keyId"]) == (0, 12)

    world.run(story())


def test_query_detail_has_the_published_form_before_and_after_the_start(world: World) -> None:
    expected = form(published("recallFlow.queryDetail")["response"]["data"])

    async def story() -> None:
        now = "2021-09-01 00:00:00"
        await store_task(world, 5, "1111", "4915112345600", created=now)
        await store_flow(world, 12, 5, created=now, rounds=2)
        waiting = await replay(world, "recallFlow.queryDetail")
        assert form(waiting["data"]) == expected | {"data.nodeList[].taskId": "null"}
        await world.submit()
        await world.dial(BUSY)
        await world.clock.sleep(60)
        started = await world.start_next_round()
        await world.dial(BUSY)
        await world.clock.sleep(60)
        assert await world.start_next_round()
        running = await replay(world, "recallFlow.queryDetail")
        assert form(running["data"]) == expected
        assert running["data"]["status"] == published("recallFlow.queryDetail")["response"]["data"]["status"]
        first, second = running["data"]["nodeList"]
        assert (first["taskId"], first["nodeStatus"], second["nodeStatus"]) == (started, 2, 1)

    world.run(story())


@pytest.mark.parametrize("name", ["recallFlow.queryPage", "recallFlow.queryPage.v3"])
def test_query_page_answers_as_published(world: World, name: str) -> None:
    sample = published(name)
    (row,) = sample["response"]["data"]["records"]

    async def story() -> None:
        await store_task(world, row["taskId"], row["taskName"], "4915112345600", created=row["createTime"])
        await store_flow(world, row["keyId"], row["taskId"], created=row["createTime"])
        done = await replay(world, name)
        assert done["data"] == sample["response"]["data"]
        assert form(done["data"]) == form(sample["response"]["data"])

    world.run(story())


def test_the_agent_task_list_answers_as_published(world: World) -> None:
    sample = published("groupCall.query.agent")
    (row,) = sample["response"]["data"]["records"]

    async def story() -> None:
        await world.next_id("template", row["scriptId"])
        script = await world.template("published", "Good day.")
        numbers = ("4915112345600", "4915112345601")
        created = row["createdTime"]
        await store_task(world, row["taskId"], row["taskName"], *numbers, created=created, template_id=script)
        world.clock.set(instant(created) / 1000)
        await world.submit()
        await world.dial(ANSWERED)
        done = await replay(world, "groupCall.query.agent")
        assert done["data"] == sample["response"]["data"]
        assert form(done["data"]) == form(sample["response"]["data"])

    world.run(story())


def test_the_voice_task_list_answers_as_published(world: World) -> None:
    sample = published("groupCall.query")
    (row,) = sample["response"]["data"]["records"]
    # The published record is younger than the period that the published request asks for.
    created = "2024-06-03 15:13:01"
    expected = json.loads(json.dumps(sample["response"]["data"]))
    expected["records"][0]["createdTime"] = created

    async def story() -> None:
        await store_task(world, row["jobId"], row["taskName"], "4915112345600", created=created)
        done = await replay(world, "groupCall.query")
        assert done["data"] == expected
        assert form(done["data"]) == form(sample["response"]["data"])

    world.run(story())


def test_an_update_is_taken_as_published(world: World) -> None:
    async def story() -> None:
        await world.next_id("template", 123)
        assert await world.template("published", "Good day.") == 123
        await store_task(world, 5, "1111", "4915112345600", created="2021-09-01 00:00:00")
        await store_flow(world, 299, 5, created="2021-09-01 00:00:00", rounds=3)
        done = await replay(world, "recallFlow.update")
        assert done["data"] is published("recallFlow.update")["response"]["data"] is None
        changed = await world.detail(299)
        assert (changed["recallType"], changed["recallInterval"], changed["recallNum"]) == (0, 30, 1)
        assert [node["scriptId"] for node in changed["nodeList"]] == [123]
        async with world.store.read() as tx:
            stored = await flows.detail(tx, 299)
        assert stored is not None
        assert stored.recall_intents == ["101"]

    world.run(story())


@pytest.mark.parametrize(
    ("name", "envelope"),
    [
        ("recallFlow.update", "code"),
        ("recallFlow.cancel", "code"),
        ("recallFlow.cancel.v3", "status"),
        ("groupCall.cancel", "code"),
    ],
)
def test_an_account_set_to_one_envelope_gets_the_published_answer(world: World, name: str, envelope: str) -> None:
    async def story() -> None:
        await world.next_id("template", 123)
        await world.template("published", "Good day.")
        for task_id, task_name, key in ((123, "a task", 12), (456, "another", 299)):
            await store_task(world, task_id, task_name, "4915112345600", created="2021-09-01 00:00:00")
            await store_flow(world, key, task_id, created="2021-09-01 00:00:00")
        async with world.store.write() as tx:
            await accounts.change(tx, world.account.id, time_zone=None, envelope=envelope, allowed_networks=None)
        expected = published(name)["response"] | DECIDED.get(name, {})
        done = await replay(world, name)
        assert done == expected
        assert form(done) == form(expected)

    world.run(story())


def test_a_page_under_v3_has_the_published_envelope(world: World) -> None:
    async def story() -> None:
        done = await replay(world, "recallFlow.queryPage.v3")
        expected = published("recallFlow.queryPage.v3")["response"] | DECIDED["recallFlow.queryPage.v3"]
        assert {name: done[name] for name in ("status", "reason")} == {
            name: expected[name] for name in ("status", "reason")
        }

    world.run(story())


def test_an_agent_task_is_taken_as_published(world: World) -> None:
    """The published body ends before its numbers and recallFlow; they are filled in."""
    sample = published("groupCall.send.agent")
    body = sample["request"]["body"]
    assert sample["response"] is None

    async def story() -> None:
        world.clock.set(int(sample["request"]["headers"]["Timestamp"]))
        await world.next_id("template", body["agentId"])
        await world.template("published", "Good day.")
        async with world.store.write() as tx:
            await tx.execute(
                update(application).where(application.c.account_id == world.account.id).values(app_id=body["appId"])
            )
        before = await world.contents()
        refused = await replay(world, "groupCall.send.agent")
        assert (refused["code"], refused["msg"]) == (-22, "numberInfoList: is missing")
        assert await world.contents() == before
        filled = body | {
            "numberInfoList": [{"calleeNumber": "8613242926514", "callInformation": {"name": "Li"}, "text1": "Li"}],
            "recallFlow": {"recallType": 1, "recallInterval": 30, "recallNum": 2, "nodeList": [{"scriptId": 110}]},
        }
        done = await world.post(sample["path"], filled)
        assert (done["code"], type(done["data"])) == (0, int)
        async with world.store.read() as tx:
            stored = await tasks.get(tx, done["data"])
        assert stored is not None
        assert (stored.name, stored.template_id, stored.caller_id) == ("test", 110, "123456")
        assert (stored.limits.call_seconds, stored.limits.ring_seconds, stored.limits.record) == (300, 60, True)
        assert stored.send_at == instant(body["sendTime"])
        assert len((await world.flow_of(done["data"]))["nodeList"]) == 2

    world.run(story())


def test_an_old_timestamp_is_refused_as_published(world: World) -> None:
    sample = published("error.timestampExpired")

    async def story() -> None:
        async with world.store.write() as tx:
            await accounts.change(tx, world.account.id, time_zone=None, envelope="status", allowed_networks=None)
        world.clock.set(int(sample["request"]["headers"]["Timestamp"]) + 86_400)
        refused = await world.post("/voice/recallFlow/queryDetail", content=b"", headers=sample["request"]["headers"])
        assert refused["status"] == sample["response"]["status"]
        assert isinstance(refused["reason"], str)
        assert refused.keys() == sample["response"].keys() | {"data"}

    world.run(story())
