"""The published requests of files, records, phones and the call centre, replayed; and that none is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ringback.store import phones
from ringback.store.phones import NewPhone
from tests.api.test_published import FOLDER, form, instant, published, replay, store_task
from tests.api.test_send_sip import phone
from tests.api.test_voice_files import WAV
from tests.api.test_voice_tasks import rename_application
from tests.api.vendor_world import ANSWERED, BUSY, World


def test_every_published_sample_is_replayed_somewhere() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    named = set(re.findall(r'"([\w.]+)"', tests))
    missing = {path.stem for path in FOLDER.glob("*.json")} - named
    assert not missing


def test_files_answer_as_published(world: World) -> None:
    async def story() -> None:
        import base64

        sample = published("voice.fileUpload")
        body = sample["request"]["body"] | {"fileName": "test.wav", "file": base64.b64encode(WAV).decode()}
        done = await world.post(sample["path"], body)
        assert {name: done[name] for name in ("status", "reason")} == {"status": "0", "reason": "success"}
        assert form(done["data"]) == form(sample["response"]["data"])
        listed = await replay(world, "voice.fileQuery")
        assert form(listed["data"]) == form(published("voice.fileQuery")["response"]["data"])
        # What stands in the sample for the file's content is base64 of something else.
        assert (await replay(world, "voice.fileUpload"))["code"] == -21

    world.run(story())


def test_records_are_asked_for_as_published(world: World) -> None:
    async def story() -> None:
        # The period of the sample is of 2022.
        world.clock.set(instant("2022-02-20 00:00:00") / 1000)
        page = await replay(world, "voice.recordGroupQuery")
        assert (page["code"], page["data"]["records"], page["data"]["size"]) == (0, [], 20)
        sample = published("voice.recordGroup")
        unknown = await world.get(sample["path"])
        assert (unknown["code"], unknown["msg"]) == (-22, "voiceId: must be the id of a call")

    world.run(story())


def test_a_phone_is_called_as_published(world: World) -> None:
    async def story() -> None:
        sample = published("voice.sendSip")
        login = await phone(world)
        async with world.store.write() as tx:
            await rename_application(tx, world.application_id, sample["request"]["body"]["appId"])
        done = await world.post(sample["path"], sample["request"]["body"] | {"account": login})
        assert {name: done[name] for name in sample["response"]} == sample["response"]
        unknown = await replay(world, "voice.sendSip")
        assert (unknown["code"], unknown["msg"]) == (-24, "account: there is no phone 'test_001' in this application")

    world.run(story())


def test_a_resend_is_taken_as_published(world: World) -> None:
    async def story() -> None:
        sample = published("groupCall.resend.ai")
        await world.next_id("task", sample["request"]["body"]["keyId"])
        task_id = await world.send()
        assert task_id == sample["request"]["body"]["keyId"]
        await world.submit()
        await world.dial(BUSY)
        done = await replay(world, "groupCall.resend.ai")
        assert {name: done[name] for name in ("status", "reason")} == {"status": "0", "reason": "success"}
        assert form(done["data"]) == form(sample["response"]["data"])

    world.run(story())


async def call_centre(world: World) -> dict[str, Any]:
    """A finished task of that number, and a group of phones of that number."""
    body: dict[str, Any] = published("cc.preview.resendTask")["request"]["body"]
    await world.next_id("phone_group", body["voiceGroupId"][0])
    async with world.store.write() as tx:
        await phones.add_group(
            tx,
            world.application_id,
            name="team",
            caller_id="",
            phones=[NewPhone(name="p", login="50001", ha1="0" * 32)],
            now_ms=world.clock.now_ms(),
        )
        await rename_application(tx, world.application_id, body["appId"])
    return body


def test_a_call_centre_task_is_called_again_as_published(world: World) -> None:
    async def story() -> None:
        body = await call_centre(world)
        now = "2021-09-01 00:00:00"
        await store_task(world, body["taskId"], "cc", "4915112345600", "4915112345601", "8816123456789", created=now)
        await world.submit()
        await world.dial(BUSY, ANSWERED)
        done = await replay(world, "cc.preview.resendTask")
        assert {name: done[name] for name in ("status", "reason")} == {"status": "0", "reason": "success"}
        assert form(done["data"]) == {"data": "int"}
        for resend_type, count in ((1, 1), (2, 1), (3, 2)):
            made = await world.post("/v3/cc/preview/resendTask", body | {"resendType": resend_type})
            detail = (await world.get(f"/voice/group/call/detail/{made['data']}"))["data"]
            assert (detail["numCnt"], detail["calloutRate"]) == (count, 1)

    world.run(story())


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"taskId": 4711}, -24, "taskId: there is no task 4711"),
        ({"taskId": 124}, -41, "taskId: task 124 is waiting; it must be over"),
        ({"resendType": 2}, -42, "taskId: task 123 left no number to call again"),
        ({"voiceGroupId": [9]}, -74, "voiceGroupId: there is no group 9 with phones"),
        ({"voiceGroupId": []}, -22, "voiceGroupId: must hold 1 to 10 groups"),
        ({"resendType": 0}, -22, "resendType: must be 1 to 3"),
        ({"resendType": 4}, -22, "resendType: must be 1 to 3"),
        ({"type": 2}, -22, "type: must be 0 to 1"),
        ({"calloutRate": 0}, -22, "calloutRate: must be 1 to 100"),
        ({"appId": "nope"}, -22, "appId: there is no application 'nope'"),
    ],
)
def test_refused_call_centre_tasks(world: World, changes: dict[str, Any], code: int, message: str) -> None:
    async def story() -> None:
        body = await call_centre(world)
        await store_task(world, 123, "cc", "4915112345600", created="2021-09-01 00:00:00")
        await world.submit()
        await world.dial(BUSY)
        await store_task(world, 124, "waits", "4915112345600", created="2021-09-01 00:00:00")
        before = await world.contents()
        done = await world.post("/v3/cc/preview/resendTask", body | changes)
        assert (done["code"], done["msg"][: len(message)]) == (code, message)
        assert await world.contents() == before

    world.run(story())
