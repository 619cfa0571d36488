"""The documented codes of voice tasks, single calls, files, phones and jobs; see :mod:`tests.api.documented_codes`."""

from __future__ import annotations

import base64
from typing import Any

from ringback.store import registrations
from ringback.store.registrations import Contact
from tests.api.documented_codes import LATER, Asked, Documented, Make, NotGiven, same, with_balance
from tests.api.vendor_world import ANSWERED, BUSY, World
from tests.voice.test_transcode import tone

WAV = base64.b64encode(tone(0.3, rate=8_000, channels=1)).decode()
SPEECH = {"source": 3, "text": "Good day.", "lan": "EN"}
NUMBERS = [{"calleeNumber": f"491511234560{one}"} for one in range(2)]
SEND = "/voice/group/call/send"
VOICE = {"appId": "default", "taskName": "a voice task", "numberInfoList": NUMBERS, **SPEECH}
CODE = {"callee": "4915112345600", "language": "EN", "text": "One two three", "appId": "default"}
UPLOAD = {"fileName": "hello.wav", "file": WAV}
PHONES = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 2}


async def voice_task(world: World, **changes: Any) -> int:
    done = await world.post(SEND, VOICE | changes)
    assert done["code"] == 0, done
    return int(done["data"])


async def finished_voice_task(world: World) -> int:
    task_id = await voice_task(world, taskName="first")
    await world.submit()
    await world.dial(BUSY, ANSWERED)
    return task_id


async def file_of(world: World) -> str:
    done = await world.post("/voice/fileUpload", UPLOAD)
    assert done["code"] == 0, done
    return str(done["data"])


async def phone_of(world: World) -> str:
    done = await world.post("/voice/sipAdd", PHONES)
    assert done["code"] == 0, done
    return str(done["data"][0]["account"])


async def _send(_: World) -> Asked:
    return Asked(VOICE)


async def _send_again(world: World) -> Asked:
    await voice_task(world, sendTime=LATER)
    return Asked(VOICE)


def _update(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        await voice_task(world, taskName="taken", sendTime=LATER)
        task_id = await voice_task(world, sendTime=LATER)
        return Asked({"keyId": task_id, "taskName": "edited", "sendTime": LATER, **SPEECH} | changes)

    return make


async def _update_running(world: World) -> Asked:
    task_id = await voice_task(world)
    await world.submit()
    return Asked({"keyId": task_id, "taskName": "edited", **SPEECH})


def _resend(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        task_id = await finished_voice_task(world)
        return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, **SPEECH} | changes)

    return make


async def _resend_waiting(world: World) -> Asked:
    task_id = await voice_task(world, sendTime=LATER)
    return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, **SPEECH})


async def _resend_answered(world: World) -> Asked:
    task_id = await voice_task(world)
    await world.submit()
    await world.dial(ANSWERED, ANSWERED)
    return Asked({"keyId": task_id, "taskName": "again", "resendType": 1, **SPEECH})


def _group(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        return Asked({"callee": "4915112345600", "fileId": await file_of(world), "appId": "default"} | changes)

    return make


async def _upload_again(world: World) -> Asked:
    await file_of(world)
    return Asked(UPLOAD)


def _reset(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        return Asked({"appId": "default", "account": await phone_of(world)} | changes)

    return make


async def _add_again(world: World) -> Asked:
    await phone_of(world)
    return Asked(PHONES)


def _from_phone(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        account = await phone_of(world)
        async with world.store.write() as tx:
            await registrations.register(tx, account, Contact("me", "192.0.2.7", 5062), world.clock.now_ms() + 60_000)
        return Asked({"appId": "default", "account": account, "callee": "4915112345600"} | changes)

    return make


def _cc(resend_type: int = 3, **changes: Any) -> Make:
    async def make(world: World) -> Asked:
        await phone_of(world)
        task_id = await finished_voice_task(world)
        right = {"taskId": task_id, "resendType": resend_type, "voiceGroupId": [1], "appId": "default"}
        return Asked(right | changes)

    return make


async def _cc_waiting(world: World) -> Asked:
    await phone_of(world)
    task_id = await voice_task(world, sendTime=LATER)
    return Asked({"taskId": task_id, "resendType": 3, "voiceGroupId": [1], "appId": "default"})


VOICE_OPERATIONS: dict[str, Documented] = {
    "POST /voice/group/call/send": Documented(
        _send,
        {
            -10: with_balance(_send, 0),
            -20: _send_again,
            -21: same(VOICE | {"source": 2, "uploadName": "hello.wav", "baseFile": "AAAA"}),
            -22: same({}),
            -26: with_balance(_send, 1),
        },
    ),
    "POST /voice/group/call/update": Documented(
        _update(),
        {-20: _update(taskName="taken"), -21: _update_running, -22: _update(source=9), -24: _update(keyId=4711)},
    ),
    "POST /voice/group/call/resend": Documented(
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
    "POST /voice/sendCode": Documented(
        same(CODE),
        {-10: with_balance(same(CODE), 0), -22: same(CODE | {"language": "XX"}), -26: with_balance(same(CODE), 1)},
    ),
    "POST /voice/sendGroup": Documented(
        _group(),
        {-10: with_balance(_group(), 0), -22: _group(fileId="nope"), -26: with_balance(_group(), 1)},
    ),
    "POST /voice/fileUpload": Documented(
        same(UPLOAD),
        {-20: _upload_again, -21: same(UPLOAD | {"file": "AAAA"}), -22: same({})},
    ),
    "POST /voice/fileQuery": Documented(same({}), {-22: same({"size": 101})}),
    "POST /voice/sendSip": Documented(
        _from_phone(),
        {
            -10: with_balance(_from_phone(), 0),
            -22: _from_phone(callee="1"),
            -24: _from_phone(account="0"),
            -26: with_balance(_from_phone(), 1),
        },
    ),
    "POST /v3/cc/preview/resendTask": Documented(
        _cc(),
        {
            -10: with_balance(_cc(), 0),
            -22: _cc(resend_type=0),
            -24: _cc(taskId=4711),
            -26: with_balance(_cc(), 1),
            -41: _cc_waiting,
            -42: _cc(resend_type=2),
            -74: _cc(voiceGroupId=[4711]),
            -77: NotGiven("an account without a price is -26 everywhere here"),
        },
    ),
    "POST /voice/sipAdd": Documented(same(PHONES), {-20: _add_again, -22: same(PHONES | {"quantity": 51})}),
    "POST /voice/sipQuery": Documented(same({"current": 1, "size": 10}), {-22: same({"current": 0, "size": 10})}),
    "POST /voice/sipReset": Documented(_reset(), {-24: _reset(account="0"), -22: same({})}),
}


def _job(**changes: Any) -> Make:
    async def make(world: World) -> Asked:
        right = {"appId": "default", "name": "a job", "dialogFlowId": world.plain, "robotCount": 1}
        return Asked(right | changes)

    return make


async def job_of(world: World) -> int:
    done = await world.post("/aivoice/taskAdd", (await _job()(world)).body)
    assert done["code"] == 0, done
    return int(done["data"])


def _of_job(*, started: bool = False, **more: Any) -> Make:
    async def make(world: World) -> Asked:
        job_id = await job_of(world)
        if started:
            await world.post("/aivoice/taskStart", {"jobId": job_id})
        return Asked({"jobId": job_id} | more)

    return make


async def _job_again(world: World) -> Asked:
    await job_of(world)
    return await _job()(world)


def _edit(*, started: bool = False, **changes: Any) -> Make:
    async def make(world: World) -> Asked:
        of_job = (await _of_job(started=started)(world)).body
        return Asked((await _job(name="edited")(world)).body | of_job | changes)

    return make


NO_JOB = {"jobId": 4711}
CUSTOMERS = {"customerList": [{"calledPhoneNumber": "4915112345600"}]}
APP = {"appId": "default"}
PERIOD = {"startTime": "2021-09-01 00:00:00", "endTime": "2021-09-02 00:00:00"}
LIST = {"current": 1, "size": 10, "params": APP}
CALLS = {"current": 1, "size": 10, "params": APP | PERIOD}
PAGE_OF_JOB = {"current": 1, "size": 10}

JOB_OPERATIONS: dict[str, Documented] = {
    "POST /aivoice/dialogFlowList": Documented(same(APP), {-22: same({}), -37: same({"appId": "nope"})}),
    "POST /aivoice/channelList": Documented(same(APP), {-22: same({}), -37: same({"appId": "nope"})}),
    "POST /aivoice/properties": Documented(
        same(APP | {"dialogFlowId": 1}),
        {-22: same(APP | {"dialogFlowId": 4711}), -37: same({"appId": "nope", "dialogFlowId": 1})},
    ),
    "POST /aivoice/taskAdd": Documented(
        _job(),
        {
            -10: with_balance(_job(), 0),
            -20: _job_again,
            -22: _job(robotCount=0),
            -26: with_balance(_job(), 1),
            -37: _job(appId="nope"),
        },
    ),
    "POST /aivoice/taskEdit": Documented(
        _edit(), {-21: _edit(started=True), -22: _edit(robotCount=0), -24: _edit(jobId=4711), -37: _edit(appId="nope")}
    ),
    "POST /aivoice/importCustomer": Documented(
        _of_job(**CUSTOMERS), {-22: _of_job(customerList=[]), -24: same(NO_JOB | CUSTOMERS)}
    ),
    "POST /aivoice/importCustomer/del": Documented(
        _of_job(calledPhoneNumberList=[]),
        {-22: _of_job(calledPhoneNumberList=["x"]), -24: same(NO_JOB | {"calledPhoneNumberList": []})},
    ),
    "POST /aivoice/taskStart": Documented(
        _of_job(), {-10: with_balance(_of_job(), 0), -21: _of_job(started=True), -22: same({}), -24: same(NO_JOB)}
    ),
    "POST /aivoice/taskStop": Documented(_of_job(started=True), {-21: _of_job(), -22: same({}), -24: same(NO_JOB)}),
    "POST /aivoice/taskDel": Documented(_of_job(), {-22: same({}), -24: same(NO_JOB)}),
    "POST /aivoice/taskList": Documented(same(LIST), {-22: same({}), -37: same(LIST | {"params": {"appId": "nope"}})}),
    "POST /aivoice/taskNoCall": Documented(
        _of_job(**PAGE_OF_JOB), {-22: _of_job(current=0, size=1), -24: same(NO_JOB | PAGE_OF_JOB)}
    ),
    "POST /aivoice/recordQuery": Documented(
        same(CALLS), {-22: same({}), -37: same(CALLS | {"params": {"appId": "nope"} | PERIOD})}
    ),
}
