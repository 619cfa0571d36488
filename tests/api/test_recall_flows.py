"""What becomes of right requests for a recall flow: made with its task, seen, listed, edited, cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringback.store import flows, tasks, templates
from ringback.store.database import News
from tests.api.vendor_world import ANSWERED, BUSY, PUBLISHED_SECONDS, World

SEND = "/voice/group/call/send/agent"
DETAIL = "/voice/recallFlow/queryDetail"
LIST = "/voice/recallFlow/queryPage"
EDIT = "/voice/recallFlow/update"
CANCEL = "/voice/recallFlow/cancel"
PERIOD = {"strTime": "2021-01-01 00:00:00", "endTime": "2021-12-31 23:59:59"}
NUMBERS = [{"calleeNumber": f"491511234560{number}"} for number in range(3)]


def keys(flow: dict[str, Any]) -> list[int]:
    return [node["keyId"] for node in flow["nodeList"]]


def states(flow: dict[str, Any]) -> tuple[int, list[int]]:
    return flow["status"], [node["nodeStatus"] for node in flow["nodeList"]]


def scripts(flow: dict[str, Any]) -> list[int]:
    return [node["scriptId"] for node in flow["nodeList"]]


async def listed(world: World, name: str | None = None, **more: Any) -> dict[str, Any]:
    """``data`` of the flow list."""
    tenant = more.pop("tenant", None)
    body = {"current": 1, "size": 100, "params": PERIOD | ({} if name is None else {"taskName": name})} | more
    done = await world.post(LIST, body, tenant=tenant)
    assert done["code"] == 0, done
    data = done["data"]
    assert isinstance(data, dict)
    return data


async def first_round(world: World, **changes: Any) -> tuple[int, dict[str, Any], int | None]:
    """A task that finished, and its flow with the first round running. Returns both ids and the round's task."""
    task_id, flow = await world.send_with_flow(numberInfoList=NUMBERS, **changes)
    await world.submit()
    await world.dial(BUSY, BUSY, ANSWERED)
    await world.clock.sleep(30 * 60)
    round_task = await world.start_next_round()
    return task_id, flow, round_task


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_a_flow_has_as_many_nodes_as_rounds_from_the_start(world: World, rounds: int) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow(recallFlow={"recallType": 0, "recallInterval": 1440, "recallNum": rounds})
        assert (flow["recallType"], flow["recallInterval"], flow["recallNum"]) == (0, 1440, rounds)
        assert states(flow) == (0, [0] * rounds)
        assert [node["taskId"] for node in flow["nodeList"]] == [None] * rounds
        assert sorted(set(keys(flow))) == keys(flow)
        assert scripts(flow) == [world.plain] * rounds

    world.run(story())


def test_the_last_node_s_template_repeats(world: World) -> None:
    async def story() -> None:
        for given, expected in (
            ([], [world.plain] * 3),
            ([world.greeting], [world.greeting] * 3),
            ([world.plain, world.greeting], [world.plain, world.greeting, world.greeting]),
            ([world.greeting, world.plain, world.greeting], [world.greeting, world.plain, world.greeting]),
        ):
            _, flow = await world.send_with_flow(
                taskName=f"task {len(given)}",
                numberInfoList=[NUMBERS[0] | {"text1": "Anna"}],
                recallFlow={
                    "recallType": 1,
                    "recallInterval": "30",
                    "recallNum": "3",
                    "nodeList": [{"scriptId": template_id} for template_id in given],
                },
            )
            assert scripts(flow) == expected

    world.run(story())


def test_a_refused_flow_makes_no_task(world: World) -> None:
    async def story() -> None:
        before = await world.contents()
        bad = {"recallType": 1, "recallInterval": 30, "recallNum": 1, "nodeList": [{"scriptId": world.foreign}]}
        assert (await world.post(SEND, world.task_body(recallFlow=bad)))["code"] == -22
        assert await world.contents() == before

    world.run(story())


def test_the_list_finds_by_a_part_of_the_name_or_the_whole_id(world: World) -> None:
    async def story() -> None:
        for number, name in enumerate(("Spring sale", "spring CLEANING", "100%_sure", "year 1234"), start=100):
            await world.next_id("task", number)
            await world.send_with_flow(taskName=name)
        await world.next_id("task", 1234)
        await world.send_with_flow(taskName="by id")
        await world.send(taskName="spring without flow")

        async def found(text: str | None) -> list[str]:
            return [row["taskName"] for row in (await listed(world, text))["records"]]

        everything = ["by id", "year 1234", "100%_sure", "spring CLEANING", "Spring sale"]
        assert await found(None) == await found("") == await found("  ") == everything
        assert await found("SPRING") == ["spring CLEANING", "Spring sale"]
        assert await found(" sale ") == ["Spring sale"]
        assert await found("100") == ["100%_sure", "Spring sale"]
        assert await found("10") == ["100%_sure"]
        assert await found("1234") == ["by id", "year 1234"]
        assert await found("234") == ["year 1234"]
        assert await found("%") == ["100%_sure"]
        assert await found("s_r") == []
        assert await found("9" * 30) == []
        assert await found("-100") == []
        (row,) = (await listed(world, "sale"))["records"]
        assert row["taskId"] == 100

    world.run(story())


def test_the_list_counts_finished_rounds(world: World) -> None:
    async def story() -> None:
        task_id, flow, _ = await first_round(world)
        (row,) = (await listed(world))["records"]
        assert row == {
            "keyId": flow["keyId"],
            "taskId": task_id,
            "taskName": "a task",
            "createTime": "2021-09-01 04:00:00",
            "recallType": 1,
            "recallInterval": 30,
            "recallNum": 2,
            "finishNum": 0,
            "status": 1,
        }
        await world.dial(BUSY, BUSY)
        (row,) = (await listed(world))["records"]
        assert (row["finishNum"], row["status"]) == (1, 1)

    world.run(story())


def test_pages_of_the_list(world: World) -> None:
    async def story() -> None:
        nothing = await listed(world, size=2)
        assert nothing == {"total": 0, "size": 2, "current": 1, "pages": 0, "records": []}
        for number in range(5):
            await world.send_with_flow(taskName=f"task {number}")
        pages = [await listed(world, "task", current=current, size=2) for current in (1, 2, 3, 4)]
        assert [[row["taskName"] for row in page["records"]] for page in pages] == [
            ["task 4", "task 3"],
            ["task 2", "task 1"],
            ["task 0"],
            [],
        ]
        assert {(page["total"], page["size"], page["pages"]) for page in pages} == {(5, 2, 3)}
        assert [page["current"] for page in pages] == [1, 2, 3, 4]

    world.run(story())


def test_times_are_in_the_account_s_zone(world: World) -> None:
    """It is 12:00:00 in Shanghai, and 04:00:00 in Greenwich."""

    async def story() -> None:
        there = await world.tenant("there", "there", "s", zone="Asia/Shanghai")
        world.clock.set(PUBLISHED_SECONDS + 0.999)
        await world.send_with_flow(tenant=there)

        async def between(start: str, end: str) -> list[str]:
            params = {"strTime": f"2021-09-01 {start}", "endTime": f"2021-09-01 {end}"}
            return [row["createTime"] for row in (await listed(world, tenant=there, params=params))["records"]]

        assert await between("12:00:00", "12:00:00") == ["2021-09-01 12:00:00"]
        assert await between("11:59:59", "11:59:59") == []
        assert await between("12:00:01", "23:59:59") == []
        assert await between("04:00:00", "04:00:00") == []

    world.run(story())


def test_an_edit_keeps_the_keys_of_the_positions_that_stay(world: World) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow(
            recallFlow={"recallType": 1, "recallInterval": 30, "recallNum": 3},
            numberInfoList=[{"calleeNumber": "4930123456", "text1": "Ada"}],
        )
        key, first = flow["keyId"], keys(flow)

        async def edited(**changes: Any) -> dict[str, Any]:
            body = {"keyId": key, "recallType": 1, "recallInterval": 30, "recallNum": 3} | changes
            done = await world.post(EDIT, body)
            assert (done["code"], done["data"]) == (0, None), done
            return await world.detail(key)

        longer = await edited(recallNum=5, nodeList=[{"scriptId": world.greeting}])
        assert keys(longer)[:3] == first
        assert scripts(longer) == [world.greeting] * 5
        shorter = await edited(recallNum=2, recallType=0, recallInterval=1)
        assert keys(shorter) == first[:2]
        assert scripts(shorter) == [world.plain] * 2, "without nodeList the parent's template holds again"
        assert (shorter["recallType"], shorter["recallInterval"], shorter["recallNum"]) == (0, 1, 2)
        again = await edited(recallNum=4)
        assert keys(again)[:2] == first[:2]
        assert set(keys(again)[2:]).isdisjoint(keys(longer)), "a key is never given twice"
        assert states(again) == (0, [0] * 4)

    world.run(story())


def test_every_number_must_have_the_texts_of_every_round(world: World) -> None:
    """A round's own template may use a variable that the parent's does not: at creation and in an edit."""

    async def story() -> None:
        asked = {"recallType": 1, "recallInterval": 30, "recallNum": 2}
        with_greeting = asked | {"nodeList": [{"scriptId": world.plain}, {"scriptId": world.greeting}]}
        numbers = [{"calleeNumber": "4930123456", "text1": "Ada"}, {"calleeNumber": "4930123457", "text2": '"text1":'}]
        refused = await world.post(SEND, world.task_body(recallFlow=with_greeting, numberInfoList=numbers))
        assert refused["code"] == -22
        assert "numberInfoList[1].text1" in refused["msg"]
        _, flow = await world.send_with_flow(recallFlow=asked, numberInfoList=numbers)
        before = await world.detail(flow["keyId"])
        refused = await world.post(EDIT, with_greeting | {"keyId": flow["keyId"]})
        assert refused["code"] == -22
        assert "nodeList" in refused["msg"]
        assert "text1" in refused["msg"]
        assert await world.detail(flow["keyId"]) == before

    world.run(story())


def test_an_edit_replaces_the_intents(world: World) -> None:
    async def story() -> None:
        flow_in = {"recallType": 0, "recallInterval": 30, "recallNum": 1, "recallIntent": ["101", 102, "101", "007"]}
        _, flow = await world.send_with_flow(recallFlow=flow_in)
        key = flow["keyId"]

        async def intents() -> list[str]:
            async with world.store.read() as tx:
                found = await flows.detail(tx, key)
            assert found is not None
            return found.recall_intents

        assert await intents() == ["101", "102", "007"]
        body = {"keyId": key, "recallType": 0, "recallInterval": 30, "recallNum": 1}
        await world.post(EDIT, body | {"recallIntent": ["109"]})
        assert await intents() == ["109"]
        await world.post(EDIT, body)
        assert await intents() == []

    world.run(story())


def test_an_edit_after_the_parent_s_end_moves_the_first_round(world: World) -> None:
    async def story() -> None:
        bell = world.store.subscribe(News.WORK)
        _, flow = await world.send_with_flow()
        async with asyncio.timeout(1):
            await bell.wait(None)
        await world.submit()
        await world.dial(BUSY)
        ended = world.clock.now_ms()
        await world.clock.sleep(60)
        body = {"keyId": flow["keyId"], "recallType": 1, "recallInterval": 5, "recallNum": 2}
        assert (await world.post(EDIT, body))["code"] == 0
        async with asyncio.timeout(1):
            await bell.wait(None)
        async with world.store.read() as tx:
            found = await flows.detail(tx, flow["keyId"])
        assert found is not None
        assert [node.due_at for node in found.nodes] == [ended + 5 * 60_000, None]

    world.run(story())


async def _completed(world: World) -> dict[str, Any]:
    _, flow, _ = await first_round(world)
    await world.dial(BUSY, BUSY)
    await world.clock.sleep(30 * 60)
    await world.start_next_round()
    await world.dial(BUSY, BUSY)
    return flow


async def _in_progress(world: World) -> dict[str, Any]:
    _, flow, _ = await first_round(world)
    return flow


async def _cancelled(world: World) -> dict[str, Any]:
    _, flow = await world.send_with_flow()
    await world.post(CANCEL, {"type": 1, "id": flow["keyId"]})
    return flow


async def _exception(world: World) -> dict[str, Any]:
    retired = await world.template("short-lived", "Good day.")
    _, flow = await world.send_with_flow(agentId=retired)
    async with world.store.write() as tx:
        await templates.retire(tx, retired, world.clock.now_ms())
    await world.submit()
    return flow


@pytest.mark.parametrize(
    ("reach", "status", "words"),
    [
        (_in_progress, 1, "in progress"),
        (_completed, 2, "completed"),
        (_cancelled, 3, "cancelled"),
        (_exception, 4, "exception"),
    ],
)
def test_a_flow_that_is_no_longer_pending_is_left_alone(world: World, reach: Any, status: int, words: str) -> None:
    async def story() -> None:
        flow = await reach(world)
        key = flow["keyId"]
        async with world.store.read() as tx:
            found = await flows.detail(tx, key)
        assert found is not None
        assert (await world.detail(key))["status"] == status
        before = await world.contents()
        body = {"keyId": key, "recallType": 0, "recallInterval": 1, "recallNum": 1}
        for path, asked, field, wish in (
            (EDIT, body, "keyId", "edited"),
            (CANCEL, {"type": 1, "id": key}, "id", "cancelled"),
            (CANCEL, {"type": 2, "id": found.parent_task_id}, "id", "cancelled"),
        ):
            done = await world.post(path, asked)
            assert (done["code"], done["msg"]) == (
                -22,
                f"{field}: recall flow {key} is {words}; only a pending one can be {wish}",
            )
        assert await world.contents() == before

    world.run(story())


@pytest.mark.parametrize("by", [1, 2])
def test_a_pending_flow_is_cancelled_whole(world: World, by: int) -> None:
    async def story() -> None:
        task_id, flow = await world.send_with_flow()
        _, neighbour = await world.send_with_flow(taskName="neighbour")
        done = await world.post(CANCEL, {"type": by, "id": flow["keyId"] if by == 1 else task_id})
        assert (done["code"], done["data"]) == (0, None)
        assert states(await world.detail(flow["keyId"])) == (3, [3, 3])
        assert states(await world.detail(neighbour["keyId"])) == (0, [0, 0])
        async with world.store.read() as tx:
            task = await tasks.get(tx, task_id)
        assert task is not None
        assert task.state == "waiting", "the parent task goes on"

    world.run(story())


def test_a_pending_flow_is_cancelled_from_a_node_on(world: World) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow(recallFlow={"recallType": 1, "recallInterval": 30, "recallNum": 3})
        first, second, third = keys(flow)
        assert (await world.post(CANCEL, {"type": 3, "id": second}))["code"] == 0
        assert states(await world.detail(flow["keyId"])) == (0, [0, 3, 3])
        for node in (second, third):
            done = await world.post(CANCEL, {"type": 3, "id": node})
            assert (done["code"], done["msg"]) == (
                -22,
                f"id: node {node} is cancelled; only a pending node can be cancelled",
            )
        assert (await world.post(CANCEL, {"type": 3, "id": first}))["code"] == 0
        assert states(await world.detail(flow["keyId"])) == (3, [3, 3, 3])

    world.run(story())


def test_a_running_flow_is_cancelled_from_a_pending_node_on(world: World) -> None:
    async def story() -> None:
        _, flow, round_task = await first_round(world)
        first, second = keys(flow)
        done = await world.post(CANCEL, {"type": 3, "id": first})
        assert (done["code"], done["msg"]) == (
            -22,
            f"id: node {first} is in progress; only a pending node can be cancelled",
        )
        assert (await world.post(CANCEL, {"type": 3, "id": second}))["code"] == 0
        running = await world.detail(flow["keyId"])
        assert states(running) == (1, [1, 3])
        assert running["nodeList"][0]["taskId"] == round_task
        await world.dial(BUSY, BUSY)
        assert states(await world.detail(flow["keyId"])) == (2, [2, 3])

    world.run(story())


def test_a_round_is_a_task_of_its_own(world: World) -> None:
    async def story() -> None:
        task_id, _, round_task = await first_round(world)
        body = {"current": 1, "size": 10, "params": PERIOD | {"taskType": 3}}
        rows = (await world.post("/voice/group/call/query", body))["data"]["records"]
        assert [(row["taskId"], row["taskName"], row["numCnt"]) for row in rows] == [
            (round_task, "a task-recall-1", 2),
            (task_id, "a task", 3),
        ]

    world.run(story())


def test_both_front_doors_lead_to_the_same_flows(world: World) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow()
        key = flow["keyId"]
        assert (await world.post("/v3" + DETAIL, {"keyId": key}))["data"] == flow
        page = {"current": 1, "size": 10, "params": PERIOD}
        assert (await world.post("/v3" + LIST, page))["data"] == (await world.post(LIST, page))["data"]
        body = {"keyId": key, "recallType": 0, "recallInterval": 7, "recallNum": 1}
        assert (await world.post("/v3" + EDIT, body))["code"] == 0
        assert (await world.detail(key))["recallInterval"] == 7
        assert (await world.post("/v3" + CANCEL, {"type": 1, "id": key}))["code"] == 0
        assert states(await world.detail(key)) == (3, [3])

    world.run(story())
