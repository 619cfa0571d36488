"""Bad requests for a task: each refused with a message that names the member at fault, and nothing stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ringback.model.task import MAX_NUMBERS
from ringback.store import tasks
from tests.api.vendor_world import World

if TYPE_CHECKING:
    from collections.abc import Callable

SEND = "/voice/group/call/send/agent"
NUMBER = {"calleeNumber": "4915112345600"}
FLOW = {"recallType": 1, "recallInterval": 30, "recallNum": 2}


def numbers(*callees: object) -> list[dict[str, object]]:
    return [{"calleeNumber": callee} for callee in callees]


def flow(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (FLOW | changes).items() if value is not ...}


def nodes(world: World, count: int) -> list[dict[str, int]]:
    return [{"scriptId": world.plain}] * count


#: What is wrong: the changes to a right body (``...`` leaves a member out), and the message (its start).
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # appId
    "no appId": ({"appId": ...}, "appId: is missing"),
    "null appId": ({"appId": None}, "appId: expected `str`, got `null`"),
    "appId a number": ({"appId": 5}, "appId: expected `str`, got `int`"),
    "unknown appId": ({"appId": "nope"}, "appId: there is no application 'nope'"),
    "empty appId": ({"appId": ""}, "appId: there is no application ''"),
    "appId with a blank": ({"appId": "default "}, "appId: there is no application"),
    "appId with NUL": ({"appId": "default\0"}, "appId: there is no application"),
    "endless appId": ({"appId": "x" * 100_000}, "appId: there is no application"),
    # taskName
    "no name": ({"taskName": ...}, "taskName: is missing"),
    "null name": ({"taskName": None}, "taskName: expected `str`, got `null`"),
    "name a list": ({"taskName": ["a"]}, "taskName: expected `str`, got `array`"),
    "empty name": ({"taskName": ""}, "taskName: must have 2 to 64 characters, has 0"),
    "blank name": ({"taskName": "   "}, "taskName: must have 2 to 64 characters, has 0"),
    "name of one": ({"taskName": "a"}, "taskName: must have 2 to 64 characters, has 1"),
    "name of 65": ({"taskName": "a" * 65}, "taskName: must have 2 to 64 characters, has 65"),
    "name of 65 wide characters": ({"taskName": "名" * 65}, "taskName: must have 2 to 64 characters, has 65"),
    "name with NUL": ({"taskName": "a\0b"}, "taskName: must not hold control characters"),
    "name with a line break": ({"taskName": "a\r\nb"}, "taskName: must not hold control characters"),
    "name with escape": ({"taskName": "a\x1b[31mb"}, "taskName: must not hold control characters"),
    "name that turns round": ({"taskName": "a\u202eb"}, "taskName: must not hold control characters"),
    "name with a line separator": ({"taskName": "a\u2028b"}, "taskName: must not hold control characters"),
    # agentId, scriptId
    "no template": ({"agentId": ...}, "agentId: is missing"),
    "null template": ({"agentId": None}, "agentId: is missing"),
    "template a word": ({"agentId": "one"}, "agentId: expected `int"),
    "template negative": ({"agentId": -1}, "agentId: expected `int` >= 0"),
    "template a fraction": ({"agentId": 1.5}, "agentId: expected `int"),
    "template too large": ({"agentId": 2**63}, "agentId: expected `int` <= 9223372036854775807"),
    "unknown template": ({"agentId": 4711}, "agentId: there is no agent template 4711"),
    "unknown script": ({"agentId": ..., "scriptId": 4711}, "scriptId: there is no agent template 4711"),
    "two templates": ({"scriptId": 4711}, "scriptId: differs from agentId; give one of them"),
    # displayNum
    "letters to show": ({"displayNum": "Ringback"}, "displayNum: must be 0 to 20 digits"),
    "plus to show": ({"displayNum": "+4930123"}, "displayNum: must be 0 to 20 digits"),
    "21 digits to show": ({"displayNum": "1" * 21}, "displayNum: must be 0 to 20 digits"),
    "21 digits to show, as a number": ({"displayNum": 10**20}, "displayNum: must be 0 to 20 digits"),
    "negative to show": ({"displayNum": -5}, "displayNum: must be 0 to 20 digits"),
    "other digits to show": ({"displayNum": "١٢٣"}, "displayNum: must be 0 to 20 digits"),
    "object to show": ({"displayNum": {}}, "displayNum: expected `int | str | null`, got `object`"),
    "a header after it": ({"displayNum": "123\r\nX-Evil: 1"}, "displayNum: must be 0 to 20 digits"),
    "a header in it": ({"displayNum": '123"<sip:evil@example.com>'}, "displayNum: must be 0 to 20 digits"),
    "a blank in it": ({"displayNum": "123 456"}, "displayNum: must be 0 to 20 digits"),
    # numbers
    "no numbers": ({"numberInfoList": ...}, "numberInfoList: is missing"),
    "null numbers": ({"numberInfoList": None}, "numberInfoList: expected `array`, got `null`"),
    "numbers an object": ({"numberInfoList": NUMBER}, "numberInfoList: expected `array`, got `object`"),
    "empty numbers": ({"numberInfoList": []}, "numberInfoList: must hold at least one number"),
    "a bare number": ({"numberInfoList": ["4915112345600"]}, "numberInfoList[0]: expected `object`, got `str`"),
    "a null entry": ({"numberInfoList": [NUMBER, None]}, "numberInfoList[1]: expected `object`, got `null`"),
    "an entry without number": ({"numberInfoList": [NUMBER, {}]}, "numberInfoList[1].calleeNumber: is missing"),
    "a null number": ({"numberInfoList": numbers(None)}, "numberInfoList[0].calleeNumber: expected `int | str`"),
    "a number true": ({"numberInfoList": numbers(True)}, "numberInfoList[0].calleeNumber: expected `int | str`"),
    "a number with a fraction": ({"numberInfoList": numbers(1.5)}, "numberInfoList[0].calleeNumber: expected"),
    "a number with letters": (
        {"numberInfoList": numbers("4915112345600", "49151CALLME")},
        "numberInfoList: 1 of the numbers cannot be used: "
        "numberInfoList[1].calleeNumber may hold digits only (country code and number)",
    ),
    "a short number": (
        {"numberInfoList": numbers("12345")},
        "numberInfoList: 1 of the numbers cannot be used: "
        "numberInfoList[0].calleeNumber must have 6 to 18 digits, has 5",
    ),
    "a long number": ({"numberInfoList": numbers("1" * 19)}, "numberInfoList: 1 of the numbers cannot be used"),
    "a huge number": ({"numberInfoList": numbers(10**300)}, "numberInfoList: 1 of the numbers cannot be used"),
    "a negative number": ({"numberInfoList": numbers(-4915112345600)}, "numberInfoList: 1 of the numbers cannot be"),
    "an empty number": (
        {"numberInfoList": numbers("")},
        "numberInfoList: 1 of the numbers cannot be used: numberInfoList[0].calleeNumber is empty",
    ),
    "a SIP address": ({"numberInfoList": numbers("123456@example.com")}, "numberInfoList: 1 of the numbers cannot"),
    "a header behind a number": ({"numberInfoList": numbers("123456\r\nX: y")}, "numberInfoList: 1 of the numbers"),
    "other digits": ({"numberInfoList": numbers("٤٩١٥١١٢٣")}, "numberInfoList: 1 of the numbers cannot be used"),
    "eleven wrong numbers": (
        {"numberInfoList": numbers(*["x"] * 11, "4915112345600")},
        "numberInfoList: 11 of the numbers cannot be used: numberInfoList[0].calleeNumber",
    ),
    "a text a number": ({"numberInfoList": [NUMBER | {"text1": 5}]}, "numberInfoList[0].text1: expected `str | null`"),
    "a text a list": ({"numberInfoList": [NUMBER | {"text10": []}]}, "numberInfoList[0].text10: expected `str | null`"),
    # maxCalls, maxRingingTime, enableRecording, calloutRate
    "no talk": ({"maxCalls": 0}, "maxCalls: must be 1 to 999, got 0"),
    "endless talk": ({"maxCalls": 1000}, "maxCalls: must be 1 to 999, got 1000"),
    "talk a word": ({"maxCalls": "long"}, "maxCalls: expected `int | null`, got `str`"),
    "talk a fraction": ({"maxCalls": 1.5}, "maxCalls: expected `int | null`, got `float`"),
    "ring of 19": ({"maxRingingTime": 19}, "maxRingingTime: must be 20 to 120, got 19"),
    "ring of 121": ({"maxRingingTime": 121}, "maxRingingTime: must be 20 to 120, got 121"),
    "ring true": ({"maxRingingTime": True}, "maxRingingTime: expected `int | null`, got `bool`"),
    "ring without end": ({"maxRingingTime": 10**4000}, "maxRingingTime: must be 20 to 120, got 1000"),
    "record 2": ({"enableRecording": 2}, "enableRecording: must be 0 to 1, got 2"),
    "record -1": ({"enableRecording": -1}, "enableRecording: must be 0 to 1, got -1"),
    "record yes": ({"enableRecording": "yes"}, "enableRecording: expected `int | null`, got `str`"),
    "rate 0": ({"calloutRate": 0}, "calloutRate: must be 1 to 100, got 0"),
    "rate 101": ({"calloutRate": 101}, "calloutRate: must be 1 to 100, got 101"),
    # sendTime
    "time a number": ({"sendTime": 1630468800}, "sendTime: expected `str | null`, got `int`"),
    "time in ISO form": ({"sendTime": "2021-09-01T10:00:00"}, "sendTime: must be a time like"),
    "time with a zone": ({"sendTime": "2021-09-01 10:00:00+08:00"}, "sendTime: must be a time like"),
    "time without seconds": ({"sendTime": "2021-09-01 10:00"}, "sendTime: must be a time like"),
    "no such day": ({"sendTime": "2021-02-29 10:00:00"}, "sendTime: must be a time like"),
    "hour 24": ({"sendTime": "2021-09-01 24:00:00"}, "sendTime: must be a time like"),
    "year 0": ({"sendTime": "0000-01-01 00:00:00"}, "sendTime: must be a time like"),
    "blank time": ({"sendTime": " "}, "sendTime: must be a time like"),
    "time a word": ({"sendTime": "tomorrow"}, "sendTime: must be a time like"),
    # allowSendTime
    "periods an object": (
        {"allowSendTime": {"strTime": "10:00", "endTime": "12:00"}},
        "allowSendTime: expected `array | null`, got `object`",
    ),
    "a period as text": ({"allowSendTime": ["10:00-12:00"]}, "allowSendTime[0]: expected `object`, got `str`"),
    "half a period": ({"allowSendTime": [{"strTime": "10:00"}]}, "allowSendTime[0].endTime: is missing"),
    "a null end": ({"allowSendTime": [{"strTime": "10:00", "endTime": None}]}, "allowSendTime[0].endTime: expected"),
    "four periods": (
        {"allowSendTime": [{"strTime": f"1{n}:00", "endTime": f"1{n}:30"} for n in range(4)]},
        "allowSendTime: has 4 periods, at most 3",
    ),
    "with seconds": (
        {"allowSendTime": [{"strTime": "10:00:00", "endTime": "12:00:00"}]},
        "allowSendTime[0]: must be a time of day HH:MM, got '10:00:00'",
    ),
    "minute 60": (
        {"allowSendTime": [{"strTime": "10:00", "endTime": "12:00"}, {"strTime": "13:00", "endTime": "13:60"}]},
        "allowSendTime[1]: must be a time of day HH:MM, got '13:60'",
    ),
    "hour 25": ({"allowSendTime": [{"strTime": "10:00", "endTime": "25:00"}]}, "allowSendTime[0]: must be a time of"),
    "no length": ({"allowSendTime": [{"strTime": "10:00", "endTime": "10:00"}]}, "allowSendTime[0]: a window must not"),
    "starts at 24": ({"allowSendTime": [{"strTime": "24:00", "endTime": "10:00"}]}, "allowSendTime[0]: a window"),
    "other digits of the hour": (
        {"allowSendTime": [{"strTime": "١٠:00", "endTime": "12:00"}]},
        "allowSendTime[0]: must be a time of day",
    ),
    "a period of words": ({"allowSendTime": [{"strTime": "morning", "endTime": "noon"}]}, "allowSendTime[0]: must be"),
    # recallFlow
    "flow a list": ({"recallFlow": [FLOW]}, "recallFlow: expected `object | null`, got `array`"),
    "flow true": ({"recallFlow": True}, "recallFlow: expected `object | null`, got `bool`"),
    "empty flow": ({"recallFlow": {}}, "recallFlow.recallType: is missing"),
    "no interval": ({"recallFlow": flow(recallInterval=...)}, "recallFlow.recallInterval: is missing"),
    "no rounds": ({"recallFlow": flow(recallNum=...)}, "recallFlow.recallNum: is missing"),
    "type 2": ({"recallFlow": flow(recallType=2)}, "recallFlow.recallType: must be 0 (all) or 1 (failed), got 2"),
    "type -1": ({"recallFlow": flow(recallType=-1)}, "recallFlow.recallType: must be 0 (all) or 1 (failed), got -1"),
    "type null": ({"recallFlow": flow(recallType=None)}, "recallFlow.recallType: expected `int`, got `null`"),
    "type a word": ({"recallFlow": flow(recallType="failed")}, "recallFlow.recallType: expected `int`, got `str`"),
    "interval 0": (
        {"recallFlow": flow(recallInterval=0)},
        "recallFlow.recallInterval: must be 1 to 1440 minutes, got 0",
    ),
    "interval 1441": ({"recallFlow": flow(recallInterval=1441)}, "recallFlow.recallInterval: must be 1 to 1440"),
    "interval a fraction": ({"recallFlow": flow(recallInterval=1.5)}, "recallFlow.recallInterval: expected `int`"),
    "rounds 0": ({"recallFlow": flow(recallNum=0)}, "recallFlow.recallNum: must be 1 to 10, got 0"),
    "rounds 11": ({"recallFlow": flow(recallNum=11)}, "recallFlow.recallNum: must be 1 to 10, got 11"),
    "intent a text": ({"recallFlow": flow(recallIntent="101")}, "recallFlow.recallIntent: expected `array | null`"),
    "a null intent": ({"recallFlow": flow(recallIntent=[None])}, "recallFlow.recallIntent[0]: expected `int | str`"),
    "an empty intent": ({"recallFlow": flow(recallIntent=["101", ""])}, "recallFlow.recallIntent: an intent code has"),
    "a long intent": ({"recallFlow": flow(recallIntent=["1" * 33])}, "recallFlow.recallIntent: an intent code has"),
    "many intents": (
        {"recallFlow": flow(recallIntent=list(range(101)))},
        "recallFlow.recallIntent: has 101 intent codes, at most 100",
    ),
    "nodes an object": ({"recallFlow": flow(nodeList={})}, "recallFlow.nodeList: expected `array | null`"),
    "an empty node": ({"recallFlow": flow(nodeList=[{}])}, "recallFlow.nodeList[0].scriptId: is missing"),
    "a node's template unknown": (
        {"recallFlow": flow(nodeList=[{"scriptId": 4711}])},
        "recallFlow.nodeList[0].scriptId: there is no agent template 4711",
    ),
}


async def refused(
    world: World, message: str, body: object = None, *, content: bytes | None = None, code: int = -22
) -> None:
    """The request is refused with a message that starts so, and nothing is stored."""
    before = await world.contents()
    done = await world.post(SEND, body, content=content)
    assert (done["code"], done["status"], done["data"]) == (code, str(code), None), done
    assert done["msg"] == done["reason"]
    assert done["msg"].startswith(message), done["msg"]
    assert len(done["msg"]) <= 2_000
    assert await world.contents() == before


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_members(lasting_world: World, changes: dict[str, Any], message: str) -> None:
    world = lasting_world
    world.run(refused(world, message, world.task_body(**changes)))


#: The same with templates, which only a world knows.
REFUSED_TEMPLATES: dict[str, tuple[Callable[[World], dict[str, Any]], str]] = {
    "retired": (lambda world: {"agentId": world.retired}, "agentId: there is no agent template"),
    "of another account": (lambda world: {"agentId": world.foreign}, "agentId: there is no agent template"),
    "retired, in a node": (
        lambda world: {"recallFlow": flow(nodeList=[{"scriptId": world.plain}, {"scriptId": world.retired}])},
        "recallFlow.nodeList[1].scriptId: there is no agent template",
    ),
    "of another account, in a node": (
        lambda world: {"recallFlow": flow(nodeList=[{"scriptId": world.foreign}])},
        "recallFlow.nodeList[0].scriptId: there is no agent template",
    ),
    "more nodes than rounds": (
        lambda world: {"recallFlow": flow(nodeList=nodes(world, 3))},
        "recallFlow.nodeList: has 3 nodes for 2 rounds, at most one each",
    ),
    "no value for a text variable": (
        lambda world: {"agentId": world.greeting, "numberInfoList": [NUMBER | {"text1": "Anna"}, NUMBER]},
        "numberInfoList: 1 of the numbers cannot be used: numberInfoList[1].text1 is missing, and the template uses it",
    ),
    "null for a text variable": (
        lambda world: {"agentId": world.greeting, "numberInfoList": [NUMBER | {"text1": None}]},
        "numberInfoList: 1 of the numbers cannot be used: numberInfoList[0].text1 is missing",
    ),
    "a value for another text variable": (
        lambda world: {"agentId": world.greeting, "numberInfoList": [NUMBER | {"text10": "Anna"}]},
        "numberInfoList: 1 of the numbers cannot be used: numberInfoList[0].text1 is missing",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED_TEMPLATES.values(), ids=REFUSED_TEMPLATES)
def test_bad_templates(lasting_world: World, changes: Callable[[World], dict[str, Any]], message: str) -> None:
    world = lasting_world
    world.run(refused(world, message, world.task_body(**changes(world))))


def test_a_template_that_is_not_yours_looks_like_one_that_is_not_there(lasting_world: World) -> None:
    world = lasting_world

    async def story() -> None:
        for template_id in (world.foreign, world.retired, 4711):
            done = await world.post(SEND, world.task_body(agentId=template_id))
            assert done["msg"] == f"agentId: there is no agent template {template_id}"

    world.run(story())


def test_a_name_that_is_taken(world: World) -> None:
    async def story() -> None:
        await world.send(taskName="twice")
        for name in ("twice", "  twice "):
            message = "taskName: a task named 'twice' exists already"
            await refused(world, message, world.task_body(taskName=name), code=-20)
        # Names of other accounts do not matter, and case does.
        await world.send(taskName="twice", tenant=world.other)
        await world.send(taskName="Twice")

    world.run(story())


def test_as_many_numbers_as_are_allowed_and_one_more(world: World) -> None:
    """Short numbers, to be quick."""
    entries = [b'{"calleeNumber":%d}' % (100_000 + number) for number in range(MAX_NUMBERS + 1)]
    head = msgspec.json.encode(world.task_body(numberInfoList=...))[:-1] + b',"numberInfoList":['

    async def story() -> None:
        too_many = head + b",".join(entries) + b"]}"
        await refused(world, "numberInfoList: holds 200001 numbers, at most 200000", content=too_many)
        done = await world.post(SEND, content=head + b",".join(entries[:MAX_NUMBERS]) + b"]}")
        assert done["code"] == 0, done
        detail = await world.get(f"/voice/group/call/detail/{done['data']}")
        assert detail["data"]["numCnt"] == MAX_NUMBERS

    world.run(story())


def test_repeats_count_as_numbers_but_are_dialled_once(world: World) -> None:
    async def story() -> None:
        given = [f"4915112345{number:03}" for number in range(12)]
        done = await world.post(SEND, world.task_body(numberInfoList=numbers(*given, "+" + given[0], *given, given[5])))
        assert done["code"] == 0
        named = ", ".join(f"numberInfoList[{place}]" for place in range(12, 22))
        assert done["warning"] == f"14 repeated numbers are dialled once: {named} and 4 more"
        detail = await world.get(f"/voice/group/call/detail/{done['data']}")
        assert detail["data"]["numCnt"] == 12

    world.run(story())


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({"taskName": "ab"}, {}),
        ({"taskName": "a" * 64}, {}),
        ({"taskName": "名\u3000字"}, {}),
        ({"maxCalls": 1}, {"call_seconds": 1}),
        ({"maxCalls": 999}, {"call_seconds": 999}),
        ({"maxCalls": None}, {"call_seconds": 300}),
        ({"maxRingingTime": 20}, {"ring_seconds": 20}),
        ({"maxRingingTime": 120}, {"ring_seconds": 120}),
        ({"maxRingingTime": "60"}, {"ring_seconds": 60}),
        ({"maxRingingTime": None}, {"ring_seconds": 60}),
        ({"enableRecording": 0}, {"record": False}),
        ({"enableRecording": 1}, {"record": True}),
        ({"calloutRate": 100}, {"callout_rate": 100}),
        ({"displayNum": ""}, {}),
        ({"displayNum": None}, {}),
        ({"displayNum": "1" * 20}, {}),
        ({"displayNum": 1008122211}, {}),
        ({"allowSendTime": []}, {"windows": ()}),
        ({"allowSendTime": None}, {"windows": ()}),
        ({"sendTime": ""}, {}),
        ({"recallFlow": None}, {}),
        ({"recallFlow": flow(recallInterval=1, recallNum=1)}, {}),
        ({"recallFlow": flow(recallInterval=1440, recallNum=10)}, {}),
        ({"recallFlow": flow(recallIntent=[], nodeList=[])}, {}),
        ({"recallFlow": flow(recallIntent=["1" * 32, 101])}, {}),
    ],
)
def test_the_edges_of_what_is_allowed(world: World, changes: dict[str, Any], stored: dict[str, Any]) -> None:
    async def story() -> None:
        task_id = await world.send(**changes)
        async with world.store.read() as tx:
            task = await tasks.get(tx, task_id)
        assert task is not None
        assert {name: getattr(task.limits, name) for name in stored} == stored
        assert task.caller_id == str(changes.get("displayNum") or "")

    world.run(story())


@pytest.mark.parametrize(("shown", "stored"), [("0049301234", "0049301234"), (" 123 ", "123"), (0, "0"), ("00", "00")])
def test_digits_to_show_are_kept_as_they_are(world: World, shown: object, stored: str) -> None:
    async def story() -> None:
        task_id = await world.send(displayNum=shown)
        async with world.store.read() as tx:
            task = await tasks.get(tx, task_id)
        assert task is not None
        assert task.caller_id == stored

    world.run(story())


def test_members_that_are_not_listed_are_ignored(world: World) -> None:
    async def story() -> None:
        await world.send(
            numberInfoList=[NUMBER | {"callInformation": {"name": "Li", "borrow_total_money": 5}, "text11": 1}],
            smsContent=["of another operation"],
            recallFlow=flow(nodeList=[{"scriptId": world.plain, "source": 3}], finishNum="x"),
        )

    world.run(story())
