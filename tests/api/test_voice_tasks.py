"""Voice tasks: made, edited while they wait, called again; their rounds; messages after calls; phones."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from ringback.model.hang_up_sms import HangUpSms
from ringback.model.report import Form
from ringback.model.task import TaskKind
from ringback.model.template import Gather, Play, Say, Template
from ringback.store import phones, report_endpoints, tasks, templates
from ringback.store.phones import NewPhone
from tests.api.test_published import form, published
from tests.api.vendor_world import ANSWERED, BUSY, World
from tests.voice.test_transcode import tone

SEND, UPDATE, RESEND = "/voice/group/call/send", "/voice/group/call/update", "/voice/group/call/resend"
WAV = base64.b64encode(tone(0.5, rate=8_000, channels=1)).decode()
SPEECH = {"source": 3, "text": "Hello ${text1}", "lan": "EN"}
NUMBERS = [{"calleeNumber": f"49151123456{one:02}", "text1": "Ann"} for one in range(3)]


def body(**changes: Any) -> dict[str, Any]:
    right = {"appId": "default", "taskName": "a voice task", "numberInfoList": NUMBERS, **SPEECH}
    return {name: value for name, value in (right | changes).items() if value is not ...}


async def provider(world: World) -> None:
    async with world.store.write() as tx:
        await report_endpoints.add(
            tx,
            account_id=world.account.id,
            application_id=None,
            url="http://sms",
            form=Form.SMS,
            secret="",
            events=[],
            now_ms=world.clock.now_ms(),
        )


async def seats(world: World) -> int:
    """A group of two phones."""
    async with world.store.write() as tx:
        return await phones.add_group(
            tx,
            world.application_id,
            name="team",
            caller_id="",
            phones=[NewPhone(name=f"p{one}", login=f"5000{one}", ha1="0" * 32) for one in range(2)],
            now_ms=world.clock.now_ms(),
        )


async def send(world: World, **changes: Any) -> int:
    done = await world.post(SEND, body(**changes))
    assert done["code"] == 0, done
    return int(done["data"])


async def stored(world: World, task_id: int) -> tuple[tasks.Task, Template]:
    async with world.store.read() as tx:
        task = await tasks.get(tx, task_id)
        assert task is not None
        template = await templates.get(tx, task.template_id)
        assert template is not None
        return task, template.template


async def upload(world: World, name: str = "hello.wav") -> str:
    done = await world.post("/voice/fileUpload", {"fileName": name, "file": WAV})
    assert done["code"] == 0, done
    return str(done["data"])


def test_a_text_is_spoken_as_often_as_asked(world: World) -> None:
    async def story() -> None:
        task_id = await send(world, loopCount=3, maxCalls=40, maxRingingTime=30, displayNum="4930123", ssmlGender=2)
        task, template = await stored(world, task_id)
        assert (task.kind, task.total, task.caller_id) == (TaskKind.VOICE, 3, "4930123")
        assert (task.limits.call_seconds, task.limits.ring_seconds) == (40, 30)
        assert [step for step in template.nodes["start"] if isinstance(step, Say)] == [Say("Hello ${text1}")] * 3
        detail = (await world.get(f"/v3/voice/group/call/detail/{task_id}"))["data"]
        shown = (detail["source"], detail["text"], detail["lan"], detail["loopCount"])
        assert shown == (3, "Hello ${text1}", "EN", 3)
        listed = {
            "current": 1,
            "size": 10,
            "params": {"strTime": "2021-01-01 00:00:00", "endTime": "2022-01-01 00:00:00"},
        }
        (record,) = (await world.post("/v3/voice/group/call/query", listed))["data"]["records"]
        assert (record["jobId"], record["numCnt"]) == (task_id, 3)
        listed["params"] |= {"taskType": 3}  # type: ignore[operator]  # test data
        assert (await world.post("/voice/group/call/query", listed))["data"]["total"] == 0

    world.run(story())


def test_a_file_is_played_whether_it_was_there_or_came_with_the_request(world: World) -> None:
    async def story() -> None:
        file_id = await upload(world)
        known = await send(world, source=1, text=..., lan=..., voiceFileId=file_id)
        came = await send(world, taskName="another", source=2, text=..., lan=..., uploadName="other.wav", baseFile=WAV)
        again = await send(world, taskName="third", source=1, text=..., lan=..., voiceFileId=file_id)
        plays = []
        for task_id in (known, came, again):
            task, template = await stored(world, task_id)
            (step,) = template.nodes["start"]
            assert isinstance(step, Play)
            plays.append((task.template_id, step.file))
            async with world.store.read() as tx:
                audio = await templates.audio_of(tx, task.template_id)
            assert len(audio[step.file]) == 8_000
        assert plays[0] == plays[2], "equal nodes share a template"
        assert plays[0] != plays[1]
        files = (await world.post("/voice/fileQuery", {}))["data"]["records"]
        assert [one["fileName"] for one in files] == ["other.wav", "hello.wav"]
        detail = (await world.get(f"/voice/group/call/detail/{came}"))["data"]
        assert (detail["source"], detail["uploadName"], detail["voiceFileId"]) == (2, "other.wav", plays[1][1])

    world.run(story())


def test_the_older_list_of_numbers(world: World) -> None:
    async def story() -> None:
        task_id = await send(
            world, numberInfoList=..., numberList=["4915112345600", 4915112345601, "4915112345600"], text="Hello"
        )
        assert (await stored(world, task_id))[0].total == 2

    world.run(story())


def test_a_voice_task_has_rounds_of_voice_nodes(world: World) -> None:
    async def story() -> None:
        file_id = await upload(world)
        flow = {
            "recallType": 1,
            "recallInterval": 30,
            "recallNum": 3,
            "nodeList": [{"source": 1, "voiceFileId": file_id}, {"source": 3, "text": "Again", "lan": "EN"}],
        }
        task_id = await send(world, recallFlow=flow)
        detail = await world.flow_of(task_id)
        assert [node["source"] for node in detail["nodeList"]] == [1, 3, 3]
        assert [node.get("voiceFileId") for node in detail["nodeList"]] == [file_id, None, None]
        assert all("scriptId" not in node for node in detail["nodeList"])
        await world.submit()
        await world.dial(BUSY, ANSWERED, BUSY)
        await world.clock.sleep(1800)
        child = await world.start_next_round()
        assert child is not None
        task, template = await stored(world, child)
        assert (task.kind, task.total, template.nodes["start"]) == (TaskKind.VOICE, 2, [Play(file_id)])

    world.run(story())


def test_a_pending_flow_gets_voice_nodes(world: World) -> None:
    async def story() -> None:
        _, flow = await world.send_with_flow()
        change = {"keyId": flow["keyId"], "recallType": 0, "recallInterval": 5, "recallNum": 1}
        done = await world.post(
            "/v3/voice/recallFlow/update",
            change | {"nodeList": [{"source": 3, "text": "Hi", "lan": "EN", "hangUpSms": 0}]},
        )
        assert done["code"] == 0, done
        (node,) = (await world.detail(flow["keyId"]))["nodeList"]
        assert (node["source"], node["text"], node["hangUpSms"]) == (3, "Hi", 0)
        refused = await world.post("/voice/recallFlow/update", change | {"nodeList": [SPEECH]})
        assert refused["msg"].startswith("nodeList: a template uses text1, which 1 numbers")

    world.run(story())


def test_a_message_after_the_call_is_part_of_the_node(world: World) -> None:
    async def story() -> None:
        sms = {
            "hangUpSms": 1,
            "smsContent": "Bye ${text1}",
            "senderId": "us",
            "feedbackPush": 1,
            "feedbackValue": 5,
            "successPush": 1,
            "successPushTime": 10,
        }
        nobody = await world.post(SEND, body(**sms))
        assert (nobody["code"], nobody["msg"]) == (
            -22,
            "hangUpSms: nobody is set up to send text messages for this account",
        )
        await provider(world)
        _, template = await stored(world, await send(world, **sms))
        assert template.sms == HangUpSms(content="Bye ${text1}", sender="us", on_key="5", on_success_after_seconds=10)

    world.run(story())


@pytest.mark.parametrize("by_key", [False, True])
def test_who_answers_is_connected_with_a_phone(world: World, by_key: bool) -> None:
    async def story() -> None:
        group = await seats(world)
        kind = {"toSeatType": 2, "toSeatKey": 0} if by_key else {}
        task_id = await send(world, toSeat=1, sipGroupId=group, outboundControl=1, calloutRate=3, loopCount=2, **kind)
        task, template = await stored(world, task_id)
        assert task.limits.lines == 6, "three calls for each of two phones"
        steps = template.nodes["start"]
        if by_key:
            gathers = [step for step in steps if isinstance(step, Gather)]
            assert {tuple(step.cases.items()) for step in gathers} == {(("0", "seat"),)}
            assert [step.prompt for step in gathers] == [Say("Hello ${text1}"), Say("Hello ${text1}"), None]
            assert msgspec.json.encode(template.nodes["seat"]) == b'[{"step":"connect","group":%d,"phone":""}]' % group
        else:
            assert msgspec.json.encode(steps[-1]).startswith(b'{"step":"connect"')

    world.run(story())


def test_a_waiting_task_is_edited(world: World) -> None:
    async def story() -> None:
        later = "2021-12-01 00:00:00"
        task_id = await send(world, sendTime=later)
        edit = body(
            keyId=task_id, appId=..., taskName="edited", text="Bye", numberInfoList=..., sendTime=later, loopCount=2
        )
        assert (await world.post(UPDATE, edit))["code"] == 0
        task, template = await stored(world, task_id)
        assert (task.name, task.total) == ("edited", 3)
        assert template.nodes["start"].count(Say("Bye")) == 2
        fewer = edit | {"numberInfoList": NUMBERS[:1] * 2}
        done = await world.post("/v3" + UPDATE, fewer)
        assert (done["code"], done["warning"]) == (0, "1 repeated numbers are dialled once: numberInfoList[1]")
        assert (await stored(world, task_id))[0].total == 1

    world.run(story())


def test_refused_edits_change_nothing(world: World) -> None:
    async def story() -> None:
        await send(world, taskName="taken")
        await world.submit()
        running = await send(world, taskName="running")
        await world.submit()
        waiting = await send(
            world,
            taskName="waiting",
            sendTime="2021-12-01 00:00:00",
            numberInfoList=[{"calleeNumber": "4915112345600"}],
            text="Hello",
        )
        agent = await world.send(taskName="agent", sendTime="2021-12-01 00:00:00")
        before = await world.contents()
        right = body(keyId=waiting, appId=..., numberInfoList=..., text="Bye", taskName="new name")
        for changes, code, message in (
            ({"keyId": 4711}, -24, "keyId: there is no task 4711"),
            ({"keyId": agent}, -24, f"keyId: there is no task {agent}"),
            ({"keyId": running}, -21, f"keyId: task {running} is calling; only a waiting one"),
            ({"taskName": "taken"}, -20, "taskName: a task named 'taken' exists already"),
            ({"text": "Hi ${text1}"}, -22, "text: a template uses text1, which 1 numbers"),
            ({"numberInfoList": []}, -22, "numberInfoList: must hold at least one number"),
            ({"taskName": "x"}, -22, "taskName: must have 2 to 64"),
            ({"keyId": ...}, -22, "keyId: is missing"),
        ):
            asked = {name: value for name, value in (right | changes).items() if value is not ...}
            done = await world.post(UPDATE, asked)
            assert (done["code"], done["msg"][: len(message)]) == (code, message), changes
            assert await world.contents() == before, changes

    world.run(story())


def test_a_finished_task_is_called_again(world: World) -> None:
    async def story() -> None:
        first = await send(world)
        await world.submit()
        await world.dial(BUSY, ANSWERED, BUSY)
        again = {"keyId": first, "taskName": "again", "resendType": 1, **SPEECH, "loopCount": 2}
        done = await world.post("/v3" + RESEND, again)
        assert done["code"] == 0, done
        task, template = await stored(world, done["data"])
        assert (task.kind, task.total) == (TaskKind.VOICE, 2)
        assert template.nodes["start"].count(Say("Hello ${text1}")) == 2
        for changes, code, message in (
            ({"keyId": 4711}, -24, "keyId: there is no task 4711"),
            ({"resendType": 3}, -22, "resendType: must be 0 (all) or 1 (failed)"),
            ({"text": "${text2}", "taskName": "more"}, -22, "text: a template uses text2, which 2 numbers"),
        ):
            refused = await world.post(RESEND, again | changes)
            assert (refused["code"], refused["msg"][: len(message)]) == (code, message)

    world.run(story())


LONG = {"hangUpSms": 1, "smsContent": "Bye", "failedPush": 1}
REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"appId": "nope"}, -22, "appId: there is no application 'nope'"),
    ({"appId": ...}, -22, "appId: is missing"),
    ({"taskName": ...}, -22, "taskName: is missing"),
    ({"taskName": "a" * 65}, -22, "taskName: must have 2 to 64"),
    ({"numberInfoList": ...}, -22, "numberInfoList: is missing"),
    ({"numberInfoList": []}, -22, "numberInfoList: must hold at least one number"),
    ({"numberList": ["4915112345600"]}, -22, "numberList: is there beside numberInfoList"),
    ({"numberInfoList": [{"calleeNumber": "12345"}]}, -22, "numberInfoList: 1 of the numbers cannot be used"),
    (
        {"numberInfoList": [{"calleeNumber": "4915112345600"}]},
        -22,
        "numberInfoList: 1 of the numbers cannot be used: numberInfoList[0].text1",
    ),
    ({"numberInfoList": ..., "numberList": ["x"]}, -22, "numberList: 1 of the numbers cannot be used"),
    (
        {"numberInfoList": [NUMBERS[0] | {"callInformation": {"a b": "c"}}]},
        -22,
        "numberInfoList[0].callInformation: names",
    ),
    ({"source": ...}, -22, "source: is missing"),
    ({"source": 0}, -22, "source: must be 1 (file), 2 (upload) or 3 (text), got 0"),
    ({"source": 4}, -22, "source: must be 1 (file), 2 (upload) or 3 (text), got 4"),
    ({"source": 1}, -22, "voiceFileId: is missing"),
    ({"source": 1, "voiceFileId": "nope"}, -22, "voiceFileId: there is no voice file 'nope'"),
    ({"source": 2, "baseFile": WAV}, -22, "uploadName: is missing"),
    ({"source": 2, "uploadName": "a.wav"}, -22, "baseFile: is missing"),
    ({"source": 2, "uploadName": "abcd", "baseFile": WAV}, -22, "uploadName: must have 5 to 32 characters"),
    ({"source": 2, "uploadName": "a.wav", "baseFile": "AAAA"}, -21, "baseFile: is not a wav file"),
    ({"text": ...}, -22, "text: is missing"),
    ({"text": " "}, -22, "text: must have 1 to 2000 characters, has 0"),
    ({"text": "a" * 2001}, -22, "text: must have 1 to 2000 characters, has 2001"),
    ({"text": "${name}"}, -22, "text: ${name} is not known"),
    ({"lan": ...}, -22, "lan: is missing"),
    ({"lan": "XX"}, -22, "lan: must be one of VN EN"),
    ({"speakingRate": 0.2}, -22, "speakingRate: must be 0.25 to 4"),
    ({"speakingRate": 4.1}, -22, "speakingRate: must be 0.25 to 4"),
    ({"ssmlGender": 3}, -22, "ssmlGender: must be 1 (male) or 2 (female), got 3"),
    ({"accent": "a b"}, -22, "accent: must have at most 32"),
    ({"loopCount": 0}, -22, "loopCount: must be 1 to 9, got 0"),
    ({"loopCount": 10}, -22, "loopCount: must be 1 to 9, got 10"),
    ({"maxCalls": 1000}, -22, "maxCalls: must be 1 to 999"),
    ({"maxRingingTime": 121}, -22, "maxRingingTime: must be 20 to 120"),
    ({"displayNum": "1" * 21}, -22, "displayNum: must be 0 to 20 digits"),
    ({"sendTime": "now"}, -22, "sendTime: must be a time"),
    ({"allowSendTime": [{"strTime": "25:00", "endTime": "26:00"}]}, -22, "allowSendTime[0]"),
    ({"calloutRate": 101}, -22, "calloutRate: must be 1 to 100"),
    ({"hangUpSms": 2}, -22, "hangUpSms: must be 0 to 1"),
    ({"hangUpSms": 1}, -22, "smsContent: must have 1 to 1000 characters, has 0"),
    (LONG | {"smsContent": "a" * 1001}, -22, "smsContent: must have 1 to 1000 characters, has 1001"),
    (LONG | {"senderId": "a" * 33}, -22, "senderId: must have at most 32 characters, has 33"),
    (LONG | {"failedPush": 0}, -22, "hangUpSms: needs feedbackPush, successPush, failedPush or ringPush"),
    (LONG | {"feedbackPush": 1}, -22, "feedbackValue: must be one key, 0 to 9"),
    (LONG | {"feedbackPush": 1, "feedbackValue": "*"}, -22, "feedbackValue: must be one key, 0 to 9"),
    (LONG | {"successPush": 1}, -22, "successPushTime: is missing"),
    (LONG | {"successPush": 1, "successPushTime": 10_000}, -22, "successPushTime: must be 0 to 9999"),
    (LONG | {"ringPush": 5}, -22, "ringPush: must be 0 to 1"),
    ({"toSeat": 2}, -22, "toSeat: must be 0 to 1"),
    ({"toSeat": 1}, -22, "sipGroupId: is missing"),
    ({"toSeat": 1, "sipGroupId": 4711}, -22, "sipGroupId: there is no group 4711 with phones"),
    ({"toSeat": 1, "sipGroupId": 1, "toSeatType": 3}, -22, "toSeatType: must be 1 to 2"),
    ({"toSeat": 1, "sipGroupId": 1, "toSeatType": 2}, -22, "toSeatKey: must be one key, 0 to 9"),
    ({"recallFlow": {"recallType": 1, "recallInterval": 0, "recallNum": 1}}, -22, "recallFlow.recallInterval: must be"),
    (
        {"recallFlow": {"recallType": 1, "recallInterval": 1, "recallNum": 1, "nodeList": [{"source": 3}]}},
        -22,
        "recallFlow.nodeList[0].text: is missing",
    ),
]


@pytest.mark.parametrize(("changes", "code", "message"), REFUSED, ids=[message[:60] for _, _, message in REFUSED])
def test_refused_tasks_store_nothing(world: World, changes: dict[str, Any], code: int, message: str) -> None:
    async def story() -> None:
        before = await world.contents()
        done = await world.post(SEND, body(**changes))
        assert (done["code"], done["msg"][: len(message)]) == (code, message), done["msg"]
        assert await world.contents() == before

    world.run(story())


def test_the_published_request_makes_a_task(world: World) -> None:
    """As published, but for ids that are not there, and a time that is over."""

    async def story() -> None:
        sample = published("groupCall.send")
        await provider(world)
        await world.next_id("phone_group", sample["request"]["body"]["sipGroupId"])
        assert await seats(world) == sample["request"]["body"]["sipGroupId"]
        async with world.store.write() as tx:
            await rename_application(tx, world.application_id, sample["request"]["body"]["appId"])
        done = await world.post(sample["path"], sample["request"]["body"])
        assert {name: done[name] for name in sample["response"]} == sample["response"]
        task, template = await stored(world, done["data"])
        assert (task.total, task.caller_id, template.language) == (1, "1008122211", "vi")

    world.run(story())


async def rename_application(tx: Any, application_id: int, app_id: str) -> None:
    from sqlalchemy import update

    from ringback.store.schema import application

    await tx.execute(update(application).where(application.c.id == application_id).values(app_id=app_id))


def test_the_published_form_of_a_resend(world: World) -> None:
    sample = published("groupCall.resend.ai")
    assert form(sample["response"]["data"]) == {"data": "int"}
