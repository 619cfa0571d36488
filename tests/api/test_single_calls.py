"""``sendCode`` and ``sendGroup``."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.model.task import TaskKind
from ringback.model.template import Pause, Play, Say
from ringback.store import templates
from tests.api.test_published import form, published
from tests.api.test_voice_tasks import rename_application, stored, upload
from tests.api.vendor_world import ANSWERED, BUSY, World

CODE, GROUP = "/voice/sendCode", "/v3/voice/sendGroup"
MINUTE = 60


def code(**changes: Any) -> dict[str, Any]:
    right = {"callee": "4915112345600", "language": "EN", "text": "Your code is 1 2 3", "appId": "default"}
    return {name: value for name, value in (right | changes).items() if value is not ...}


async def only_task(world: World) -> int:
    rows = (await world.contents())["task"]
    return int(rows[-1][0])


def test_a_code_is_spoken(world: World) -> None:
    async def story() -> None:
        done = await world.post(
            CODE, code(loopCount=2, delayPlay=1, delayHangup=3, maxDuration=90, maxRingingTime=30, calledInfo="order 7")
        )
        (sent,) = done["data"]
        assert (sent["callee"], sent["terminationCode"], sent["terminationReason"]) == ("4915112345600", "0", "success")
        task, template = await stored(world, await only_task(world))
        assert (task.kind, task.limits.call_seconds, task.limits.ring_seconds) == (TaskKind.CODE, 90, 30)
        say = Say("Your code is 1 2 3")
        assert template.nodes["start"] == [Pause(1), say, Pause(1), say, Pause(3)]
        await world.submit()
        await world.dial(ANSWERED | {"talk_ms": 5_000})
        record = (await world.get(f"/voice/recordGroup/{sent['voiceId']}"))["data"]
        assert (record["callee"], record["calledInfo"], record["terminationCode"]) == (
            "4915112345600",
            "order 7",
            "200",
        )

    world.run(story())


def test_a_code_that_fails_is_called_again_as_often_as_asked(world: World) -> None:
    async def story() -> None:
        await world.post(CODE, code(recallCount=2, recallInterval=7))
        task_id = await only_task(world)
        flow = await world.flow_of(task_id)
        assert (flow["recallType"], flow["recallInterval"], flow["recallNum"]) == (1, 7, 2)
        await world.submit()
        for _ in range(2):
            await world.dial(BUSY)
            await world.clock.sleep(7 * MINUTE - 1)
            assert not await due(world)
            await world.clock.sleep(1)
            assert await world.start_next_round() is not None
        await world.dial(ANSWERED)
        assert (await world.flow_of(task_id))["status"] == 2

    world.run(story())


async def due(world: World) -> list[int]:
    from ringback.store import nodes

    async with world.store.read() as tx:
        return await nodes.due(tx, world.clock.now_ms(), 10)


def test_a_code_that_is_answered_is_not_called_again(world: World) -> None:
    async def story() -> None:
        await world.post(CODE, code(recallCount=9))
        task_id = await only_task(world)
        await world.submit()
        await world.dial(ANSWERED)
        await world.clock.sleep(5 * MINUTE)
        assert await world.start_next_round() is None
        assert (await world.flow_of(task_id))["status"] == 2

    world.run(story())


REFUSED_CODES: list[tuple[dict[str, Any], str]] = [
    ({"callee": ...}, "callee: is missing"),
    ({"callee": None}, "callee: expected"),
    ({"callee": "12345"}, "callee: must have 6 to 18 digits"),
    ({"callee": "49151,49152"}, "callee: may hold digits only"),
    ({"callee": "4915112345600\r\nX: 1"}, "callee: may hold digits only"),
    ({"language": ...}, "language: is missing"),
    ({"language": "XX"}, "language: must be one of VN EN"),
    ({"text": ...}, "text: is missing"),
    ({"text": ""}, "text: must have 1 to 1000 characters, has 0"),
    ({"text": "a" * 1001}, "text: must have 1 to 1000 characters, has 1001"),
    ({"language": "VN", "text": "a" * 300}, "text: must have 1 to 299 characters, has 300"),
    ({"text": "${text1}"}, "text: it uses text1, and a single call has no texts"),
    ({"appId": "nope"}, "appId: there is no application 'nope'"),
    ({"loopCount": 0}, "loopCount: must be 1 to 9"),
    ({"loopCount": 10}, "loopCount: must be 1 to 9"),
    ({"ssmlGender": 0}, "ssmlGender: must be 1 (male) or 2 (female)"),
    ({"speakingRate": 5}, "speakingRate: must be 0.25 to 4"),
    ({"calledInfo": "a" * 1001}, "calledInfo: must have at most 1000 characters, has 1001"),
    ({"recallCount": -1}, "recallCount: must be 0 to 9"),
    ({"recallCount": 10}, "recallCount: must be 0 to 9"),
    ({"recallCount": 1, "recallInterval": 0}, "recallInterval: must be 1 to 999"),
    ({"recallCount": 1, "recallInterval": 1000}, "recallInterval: must be 1 to 999"),
    ({"maxDuration": 0}, "maxDuration: must be 1 to 120"),
    ({"maxDuration": 121}, "maxDuration: must be 1 to 120"),
    ({"maxRingingTime": 19}, "maxRingingTime: must be 20 to 120"),
    ({"maxRingingTime": 121}, "maxRingingTime: must be 20 to 120"),
    ({"delayPlay": 1000}, "delayPlay: must be 0 to 999"),
    ({"delayHangup": -1}, "delayHangup: must be 0 to 999"),
    ({"displayNum": "x"}, "displayNum: must be 0 to 20 digits"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED_CODES)
def test_refused_codes_store_nothing(world: World, changes: dict[str, Any], message: str) -> None:
    async def story() -> None:
        before = await world.contents()
        done = await world.post(CODE, code(**changes))
        assert (done["code"], done["msg"][: len(message)]) == (-22, message), done["msg"]
        assert await world.contents() == before

    world.run(story())


def test_a_file_goes_to_a_few_numbers(world: World) -> None:
    async def story() -> None:
        file_id = await upload(world)
        asked = {"callee": "4915112345600, 4915112345601,12,4915112345600", "fileId": file_id, "appId": "default"}
        done = await world.post(GROUP, asked | {"loopCount": 2, "calledInfo": "info"})
        first, second, short, twice = done["data"]
        assert (first["terminationCode"], second["terminationCode"]) == ("0", "0")
        assert first["voiceId"] != second["voiceId"]
        assert (short["terminationCode"], short["terminationReason"]) == (
            "-22",
            "callee: must have 6 to 18 digits, has 2",
        )
        assert (twice["voiceId"], twice["terminationReason"]) == (None, "callee: is there already; it is called once")
        task, template = await stored(world, await only_task(world))
        assert (task.kind, task.total, template.nodes["start"]) == (TaskKind.GROUP, 2, [Play(file_id)] * 2)
        async with world.store.read() as tx:
            assert file_id in await templates.audio_of(tx, task.template_id)
        nobody = await world.post(GROUP, asked | {"callee": "1,2"})
        assert [one["terminationCode"] for one in nobody["data"]] == ["-22", "-22"]
        assert await only_task(world) == task.id, "nothing was made"

    world.run(story())


def test_refused_groups_store_nothing(world: World) -> None:
    async def story() -> None:
        file_id = await upload(world)
        right = {"callee": "4915112345600", "fileId": file_id, "appId": "default"}
        before = await world.contents()
        for changes, message in (
            ({"fileId": "nope"}, "fileId: there is no voice file 'nope'"),
            ({"fileId": None}, "fileId: expected `str`"),
            ({"callee": ",".join(["4915112345600"] * 1001)}, "callee: holds 1001 numbers, at most 1000"),
            ({"callee": None}, "callee: expected"),
            ({"appId": "nope"}, "appId: there is no application"),
            ({"loopCount": 10}, "loopCount: must be 1 to 9"),
            ({"maxDuration": 121}, "maxDuration: must be 1 to 120"),
            ({"maxRingingTime": 10}, "maxRingingTime: must be 20 to 120"),
            ({"calledInfo": "a" * 1001}, "calledInfo: must have at most 1000"),
            ({"displayNum": "1" * 21}, "displayNum: must be 0 to 20 digits"),
        ):
            done = await world.post(GROUP, right | changes)
            assert (done["code"], done["msg"][: len(message)]) == (-22, message), done
            assert await world.contents() == before
        theirs = await world.post(GROUP, right, tenant=world.other)
        assert theirs["msg"].startswith("fileId: there is no voice file")

    world.run(story())


def test_the_published_requests(world: World) -> None:
    async def story() -> None:
        sample = published("voice.sendCode")
        async with world.store.write() as tx:
            await rename_application(tx, world.application_id, sample["request"]["body"]["appId"])
        done = await world.post(sample["path"], sample["request"]["body"])
        assert {name: done[name] for name in sample["response"]} == sample["response"]
        sample = published("voice.sendGroup")
        file_id = await upload(world)
        done = await world.post(sample["path"], sample["request"]["body"] | {"fileId": file_id})
        assert (done["status"], done["reason"]) == ("0", "success")
        assert form(done["data"]) == form(sample["response"]["data"])

    world.run(story())
