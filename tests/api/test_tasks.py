"""What becomes of a right request for a task: stored, listed, looked at, cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import select

from ringback.model.outcome import Outcome
from ringback.store import leases, tasks
from ringback.store.database import News
from ringback.store.schema import call
from tests.api.vendor_world import ANSWERED, BUSY, PUBLISHED_SECONDS, World

LIST = "/voice/group/call/query"
CANCEL = "/voice/group/call/cancel"
SEND = "/voice/group/call/send/agent"
PERIOD = {"strTime": "2021-01-01 00:00:00", "endTime": "2021-12-31 23:59:59"}


async def listed(world: World, *, current: int = 1, size: int = 100, **more: Any) -> dict[str, Any]:
    """``data`` of the task list."""
    tenant = more.pop("tenant", None)
    done = await world.post(LIST, {"current": current, "size": size, "params": PERIOD | more}, tenant=tenant)
    assert done["code"] == 0, done
    data = done["data"]
    assert isinstance(data, dict)
    return data


async def names(world: World, **more: Any) -> list[str]:
    return [row["taskName"] for row in (await listed(world, **more))["records"]]


async def status(world: World, task_id: int) -> int:
    done = await world.get(f"/voice/group/call/detail/{task_id}")
    found = done["data"]["status"]
    assert isinstance(found, int)
    return found


def test_a_task_is_stored_as_asked_for(world: World) -> None:
    async def story() -> None:
        task_id = await world.send(
            taskName="  all of it ",
            agentId=world.greeting,
            displayNum="4930123",
            numberInfoList=[
                {"calleeNumber": "+4915112345600", "text1": "x" * 31, "text2": ""},
                {"calleeNumber": 4915112345601, "text1": "Zoë", "text10": None},
            ],
            maxCalls=40,
            maxRingingTime=20,
            sendTime="2021-09-02 00:00:00",
            allowSendTime=[{"strTime": "09:00", "endTime": "12:30"}, {"strTime": "22:00", "endTime": "6:00"}],
            calloutRate=2,
        )
        async with world.store.read() as tx:
            task = await tasks.get(tx, task_id)
            rows = (await tx.execute(select(call.c.callee, call.c.texts).order_by(call.c.id))).all()
        assert task is not None
        assert (task.name, task.template_id, task.caller_id) == ("all of it", world.greeting, "4930123")
        assert task.send_at == (PUBLISHED_SECONDS + 20 * 3600) * 1000
        assert (task.limits.call_seconds, task.limits.ring_seconds, task.limits.callout_rate) == (40, 20, 2)
        assert [(window.start, window.end) for window in task.limits.windows] == [(540, 750), (1320, 360)]
        assert [(row.callee, json.loads(row.texts)) for row in rows] == [
            ("4915112345600", {"text1": "x" * 30, "text2": ""}),
            ("4915112345601", {"text1": "Zoë"}),
        ]

    world.run(story())


def test_the_template_may_be_named_either_way(world: World) -> None:
    async def story() -> None:
        for number, ids in enumerate(({"agentId": 1}, {"agentId": ..., "scriptId": 1}, {"scriptId": 1})):
            task_id = await world.send(taskName=f"task {number}", **ids)
            detail = await world.get(f"/voice/group/call/detail/{task_id}")
            assert detail["data"]["scriptId"] == world.plain == 1

    world.run(story())


def test_a_recording_can_be_asked_for(world: World) -> None:
    async def story() -> None:
        done = await world.post(SEND, world.task_body(enableRecording=1))
        assert (done["code"], type(done["data"])) == (0, int)
        assert "warning" not in done
        async with world.store.read() as tx:
            task = await tasks.get(tx, done["data"])
        assert task is not None
        assert task.limits.record

    world.run(story())


def test_the_roles_hear_of_a_new_task_and_of_a_cancelled_one(world: World) -> None:
    async def story() -> None:
        bell = world.store.subscribe(News.WORK)
        task_id = await world.send()
        async with asyncio.timeout(1):
            await bell.wait(None)
        await world.post(CANCEL, {"taskIdList": [task_id]})
        async with asyncio.timeout(1):
            await bell.wait(None)

    world.run(story())


def test_the_two_forms_of_the_list(world: World) -> None:
    async def story() -> None:
        task_id = await world.send()
        common = {"taskName", "status", "rate", "numCnt", "callNum", "success", "fail", "createdTime"}
        (of_agents,) = (await listed(world, taskType=3))["records"]
        assert of_agents.keys() == common | {"taskId", "scriptId"}
        assert (of_agents["taskId"], of_agents["scriptId"]) == (task_id, world.plain)
        (of_voice,) = (await listed(world))["records"]
        assert of_voice.keys() == common | {"jobId"}
        assert of_voice["jobId"] == task_id
        assert (await listed(world, taskType="3"))["records"] == [of_agents]

    world.run(story())


def test_filters_of_the_list(world: World) -> None:
    async def story() -> None:
        await world.send(taskName="alpha one")
        await world.send(taskName="Alpha TWO", sendTime="2021-12-01 00:00:00")
        await world.send(taskName="100%_sure", sendTime="2021-12-01 00:00:00")
        await world.submit()
        both = ["100%_sure", "Alpha TWO"]
        assert await names(world) == [*both, "alpha one"]
        assert await names(world, statusList=[]) == [*both, "alpha one"]
        assert await names(world, statusList=None) == [*both, "alpha one"]
        assert await names(world, statusList=[0]) == both
        assert await names(world, statusList=[1]) == ["alpha one"]
        assert await names(world, statusList=["0", 1, 1]) == [*both, "alpha one"]
        assert await names(world, statusList=[2, 3, 4, 5, 6]) == []
        assert await names(world, searchCondition="ALPHA") == ["Alpha TWO", "alpha one"]
        assert await names(world, searchCondition=" one ") == ["alpha one"]
        assert await names(world, searchCondition="%") == ["100%_sure"]
        assert await names(world, searchCondition="0%_s") == ["100%_sure"]
        assert await names(world, searchCondition="a%o") == []
        assert await names(world, searchCondition="' OR 1=1 --") == []
        assert await names(world, searchCondition="a\0") == []
        assert await names(world, idxAppId=world.application_id) == [*both, "alpha one"]
        assert await names(world, idxAppId=4711) == []
        assert await names(world, idxAppId=4711, searchCondition="alpha") == []

    world.run(story())


def test_pages_of_the_list(world: World) -> None:
    async def story() -> None:
        nothing = await listed(world, size=2)
        assert nothing == {"total": 0, "size": 2, "current": 1, "pages": 0, "records": []}
        for number in range(5):
            await world.send(taskName=f"task {number}")
        pages = [await listed(world, current=current, size=2) for current in (1, 2, 3, 4)]
        assert [[row["taskName"] for row in page["records"]] for page in pages] == [
            ["task 4", "task 3"],
            ["task 2", "task 1"],
            ["task 0"],
            [],
        ]
        assert [(page["total"], page["size"], page["current"], page["pages"]) for page in pages] == [
            (5, 2, 1, 3),
            (5, 2, 2, 3),
            (5, 2, 3, 3),
            (5, 2, 4, 3),
        ]
        assert (await listed(world, size=5))["pages"] == 1
        assert (await listed(world, size=100))["pages"] == 1
        assert (await listed(world, current=2**31 - 1, size=100))["records"] == []

    world.run(story())


def test_times_are_in_the_account_s_zone(world: World) -> None:
    """It is 12:00:00 in Shanghai, and 04:00:00 in Greenwich."""

    async def story() -> None:
        there = await world.tenant("there", "there", "s", zone="Asia/Shanghai")
        world.clock.set(PUBLISHED_SECONDS + 0.999)
        task_id = await world.send(tenant=there, sendTime="2021-09-01 13:00:00")
        async with world.store.read() as tx:
            task = await tasks.get(tx, task_id)
        assert task is not None
        assert task.send_at == (PUBLISHED_SECONDS + 3600) * 1000
        detail = (await world.get(f"/voice/group/call/detail/{task_id}", tenant=there))["data"]
        assert (detail["createdTime"], detail["sendTime"]) == ("2021-09-01 12:00:00", "2021-09-01 13:00:00")
        assert detail["finishTime"] is None

        async def between(start: str, end: str) -> int:
            page = await listed(world, tenant=there, strTime=f"2021-09-01 {start}", endTime=f"2021-09-01 {end}")
            assert all(row["createdTime"] == "2021-09-01 12:00:00" for row in page["records"])
            return len(page["records"])

        # Both ends belong to the period, to the last millisecond of their second.
        assert await between("12:00:00", "12:00:00") == 1
        assert await between("11:59:59", "11:59:59") == 0
        assert await between("12:00:01", "23:59:59") == 0
        assert await between("04:00:00", "04:00:00") == 0
        assert await between("13:00:00", "11:00:00") == 0

    world.run(story())


def test_a_task_has_the_voice_pages_figures(world: World) -> None:
    async def story() -> None:
        task_id = await world.send(
            taskName="figures",
            displayNum="4930123",
            numberInfoList=[{"calleeNumber": f"491511234560{number}"} for number in range(6)],
            maxCalls=40,
            sendTime="2021-09-01 03:00:00",
        )
        await world.submit()
        await world.clock.sleep(60)
        await world.dial(ANSWERED | {"talk_ms": 10_500}, {"outcome": Outcome.VOICEMAIL, "talk_ms": 4_600}, BUSY)
        before = (await world.get(f"/v3/voice/group/call/detail/{task_id}"))["data"]
        assert before == {
            "jobId": task_id,
            "taskName": "figures",
            "displayNum": "4930123",
            "text": None,
            "status": 1,
            "rate": "50",
            "numCnt": 6,
            "chargeLen": 0,
            "success": 2,
            "fail": 1,
            "toseatNum": 0,
            "successRate": "66.67",
            "toseatNumRate": "0",
            "sendTime": "2021-09-01 03:00:00",
            "createdTime": "2021-09-01 04:00:00",
            "mdfTime": before["mdfTime"],
            "finishTime": None,
            "appId": "default",
            "source": None,
            "voiceFileId": None,
            "calloutRate": 1,
            "keyFeedbackNum": 0,
            "uploadName": None,
            "lan": None,
            "callDuration": 15,
            "maxCalls": 40,
            "loopCount": None,
            "callTotal": 3,
            "acd": 7,
            "scriptId": world.plain,
        }
        await world.dial(BUSY, BUSY, BUSY)
        after = (await world.get(f"/voice/group/call/detail/{task_id}"))["data"]
        assert (after["status"], after["rate"], after["successRate"]) == (2, "100", "33.33")
        assert (after["finishTime"], after["mdfTime"]) == ("2021-09-01 04:01:00", "2021-09-01 04:01:00")
        (row,) = (await listed(world, taskType=3))["records"]
        assert (row["rate"], row["numCnt"], row["callNum"], row["success"], row["fail"]) == ("100", 6, 6, 2, 4)

    world.run(story())


def test_all_named_tasks_are_cancelled_or_none(world: World) -> None:
    async def story() -> None:
        finished = await world.send(taskName="finished")
        await world.submit()
        await world.dial(BUSY)
        waiting = await world.send(taskName="waiting", sendTime="2021-12-01 00:00:00")
        calling, flow = await world.send_with_flow(taskName="calling")
        await world.submit()
        foreign = await world.send(tenant=world.other)
        before = await world.contents()
        for bad, code, message in (
            ([finished], -54, f"taskIdList: task {finished} is finished and cannot be cancelled"),
            ([foreign], -24, f"taskIdList: there is no task {foreign}"),
            ([4711], -24, "taskIdList: there is no task 4711"),
            ([2**63 - 1], -24, "taskIdList: there is no task 9223372036854775807"),
            ([calling] * 999, -23, "taskIdList: holds 1001 tasks, at most 1000"),
        ):
            done = await world.post(CANCEL, {"taskIdList": [waiting, calling, *bad]})
            assert (done["code"], done["msg"]) == (code, message)
            assert await world.contents() == before
        done = await world.post(CANCEL, {"taskIdList": [waiting, calling, waiting, str(calling)]})
        assert (done["code"], done["data"]) == (0, None)
        assert [await status(world, task_id) for task_id in (waiting, calling, finished)] == [4, 4, 2]
        assert (await world.detail(flow["keyId"]))["status"] == 3
        again = await world.post(CANCEL, {"taskIdList": [waiting]})
        assert (again["code"], again["msg"]) == (
            -54,
            f"taskIdList: task {waiting} is cancelled and cannot be cancelled",
        )

    world.run(story())


def test_of_equal_requests_at_the_same_time_one_makes_a_task(world: World) -> None:
    async def story() -> None:
        flow = {"recallType": 1, "recallInterval": 30, "recallNum": 2}
        sent = [world.post(SEND, world.task_body(recallFlow=flow)) for _ in range(5)]
        answers = await asyncio.gather(*sent)
        assert sorted(answer["code"] for answer in answers) == [-20, -20, -20, -20, 0]
        stored = await world.contents()
        assert [len(stored[table]) for table in ("task", "call", "flow", "node")] == [1, 1, 1, 2]

    world.run(story())


def test_a_cancelled_task_frees_no_name(world: World) -> None:
    async def story() -> None:
        task_id = await world.send(taskName="once")
        await world.post(CANCEL, {"taskIdList": [task_id]})
        assert (await world.post(SEND, world.task_body(taskName="once")))["code"] == -20

    world.run(story())


def test_a_cancellation_returns_when_no_call_can_leave_any_more(world: World) -> None:
    """A leased call may leave until its slot; the clock has reached that instant when the answer comes."""

    async def story() -> None:
        task_id = await world.send()
        await world.submit()
        async with world.store.write() as tx:
            batch = await leases.lease(
                tx,
                worker_id=world.worker_id,
                lease_no=1,
                engine="sandbox",
                now_us=world.clock.now_us(),
                horizon_us=0,
                grace_us=750_000,
                free_lines=1,
            )
        assert len(batch.leases) == 1
        start = world.clock.now_ms()
        assert (await world.post(CANCEL, {"taskIdList": [task_id]}))["code"] == 0
        assert world.clock.now_ms() - start >= 750

    world.run(story())


@pytest.mark.parametrize("prefix", ["/voice", "/v3/voice"])
def test_both_front_doors_lead_to_the_same_tasks(world: World, prefix: str) -> None:
    async def story() -> None:
        done = await world.post(f"{prefix}/group/call/send/agent", world.task_body())
        assert done["code"] == 0
        body = {"current": 1, "size": 10, "params": PERIOD | {"taskType": 3}}
        page = await world.post(f"{prefix}/group/call/query", body)
        assert [row["taskId"] for row in page["data"]["records"]] == [done["data"]]
        detail = await world.get(f"{prefix}/group/call/detail/{done['data']}")
        assert detail["data"]["jobId"] == done["data"]
        assert (await world.post(f"{prefix}/group/call/cancel", {"taskIdList": [done["data"]]}))["code"] == 0

    world.run(story())
