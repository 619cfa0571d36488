"""Calling a finished task again by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.store import tasks
from tests.api.vendor_world import ANSWERED, BUSY, World

RESEND = "/voice/group/call/resend/ai"


async def finished_task(world: World, **changes: Any) -> int:
    """A task of three numbers: busy, answered, busy."""
    numbers = [{"calleeNumber": f"49151123456{number:02}"} for number in range(3)]
    task_id = await world.send(**({"numberInfoList": numbers, "taskName": "first"} | changes))
    await world.submit()
    await world.dial(BUSY, ANSWERED, BUSY)
    return task_id


def body(world: World, task_id: int, **changes: Any) -> dict[str, Any]:
    right = {"keyId": task_id, "taskName": "again", "resendType": 1, "scriptId": world.plain}
    return {name: value for name, value in (right | changes).items() if value is not ...}


@pytest.mark.parametrize(("resend_type", "numbers"), [(0, 3), (1, 2)])
def test_a_finished_task_is_called_again(world: World, resend_type: int, numbers: int) -> None:
    async def story() -> None:
        periods = [{"strTime": "00:00", "endTime": "23:59"}]
        first = await finished_task(world, displayNum="4930123", allowSendTime=periods)
        done = await world.post(
            RESEND, body(world, first, resendType=resend_type, maxCalls=40, maxRingingTime=30, enableRecording=1)
        )
        assert done["code"] == 0, done
        async with world.store.read() as tx:
            before = await tasks.get(tx, first)
            again = await tasks.get(tx, done["data"])
        assert before is not None
        assert again is not None
        assert (again.name, again.total, again.caller_id) == ("again", numbers, "4930123")
        assert (again.limits.call_seconds, again.limits.ring_seconds, again.limits.record) == (40, 30, True)
        # Left out, they are those of the first: nobody is called at night for that.
        assert again.limits.windows == before.limits.windows
        assert len(again.limits.windows) == 1
        opened = await world.post(
            RESEND, body(world, first, taskName="open", resendType=resend_type, allowSendTime=[], displayNum="")
        )
        async with world.store.read() as tx:
            free = await tasks.get(tx, opened["data"])
        assert free is not None
        assert (free.limits.windows, free.caller_id) == ((), "")

    world.run(story())


def test_refused_resends(world: World) -> None:
    async def story() -> None:
        first = await finished_task(world)
        waiting = await world.send(taskName="waiting", sendTime="2021-12-01 00:00:00")
        foreign = await world.send(tenant=world.other, sendTime="2021-12-01 00:00:00")
        done = await world.post(RESEND, body(world, first, taskName="all answered"))
        await world.submit()
        await world.dial(ANSWERED, ANSWERED)
        before = await world.contents()
        for changes, code, message in (
            ({"keyId": 4711}, -24, "keyId: there is no task 4711"),
            ({"keyId": foreign}, -24, f"keyId: there is no task {foreign}"),
            ({"keyId": waiting}, -21, f"keyId: task {waiting} is waiting; only a finished one"),
            ({"keyId": done["data"]}, -34, f"keyId: task {done['data']} left no number to call again"),
            ({"taskName": "first"}, -20, "taskName: a task named 'first' exists already"),
            ({"taskName": "a"}, -22, "taskName: must have 2 to 64 characters"),
            ({"resendType": 2}, -22, "resendType: must be 0 (all) or 1 (failed), got 2"),
            ({"resendType": ...}, -22, "resendType: is missing"),
            ({"scriptId": world.foreign}, -22, f"scriptId: there is no agent template {world.foreign}"),
            (
                {"scriptId": world.greeting},
                -22,
                "scriptId: a template uses text1, which 2 numbers of the task do not have",
            ),
            ({"scriptId": ...}, -22, "scriptId: is missing"),
            ({"displayNum": "x"}, -22, "displayNum: must be 0 to 20 digits"),
            ({"sendTime": "soon"}, -22, "sendTime: must be a time"),
            ({"maxCalls": 0}, -22, "maxCalls: must be 1 to 999"),
            ({"maxCalls": 1000}, -22, "maxCalls: must be 1 to 999"),
            ({"maxRingingTime": 19}, -22, "maxRingingTime: must be 20 to 120"),
            ({"maxRingingTime": 121}, -22, "maxRingingTime: must be 20 to 120"),
            ({"enableRecording": 2}, -22, "enableRecording: must be 0 to 1"),
            ({"calloutRate": 0}, -22, "calloutRate: must be 1 to 100"),
            ({"allowSendTime": [{"strTime": "1", "endTime": "2"}]}, -22, "allowSendTime[0]:"),
            ({"allowSendTime": [{"strTime": "01:00", "endTime": "02:00"}] * 4}, -22, "allowSendTime: has 4 periods"),
        ):
            refused = await world.post(RESEND, body(world, first, **changes))
            assert refused["code"] == code, (changes, refused)
            assert refused["msg"].startswith(message), refused
            assert await world.contents() == before, changes

    world.run(story())
