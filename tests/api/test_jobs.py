"""The older AI voice jobs at the door."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.store import templates
from tests.api.test_published import published, replay
from tests.api.test_voice_tasks import rename_application
from tests.api.vendor_world import ANSWERED, BUSY, World

NUMBERS = [{"calledPhoneNumber": f"49151123456{one:02}"} for one in range(3)]
RECORDS = {"appId": "default", "startTime": "2021-09-01 00:00:00", "endTime": "2021-09-02 00:00:00"}


def body(world: World, **changes: Any) -> dict[str, Any]:
    right = {"appId": "default", "name": "a job", "dialogFlowId": world.plain, "robotCount": 10}
    return {name: value for name, value in (right | changes).items() if value is not ...}


async def make(world: World, **changes: Any) -> int:
    done = await world.post("/aivoice/taskAdd", body(world, **changes))
    assert done["code"] == 0, done
    return int(done["data"])


async def act(world: World, operation: str, job_id: int, **more: Any) -> dict[str, Any]:
    done: dict[str, Any] = await world.post(f"/v3/aivoice/{operation}", {"jobId": job_id, **more})
    return done


async def listed(world: World, **params: Any) -> list[dict[str, Any]]:
    done = await world.post("/aivoice/taskList", {"current": 1, "size": 10, "params": {"appId": "default"} | params})
    assert done["code"] == 0, done
    records: list[dict[str, Any]] = done["data"]["records"]
    return records


async def records(world: World, **params: Any) -> list[dict[str, Any]]:
    asked = {"current": 1, "size": 10, "params": RECORDS | params}
    done = await world.post("/aivoice/recordQuery", asked)
    assert done["code"] == 0, done
    found: list[dict[str, Any]] = done["data"]["records"]
    return found


def test_a_job_from_its_making_to_its_records(world: World) -> None:
    """The clock stands at 04:00 UTC: 06:00 in Berlin, so the job waits for 09:00 there."""

    async def story() -> None:
        job_id = await make(world, redial=True, redialCondition=["BUSY"], redialInterval=5, redialTimes=2)
        done = await act(
            world, "importCustomer", job_id, customerList=[*NUMBERS[:2], NUMBERS[0] | {"customerPersonName": "Ann"}]
        )
        assert done["data"] == {"added": 2, "repeated": [NUMBERS[0]["calledPhoneNumber"]]}
        (job,) = await listed(world)
        assert job == {
            "jobId": job_id,
            "name": "a job",
            "dialogFlowName": "plain",
            "jobPhoneNumberName": None,
            "robotCount": 10,
            "mode": "MANUAL",
            "hangupSms": False,
            "taskTotal": 2,
            "taskCompleted": 0,
            "status": "NOT_STARTED",
            "isDialogFlowUnbind": False,
            "createTime": "2021-09-01 04:00:00",
        }
        assert (await act(world, "taskStart", job_id))["code"] == 0
        await world.submit()
        await world.clock.sleep(3 * 3600)
        await world.dial(ANSWERED | {"talk_ms": 8_000, "intent": "101"}, BUSY)
        busy, answered = sorted(await records(world), key=lambda one: one["keyId"], reverse=True)
        assert (answered["resultStatus"], answered["chatDuration"], answered["redialTimes"]) == ("ANSWERED", 8, 0)
        assert (answered["intentLevelDetailName"], answered["callJobId"]) == ("101", job_id)
        assert busy["resultStatus"] == "BUSY"
        (job,) = await listed(world, name="JOB")
        assert (job["taskTotal"], job["taskCompleted"], job["status"]) == (2, 1, "RUNNING")
        assert await records(world, jobId=4711) == []

    world.run(story())


def test_numbers_are_listed_and_taken_out_until_they_are_called(world: World) -> None:
    async def story() -> None:
        job_id = await make(world)
        await act(world, "importCustomer", job_id, customerList=NUMBERS)
        waiting = await act(world, "taskNoCall", job_id, current=1, size=2)
        assert waiting["data"]["total"] == 3
        assert waiting["data"]["records"] == NUMBERS[:2]
        done = await act(
            world, "importCustomer/del", job_id, calledPhoneNumberList=[NUMBERS[1]["calledPhoneNumber"], "491599999999"]
        )
        assert done["data"] == 1
        waiting = await act(world, "taskNoCall", job_id, current=1, size=10)
        assert waiting["data"]["records"] == [NUMBERS[0], NUMBERS[2]]

    world.run(story())


def test_a_job_is_stopped_edited_goes_on_and_is_deleted(world: World) -> None:
    async def story() -> None:
        job_id = await make(world, mode="AUTO")
        await act(world, "importCustomer", job_id, customerList=NUMBERS)
        assert (await listed(world))[0]["status"] == "RUNNING"
        running = await world.post("/aivoice/taskEdit", body(world, name="other") | {"jobId": job_id})
        assert (running["code"], running["msg"]) == (
            -21,
            f"jobId: job {job_id} is running; only one that does not run can be edited",
        )
        assert (await act(world, "taskStop", job_id))["code"] == 0
        again = await act(world, "taskStop", job_id)
        assert (again["code"], again["msg"]) == (-21, f"jobId: job {job_id} is paused and cannot be paused")
        edited = await world.post("/aivoice/taskEdit", body(world, name="other", robotCount=2) | {"jobId": job_id})
        assert edited["code"] == 0
        (job,) = await listed(world)
        assert (job["name"], job["robotCount"], job["status"], job["taskTotal"]) == ("other", 2, "PAUSED", 3)
        assert (await act(world, "taskStart", job_id))["code"] == 0
        assert (await act(world, "taskDel", job_id))["code"] == 0
        assert await listed(world) == []
        gone = await act(world, "taskStart", job_id)
        assert (gone["code"], gone["msg"]) == (-24, f"jobId: there is no job {job_id}")
        assert await make(world, name="other") != job_id, "its name is free again"

    world.run(story())


def test_lists_to_choose_from(world: World) -> None:
    async def story() -> None:
        flows = (await world.post("/aivoice/dialogFlowList", {"appId": "default"}))["data"]
        assert flows == [
            {"dialogFlowId": world.plain, "dialogFlowName": "plain"},
            {"dialogFlowId": world.greeting, "dialogFlowName": "greeting"},
        ]
        channels = (await world.post("/aivoice/channelList", {"appId": "default"}))["data"]
        assert channels == [{"jobPhoneNumberId": 1, "jobPhoneNumberName": "t"}]
        asked = {"appId": "default", "dialogFlowId": world.greeting}
        assert (await world.post("/aivoice/properties", asked))["data"] == ["text1"]

    world.run(story())


def test_a_number_has_the_properties_that_the_template_uses(world: World) -> None:
    async def story() -> None:
        async with world.store.write() as tx:
            stored = await templates.get(tx, world.greeting)
        assert stored is not None
        job_id = await make(world, dialogFlowId=world.greeting)
        lacking = await act(world, "importCustomer", job_id, customerList=NUMBERS[:1])
        assert lacking["msg"] == (
            "customerList: 1 of the numbers cannot be used: customerList[0].text1 is missing, and the template uses it"
        )
        right = [NUMBERS[0] | {"properties": {"text1": "Ann", "city": "Rome"}, "customerPersonName": "Ann B"}]
        assert (await act(world, "importCustomer", job_id, customerList=right))["data"]["added"] == 1

    world.run(story())


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"appId": "nope"}, -37, "appId: there is no application 'nope'"),
    ({"appId": ...}, -22, "appId: is missing"),
    ({"name": ...}, -22, "name: is missing"),
    ({"name": "a"}, -22, "name: must have 2 to 64 characters"),
    ({"dialogFlowId": 4711}, -22, "dialogFlowId: there is no agent template 4711"),
    ({"robotCount": 0}, -22, "robotCount: must be 1 to 10000"),
    ({"robotCount": ...}, -22, "robotCount: is missing"),
    ({"mode": "auto"}, -22, "mode: must be MANUAL or AUTO, got 'auto'"),
    ({"jobPhoneNumberId": 4711}, -22, "jobPhoneNumberId: there is no channel 4711"),
    ({"startDateTime": "soon"}, -22, "startDateTime: must be a time"),
    ({"startDateTime": "2022-01-02 00:00:00", "endDateTime": "2022-01-01 00:00:00"}, -22, "endDateTime: is not after"),
    ({"dailyStartDateTime": "08:59"}, -22, "dailyStartDateTime: must not be before 09:00"),
    ({"dailyEndDateTime": "20:01"}, -22, "dailyEndDateTime: must be after the start and not after 20:00"),
    ({"dailyStartDateTime": "12:00", "dailyEndDateTime": "11:00"}, -22, "dailyEndDateTime: must be after the start"),
    ({"dailyStartDateTime": "noon"}, -22, "dailyStartDateTime:"),
    ({"inactiveTimeList": [{"startTime": "12:00", "endTime": "13:00"}] * 4}, -22, "inactiveTimeList: has 4 periods"),
    ({"inactiveTimeList": [{"startTime": "12", "endTime": "13:00"}]}, -22, "inactiveTimeList[0]:"),
    ({"inactiveDateList": [{"startDate": "2022-01-01", "endDate": "2022-01-01"}] * 4}, -22, "inactiveDateList: has 4"),
    ({"inactiveDateList": [{"startDate": "2022-01-02", "endDate": "2022-01-01"}]}, -22, "inactiveDateList[0]: must be"),
    ({"inactiveDateList": [{"startDate": "x", "endDate": "y"}]}, -22, "inactiveDateList[0]: must be two dates"),
    ({"daysOfWeek": [8]}, -22, "daysOfWeek[0]: must be 1 to 7"),
    ({"daysOfWeek": [0]}, -22, "daysOfWeek[0]: must be 1 to 7"),
    ({"redial": True}, -22, "redialCondition: must hold at least one"),
    ({"redial": True, "redialCondition": ["TIRED"]}, -22, "redialCondition[0]: must be one of ANSWERED"),
    ({"redial": True, "redialCondition": ["BUSY"]}, -22, "redialTimes: is missing"),
    ({"redial": True, "redialCondition": ["BUSY"], "redialTimes": 1}, -22, "redialInterval: is missing"),
    (
        {"redial": True, "redialCondition": ["BUSY"], "redialTimes": 11, "redialInterval": 1},
        -22,
        "redialTimes: must be",
    ),
    ({"redial": True, "redialCondition": ["BUSY"], "redialTimes": 1, "redialInterval": 0}, -22, "redialInterval: must"),
]


@pytest.mark.parametrize(("changes", "code", "message"), REFUSED, ids=[message[:50] for _, _, message in REFUSED])
def test_refused_jobs_store_nothing(world: World, changes: dict[str, Any], code: int, message: str) -> None:
    async def story() -> None:
        before = await world.contents()
        done = await world.post("/aivoice/taskAdd", body(world, **changes))
        assert (done["code"], done["msg"][: len(message)]) == (code, message), done["msg"]
        assert await world.contents() == before

    world.run(story())


def test_other_refusals(world: World) -> None:
    async def story() -> None:
        job_id = await make(world)
        theirs = await world.post("/aivoice/taskStart", {"jobId": job_id}, tenant=world.other)
        assert (theirs["code"], theirs["msg"]) == (-24, f"jobId: there is no job {job_id}")
        for operation, more, code, message in (
            ("taskStop", {}, -21, f"jobId: job {job_id} is not_started and cannot be paused"),
            ("importCustomer", {"customerList": []}, -22, "customerList: must hold at least one number"),
            ("importCustomer", {"customerList": [{"calledPhoneNumber": "1"}]}, -22, "customerList: 1 of the numbers"),
            (
                "importCustomer",
                {"customerList": [NUMBERS[0] | {"properties": {"a b": "c"}}]},
                -22,
                "customerList[0].properties: names have",
            ),
            ("importCustomer/del", {"calledPhoneNumberList": ["x"]}, -22, "calledPhoneNumberList[0]: may hold digits"),
            ("taskNoCall", {"current": 0, "size": 1}, -22, "current: must be 1"),
        ):
            done = await act(world, operation, job_id, **more)
            assert (done["code"], done["msg"][: len(message)]) == (code, message)
        again = await world.post("/aivoice/taskAdd", body(world))
        assert (again["code"], again["msg"]) == (-20, "name: a job named 'a job' exists already")
        wrong = {"current": 1, "size": 1, "params": RECORDS | {"endTime": "2021-11-01 00:00:00"}}
        assert (await world.post("/aivoice/recordQuery", wrong))["msg"].startswith("params.endTime: is more than 31")

    world.run(story())


@pytest.mark.parametrize(("missing", "code"), [("Sign", -57), ("Timestamp", -58), ("Api-Key", -59)])
def test_a_header_that_is_missing_has_a_code_of_its_own(world: World, missing: str, code: int) -> None:
    async def story() -> None:
        headers = {name: value for name, value in world.headers().items() if name != missing}
        done = await world.post("/aivoice/taskList", {}, headers=headers)
        assert (done["code"], done["status"]) == (code, str(code))
        old = await world.post("/aivoice/taskList", {}, headers=world.headers(seconds=1))
        assert old["code"] == -4

    world.run(story())


def test_the_published_requests(world: World) -> None:
    async def story() -> None:
        async with world.store.write() as tx:
            await rename_application(
                tx, world.application_id, published("aivoice.taskList")["request"]["body"]["params"]["appId"]
            )
        assert (await replay(world, "aivoice.taskList"))["data"]["records"] == []
        assert (await replay(world, "aivoice.recordQuery"))["data"]["records"] == []

    world.run(story())
