"""Requests made from the door's own OpenAPI description, mixed with ids, names and times that mean something here.

A description knows that ``keyId`` is an integer, not which integers exist; without the mixture nearly every request
would end in "does not exist" before it reached what is to be tested.
"""

from __future__ import annotations

import json
import os
from typing import Any, cast

import msgspec
import schemathesis
from hypothesis import strategies as st
from schemathesis.core import NotSet

from ringback.api.app import create_app
from ringback.settings import Settings
from ringback.store import registrations
from ringback.store.database import Store
from ringback.store.registrations import Contact
from tests.api.vendor_world import ANSWERED, BUSY, PUBLISHED_SECONDS, FakeClock, World

#: How many requests over all operations; ``make fuzz-door`` asks for more.
CASES = int(os.environ.get("FUZZ_DOOR_CASES", "2000"))

#: Record queries take their times in another form than everything else.
RECORD_QUERY = "/recordGroupQuery"

#: How a request is signed: as it must be three times out of four.
SIGNED = st.sampled_from(["right"] * 12 + ["other key", "corrupt", "expired", "missing"])


def operations() -> list[schemathesis.APIOperation[Any, Any, Any]]:
    """Every operation of the vendor's door, as the application describes itself."""
    # The description needs no store.
    app = create_app(cast("Store", None), FakeClock(0), Settings())
    described = schemathesis.openapi.from_dict(app.openapi_schema.to_schema())
    found = [result.ok() for result in described.get_all_operations()]
    return [operation for operation in found if operation.get_parameter("Sign", "header") is not None]


class Values(msgspec.Struct, frozen=True):
    """What a member can mean in a world: values that are right by themselves, and values that are not."""

    right: list[Any]
    odd: list[Any] = []


class Known(msgspec.Struct, frozen=True):
    """Values by the name of the member that takes them."""

    by_name: dict[str, Values]

    def __repr__(self) -> str:
        # Hypothesis prints it with every strategy that is given it.
        return f"Known({len(self.by_name)} members)"

    def at(self, path: str) -> Known:
        """The same as the operation at the path means them: ``keyId`` is a task's there or a flow's."""
        times = {"strTime": Values(["2021-08-25T00:00:00+08:00"], ["x"]), "endTime": Values(["2021-09-01T12:00:00Z"])}
        if path.endswith(RECORD_QUERY):
            return Known(self.by_name | times)
        if "/group/call/" in path:
            return Known(self.by_name | {"keyId": self.by_name["taskKey"]})
        return self

    def mixed(self, draw: st.DrawFn, value: Any, replaced: str, *, name: str = "") -> Any:
        """The value with members replaced: ``none``, about half by known ones, or by right ones wherever there are."""
        known = self.by_name.get(name)
        if known is not None and replaced == "right":
            return draw(st.sampled_from(known.right))
        if known is not None and replaced == "half" and draw(st.booleans()):
            return draw(st.sampled_from(known.right + known.odd))
        if isinstance(value, dict):
            return {member: self.mixed(draw, of, replaced, name=member) for member, of in value.items()}
        if isinstance(value, list):
            return [self.mixed(draw, of, replaced) for of in value]
        return value


async def furnish(world: World) -> Known:
    """Tasks in every state that requests find: waiting, calling, finished, cancelled; flows pending and running."""
    numbers = [{"calleeNumber": f"49151123456{number:02}", "text1": "you"} for number in range(3)]
    flow = {"recallType": 0, "recallInterval": 1, "recallNum": 3}
    finished = await world.send(taskName="finished", numberInfoList=numbers)
    running, running_flow = await world.send_with_flow(taskName="running", numberInfoList=numbers, recallFlow=flow)
    await world.submit()
    await world.dial(*[ANSWERED, BUSY, BUSY] * 2)
    world.clock.set(PUBLISHED_SECONDS + 61)
    round_id = await world.start_next_round()
    later = [await world.send_with_flow(taskName=f"later {n}", sendTime="2031-01-01 00:00:00") for n in range(30)]
    cancelled = await world.send(taskName="cancelled", sendTime="2031-01-01 00:00:00")
    await world.post("/voice/group/call/cancel", {"taskIdList": [cancelled]})
    foreign, foreign_flow = await world.send_with_flow(taskName="foreign", agentId=world.foreign, tenant=world.other)
    tasks = [finished, running, round_id, cancelled, foreign, *(task for task, _ in later)]
    flows = [running_flow, foreign_flow, *(flow for _, flow in later)]
    keys = [flow["keyId"] for flow in flows]
    nodes = [node["keyId"] for flow in flows for node in flow["nodeList"]]
    template = world.plain
    odd_templates = [world.greeting, world.retired, world.foreign]
    names = [f"new {number}" for number in range(5_000)]
    made = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 2}
    here, away = (phone["account"] for phone in (await world.post("/voice/sipAdd", made))["data"])
    async with world.store.write() as tx:
        await registrations.register(tx, here, Contact("desk", "192.0.2.7", 5060), world.clock.now_ms() + 10**9)
    odd_moments = ["2031-01-01 00:00:00", "2021-02-29 00:00:00", "1969-12-31 23:59:59"]
    return Known(
        {
            "account": Values([here, int(here)], [away, "test_001", "", "\u0000"]),
            "agentId": Values([template], odd_templates),
            "allowSendTime": Values(
                [None, [], [{"strTime": "09:00", "endTime": "18:30"}]], [[{"strTime": "18:30", "endTime": "9"}]]
            ),
            "appId": Values(["default"], ["none", ""]),
            "callee": Values(["4915112345600"], ["4915112345601,4915112345602", "123", 4915112345600]),
            "calleeNumber": Values(["4915112345600", 4915112345622], ["+49 151 12345633", "123"]),
            "calloutRate": Values([None, 1, 2, 100, "1"], [0, 101]),
            "current": Values([1, "1"], [2, 0, 2**31]),
            "displayNum": Values([None, "", "4930123"], ["x" * 21]),
            "enableRecording": Values([None, 0, 1], [2]),
            "endTime": Values(["2021-09-02 00:00:00"], odd_moments),
            "groupName": Values(names, ["sales", "abc"]),
            "id": Values([*keys, *nodes, *tasks]),
            "idxAppId": Values([None, world.application_id], [0]),
            "key": Values([str(task) for task in tasks], ["0", "x", "%00", "1" * 30]),
            "keyId": Values(keys, [finished, 0]),
            "taskKey": Values([finished], [*tasks, 0]),
            "maxCalls": Values([None, 1, 300, 999], [0, 1000]),
            "maxRingingTime": Values([None, 20, 60, 120], [19, 121]),
            "nodeList": Values([None, [], [{"scriptId": template}]], [[{"scriptId": one}] for one in odd_templates]),
            "numberInfoList": Values([numbers, numbers[:1], numbers * 2], [[], [{"calleeNumber": "1"}]]),
            "phoneName": Values(names, ["desk-1", "x" * 33]),
            "quantity": Values([1, 3, "2"], [0, 51]),
            "recallFlow": Values([None, flow], [flow | {"recallNum": 11}, {}]),
            "recallInterval": Values([1, 30, 1440], [0, 1441]),
            "recallIntent": Values([None, [], ["101"]], [[""], "101"]),
            "recallNum": Values([1, 2, 3, 10], [0, 11]),
            "recallType": Values([0, 1], [2]),
            "resendType": Values([0, 1], [2]),
            "scriptId": Values([template], odd_templates),
            "sendTime": Values([None, "2031-01-01 00:00:00"], odd_moments),
            "size": Values([1, 10, 100, "10"], [0, 101]),
            "statusList": Values([None, [], [0, 1, 2]], [[7]]),
            "strTime": Values(["2021-08-20 00:00:00"], odd_moments),
            "taskIdList": Values([[task] for task, _ in later[:15]], [[], [finished], [later[0][0], foreign], tasks]),
            "taskName": Values(names, ["finished", "later 1"]),
            "taskType": Values([3], [1]),
            "type": Values([1, 2, 3], [0]),
        }
    )


@st.composite
def requests(draw: st.DrawFn, cases: st.SearchStrategy[Any], known: Known) -> tuple[str, bytes, str]:
    """Path, body and how it is signed."""
    # Before the body: where a large one uses up what there is to draw from, all that is drawn later is the simplest.
    signed = draw(SIGNED)
    replaced = draw(st.sampled_from(["right", "none", "half", "right"]))
    case = draw(cases)
    path = case.path
    known = known.at(path)
    for name, value in (case.path_parameters or {}).items():
        path = path.replace(f"{{{name}}}", str(known.mixed(draw, value, replaced, name=name)))
    body = b"" if isinstance(case.body, NotSet) else case.body
    if not isinstance(body, bytes):
        body = json.dumps(known.mixed(draw, body, replaced)).encode()
    return path, body, signed


def headers(world: World, signed: str) -> dict[str, str]:
    """Sign headers of that kind."""
    if signed == "expired":
        return world.headers(seconds=world.clock.now_ms() // 1000 - 100_000)
    found = world.headers()
    if signed == "other key":
        found["Api-Key"] = world.other.key
    elif signed == "corrupt":
        found["Sign"] = found["Sign"][:-1] + ("0" if found["Sign"][-1] != "0" else "1")
    elif signed == "missing":
        del found["Timestamp"]
    return found
