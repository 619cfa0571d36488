"""Bad requests of the other operations, and bad bodies of all: refused with the member named, and nothing changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ringback.api.itnio import door
from tests.api.vendor_world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

PERIOD = {"strTime": "2021-01-01 00:00:00", "endTime": "2021-12-31 23:59:59"}
PAGE = {"current": 1, "size": 10, "params": PERIOD}
UPDATE = {"keyId": 1, "recallType": 0, "recallInterval": 30, "recallNum": 1}

TASKS = "/voice/group/call/query"
CANCEL_TASKS = "/voice/group/call/cancel"
DETAIL = "/voice/recallFlow/queryDetail"
FLOWS = "/voice/recallFlow/queryPage"
EDIT = "/voice/recallFlow/update"
CANCEL = "/voice/recallFlow/cancel"
SEND = "/voice/group/call/send/agent"
PHONES = ("/voice/sendSip", "/voice/sipAdd", "/voice/sipQuery", "/voice/sipReset")
POSTED = (SEND, TASKS, CANCEL_TASKS, DETAIL, FLOWS, EDIT, CANCEL, *PHONES)


def page(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (PAGE | changes).items() if value is not ...}


def params(**changes: object) -> dict[str, object]:
    return page(params={name: value for name, value in (PERIOD | changes).items() if value is not ...})


def update(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (UPDATE | changes).items() if value is not ...}


def _both_lists() -> Iterator[tuple[str, str, dict[str, object], str]]:
    """What task list and flow list have in common."""
    for path in (TASKS, FLOWS):
        yield path, "no page", page(current=...), "current: is missing"
        yield path, "null page", page(current=None), "current: expected `int`, got `null`"
        yield path, "page 0", page(current=0), "current: must be 1 to 2147483647, got 0"
        yield path, "page -1", page(current=-1), "current: must be 1 to"
        yield path, "page 2^31", page(current=2**31), "current: must be 1 to"
        yield path, "a page without end", page(current=10**4000), "current: must be 1 to"
        yield path, "page a word", page(current="first"), "current: expected `int`, got `str`"
        yield path, "no size", page(size=...), "size: is missing"
        yield path, "size 0", page(size=0), "size: must be 1 to 100, got 0"
        yield path, "size 101", page(size=101), "size: must be 1 to 100, got 101"
        yield path, "size a fraction", page(size=1.5), "size: expected `int`, got `float`"
        yield path, "no params", page(params=...), "params: is missing"
        yield path, "null params", page(params=None), "params: expected `object`, got `null`"
        yield path, "params a list", page(params=[]), "params: expected `object`, got `array`"
        for name in PERIOD:
            yield path, f"no {name}", params(**{name: ...}), f"params.{name}: is missing"
            yield path, f"null {name}", params(**{name: None}), f"params.{name}: expected `str`, got `null`"
            yield path, f"empty {name}", params(**{name: ""}), f"params.{name}: must be a time like"
            yield path, f"{name} a date", params(**{name: "2021-01-01"}), f"params.{name}: must be a time like"
            yield path, f"{name} a number", params(**{name: 1609459200}), f"params.{name}: expected `str`, got `int`"


#: Operation, what is wrong, body, the message (its start).
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    *_both_lists(),
    (TASKS, "type 1", params(taskType=1), "params.taskType: must be 3 (agent group call), got 1"),
    (TASKS, "type null", params(taskType=None), "params.taskType: expected `int`, got `null`"),
    (TASKS, "type a list", params(taskType=[]), "params.taskType: expected `int`, got `array`"),
    (TASKS, "statuses a number", params(statusList=1), "params.statusList: expected `array | null`, got `int`"),
    (TASKS, "status 7", params(statusList=[1, 7]), "params.statusList: must hold statuses 0 to 6, got 7"),
    (TASKS, "status -1", params(statusList=[-1]), "params.statusList: must hold statuses 0 to 6, got -1"),
    (TASKS, "status a word", params(statusList=["calling"]), "params.statusList[0]: expected `int`, got `str`"),
    (TASKS, "application a word", params(idxAppId="default"), "params.idxAppId: expected `int"),
    (
        TASKS,
        "condition a number",
        params(searchCondition=5),
        "params.searchCondition: expected `str | null`, got `int`",
    ),
    (CANCEL_TASKS, "no list", {}, "taskIdList: is missing"),
    (CANCEL_TASKS, "null list", {"taskIdList": None}, "taskIdList: expected `array`, got `null`"),
    (CANCEL_TASKS, "a bare id", {"taskIdList": 1}, "taskIdList: expected `array`, got `int`"),
    (CANCEL_TASKS, "empty list", {"taskIdList": []}, "taskIdList: must hold at least one task"),
    (CANCEL_TASKS, "a word", {"taskIdList": [1, "one"]}, "taskIdList[1]: expected `int`, got `str`"),
    (CANCEL_TASKS, "a null", {"taskIdList": [None]}, "taskIdList[0]: expected `int`, got `null`"),
    (CANCEL_TASKS, "negative", {"taskIdList": [-1]}, "taskIdList[0]: expected `int` >= 0"),
    (CANCEL_TASKS, "too large", {"taskIdList": [2**63]}, "taskIdList[0]: expected `int` <= 9223372036854775807"),
    (DETAIL, "no key", {}, "keyId: is missing"),
    (DETAIL, "null key", {"keyId": None}, "keyId: expected `int`, got `null`"),
    (DETAIL, "key a word", {"keyId": "first"}, "keyId: expected `int`, got `str`"),
    (DETAIL, "key true", {"keyId": True}, "keyId: expected `int`, got `bool`"),
    (DETAIL, "key a fraction", {"keyId": 1.5}, "keyId: expected `int`, got `float`"),
    (DETAIL, "key a list", {"keyId": [1]}, "keyId: expected `int`, got `array`"),
    (DETAIL, "key an object", {"keyId": {"id": 1}}, "keyId: expected `int`, got `object`"),
    (DETAIL, "key negative", {"keyId": -1}, "keyId: expected `int` >= 0"),
    (DETAIL, "key too large", {"keyId": 2**63}, "keyId: expected `int` <= 9223372036854775807"),
    (DETAIL, "unknown key", {"keyId": 4711}, "keyId: there is no recall flow 4711"),
    (DETAIL, "key 0", {"keyId": 0}, "keyId: there is no recall flow 0"),
    (DETAIL, "unknown key as text", {"keyId": "4711"}, "keyId: there is no recall flow 4711"),
    (DETAIL, "name in other case", {"keyid": 1}, "keyId: is missing"),
    (FLOWS, "condition a number", params(taskName=1), "params.taskName: expected `str | null`, got `int`"),
    (EDIT, "nothing", {}, "recallType: is missing"),
    *((EDIT, f"no {name}", update(**{name: ...}), f"{name}: is missing") for name in UPDATE),
    *((EDIT, f"null {name}", update(**{name: None}), f"{name}: expected `int`, got `null`") for name in UPDATE),
    *((EDIT, f"{name} a word", update(**{name: "x"}), f"{name}: expected `int`, got `str`") for name in UPDATE),
    (EDIT, "type 2", update(recallType=2), "recallType: must be 0 (all) or 1 (failed), got 2"),
    (EDIT, "interval 0", update(recallInterval=0), "recallInterval: must be 1 to 1440 minutes, got 0"),
    (EDIT, "interval 1441", update(recallInterval=1441), "recallInterval: must be 1 to 1440 minutes, got 1441"),
    (EDIT, "rounds 0", update(recallNum=0), "recallNum: must be 1 to 10, got 0"),
    (EDIT, "rounds 11", update(recallNum=11), "recallNum: must be 1 to 10, got 11"),
    (EDIT, "intents a text", update(recallIntent="101"), "recallIntent: expected `array | null`, got `str`"),
    (EDIT, "an empty intent", update(recallIntent=[""]), "recallIntent: an intent code has 1 to 32 characters"),
    (EDIT, "an intent true", update(recallIntent=[True]), "recallIntent[0]: expected `int | str`, got `bool`"),
    (EDIT, "many intents", update(recallIntent=list(range(101))), "recallIntent: has 101 intent codes, at most 100"),
    (EDIT, "nodes a number", update(nodeList=1), "nodeList: expected `array | null`, got `int`"),
    (EDIT, "a bare template", update(nodeList=[1]), "nodeList[0]: expected `object`, got `int`"),
    (EDIT, "an empty node", update(nodeList=[{}]), "nodeList[0].scriptId: is missing"),
    (EDIT, "a null template", update(nodeList=[{"scriptId": None}]), "nodeList[0].scriptId: is missing"),
    (
        EDIT,
        "more nodes",
        update(nodeList=[{"scriptId": 1}] * 2),
        "nodeList: has 2 nodes for 1 rounds, at most one each",
    ),
    (
        EDIT,
        "template unknown",
        update(nodeList=[{"scriptId": 4711}]),
        "nodeList[0].scriptId: there is no agent template",
    ),
    (EDIT, "unknown key", update(keyId=4711), "keyId: there is no recall flow 4711"),
    (CANCEL, "nothing", {}, "type: is missing"),
    (CANCEL, "no id", {"type": 1}, "id: is missing"),
    (CANCEL, "no type", {"id": 1}, "type: is missing"),
    (CANCEL, "type 0", {"type": 0, "id": 1}, "type: must be 1 (flow), 2 (parent task) or 3 (node onward), got 0"),
    (CANCEL, "type 4", {"type": 4, "id": 1}, "type: must be 1 (flow), 2 (parent task) or 3 (node onward), got 4"),
    (CANCEL, "type null", {"type": None, "id": 1}, "type: expected `int`, got `null`"),
    (CANCEL, "type a word", {"type": "flow", "id": 1}, "type: expected `int`, got `str`"),
    (CANCEL, "id a list", {"type": 1, "id": [1]}, "id: expected `int`, got `array`"),
    (CANCEL, "id null", {"type": 1, "id": None}, "id: expected `int`, got `null`"),
    (CANCEL, "id negative", {"type": 1, "id": -1}, "id: expected `int` >= 0"),
    (CANCEL, "unknown flow", {"type": 1, "id": 4711}, "id: there is no recall flow 4711"),
    (CANCEL, "unknown parent", {"type": 2, "id": 4711}, "id: there is no recall flow of task 4711"),
    (CANCEL, "unknown node", {"type": 3, "id": 4711}, "id: there is no node 4711"),
]


@pytest.fixture(scope="module")
def furnished(lasting_world: World) -> World:
    """With a task and its flow, so that there is something that a bad request could change; and a foreign one."""
    world = lasting_world

    async def furnish() -> None:
        await world.send_with_flow(taskName="there")
        await world.send_with_flow(taskName="there", tenant=world.other)

    world.run(furnish())
    return world


async def refused(world: World, path: str, message: str, **sent: Any) -> None:
    before = await world.contents()
    done = await world.post(path, **sent)
    assert (done["code"], done["status"], done["data"]) == (-22, "-22", None), done
    assert done["msg"] == done["reason"]
    assert done["msg"].startswith(message), done["msg"]
    assert len(done["msg"]) <= 2_000
    assert await world.contents() == before


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [(path, body, message) for path, _, body, message in REFUSED],
    ids=[f"{path.rpartition('/')[2]}: {what}" for path, what, _, _ in REFUSED],
)
def test_bad_members(furnished: World, path: str, body: dict[str, Any], message: str) -> None:
    furnished.run(refused(furnished, path, message, body=body))
    furnished.run(refused(furnished, "/v3" + path, message, body=body))


NO_OBJECTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "body: is not JSON"),
    "blanks": (b" \r\n\t ", "body: is not JSON"),
    "a form": (b"keyId=12", "body: is not JSON"),
    "cut off": (b'{"keyId": 1', "body: is not JSON"),
    "two values": (b'{"keyId": 1} {"keyId": 2}', ""),
    "a number without end": (b'{"current": %b, "keyId": %b, "type": %b}' % ((b"9" * 5_000,) * 3), ""),
    "single quotes": (b"{'keyId': 1}", "body: is not JSON"),
    "a trailing comma": (b'{"keyId": 1,}', "body: is not JSON"),
    "no number": (b'{"keyId": NaN}', "body: is not JSON"),
    "UTF-16": ('{"keyId": 1}'.encode("utf-16"), "body: is not JSON"),
    "a byte order mark": (b'\xef\xbb\xbf{"keyId": 1}', "body: is not JSON"),
    "not UTF-8": (b'{"appId": "\xff\xfe", "params": "\xff"}', ""),
    "half a character": (b'{"taskName": "\\ud800"}', ""),
    "null": (b"null", "body: expected `object`, got `null`"),
    "true": (b"true", "body: expected `object`, got `bool`"),
    "a number": (b"12", "body: expected `object`, got `int`"),
    "a text": (b'"keyId"', "body: expected `object`, got `str`"),
    "a list": (b"[]", "body: expected `object`, got `array`"),
    "a list of one": (b'[{"keyId": 1}]', "body: expected `object`, got `array`"),
    "binary": (bytes(range(256)), "body: is not JSON"),
    "a gzip header": (b"\x1f\x8b\x08\x00", "body: is not JSON"),
    "deep objects": (b'{"x":' * 100_000, "body: is not JSON"),
    "deep lists": (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body: is not JSON"),
}


@pytest.mark.parametrize(("content", "message"), NO_OBJECTS.values(), ids=NO_OBJECTS)
@pytest.mark.parametrize("path", POSTED)
def test_bad_bodies(furnished: World, path: str, content: bytes, message: str) -> None:
    furnished.run(refused(furnished, path, message, content=content))


@pytest.mark.parametrize("path", POSTED[1:])
def test_a_body_larger_than_the_operation_can_need(furnished: World, path: str) -> None:
    content = b'{"keyId": "' + b"x" * 1_000_001 + b'"}'
    furnished.run(refused(furnished, path, "body: is larger than 1 MB", content=content))


@pytest.mark.parametrize(
    "key",
    ["0", "4711", "-1", "abc", "1.5", "9" * 18, "9" * 19, "9" * 5_000, "%D9%A1", "1%00", "1;DROP", "%20", "1'--"],
)
def test_a_task_that_is_not_there(furnished: World, key: str) -> None:
    for prefix in ("/voice", "/v3/voice"):
        done = furnished.run(furnished.get(f"{prefix}/group/call/detail/{key}"))
        assert (done["code"], done["data"]) == (-22, None)
        known = key in {"0", "4711", "9" * 18}
        assert done["msg"] == (f"id: there is no task {key}" if known else "id: must be a task id")


def test_what_belongs_to_somebody_else_looks_like_what_is_not_there(world: World) -> None:
    """The same message, but for the number that was asked for; and it is left alone."""

    async def story() -> None:
        task_id, flow = await world.send_with_flow(tenant=world.other)
        key, node = flow["keyId"], flow["nodeList"][0]["keyId"]
        before = await world.contents()
        asked: list[tuple[str, Any, int]] = [
            (DETAIL, lambda number: {"keyId": number}, key),
            (EDIT, lambda number: UPDATE | {"keyId": number}, key),
            (CANCEL, lambda number: {"type": 1, "id": number}, key),
            (CANCEL, lambda number: {"type": 2, "id": number}, task_id),
            (CANCEL, lambda number: {"type": 3, "id": number}, node),
            (CANCEL_TASKS, lambda number: {"taskIdList": [number]}, task_id),
        ]
        for path, body, foreign in asked:
            theirs = await world.post(path, body(foreign))
            nobodys = await world.post(path, body(987_654))
            assert theirs["code"] == nobodys["code"] == (-24 if path == CANCEL_TASKS else -22)
            assert theirs["msg"] == nobodys["msg"].replace("987654", str(foreign))
        theirs = await world.get(f"/voice/group/call/detail/{task_id}")
        assert theirs["msg"] == f"id: there is no task {task_id}"
        for path in (TASKS, FLOWS):
            assert (await world.post(path, PAGE))["data"]["total"] == 0
            assert (await world.post(path, PAGE, tenant=world.other))["data"]["total"] == 1
        assert await world.contents() == before

    world.run(story())


def test_a_sender_that_falls_silent_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SILENCE_SECONDS", 0.01)

    async def story() -> None:
        sent: list[dict[str, Any]] = []
        parts = iter([{"type": "http.request", "body": b'{"keyId"', "more_body": True}])

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": DETAIL,
            "raw_path": DETAIL.encode(),
            "root_path": "",
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1234),
            "headers": [(name.lower().encode(), value.encode()) for name, value in world.headers().items()],
        }
        async with asyncio.timeout(5):
            await world.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        assert b'"code":-22,"msg":"body: did not arrive' in body

    world.run(story())
