"""What the operator sees: health, metrics, the description, and faults of ours."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from structlog.testing import capture_logs

from ringback.api import app
from ringback.api.itnio import call_centre, fields, job_fields, phone_fields, records, voice_fields, voice_files
from ringback.cli.common import configure_logging
from ringback.model.engine_node import STALE_MS, NodeState
from ringback.settings import Settings
from ringback.store import engine_nodes, flows
from tests.api.vendor_world import ANSWERED, BUSY, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DETAIL = "/voice/recallFlow/queryDetail"
#: The operations and the types of their bodies.
BODIES = {
    "/group/call/send/agent": fields.SendAgentIn,
    "/group/call/send": voice_fields.SendVoiceIn,
    "/group/call/update": voice_fields.UpdateVoiceIn,
    "/group/call/resend": voice_fields.ResendVoiceIn,
    "/sendCode": voice_fields.SendCodeIn,
    "/sendGroup": voice_fields.SendGroupIn,
    "/group/call/query": fields.TaskQueryIn,
    "/group/call/cancel": fields.TaskCancelIn,
    "/group/call/resend/ai": voice_fields.ResendAgentIn,
    "/fileUpload": voice_files.FileUploadIn,
    "/fileQuery": voice_files.FileQueryIn,
    "/recordGroupQuery": records.RecordQueryIn,
    "/recallFlow/queryDetail": fields.RecallDetailIn,
    "/recallFlow/queryPage": fields.FlowQueryIn,
    "/recallFlow/update": fields.RecallUpdateIn,
    "/recallFlow/cancel": fields.RecallCancelIn,
    "/sendSip": phone_fields.SendSipIn,
    "/sipAdd": phone_fields.SipAddIn,
    "/sipQuery": phone_fields.SipQueryIn,
    "/sipReset": phone_fields.SipResetIn,
}

#: Those of the other families, by their whole name.
OTHER_BODIES: dict[str, type[msgspec.Struct]] = {
    "/v3/cc/preview/resendTask": call_centre.CcResendIn,
    "/aivoice/dialogFlowList": job_fields.OfApplicationIn,
    "/aivoice/channelList": job_fields.OfApplicationIn,
    "/aivoice/properties": job_fields.PropertiesIn,
    "/aivoice/taskAdd": job_fields.JobAddIn,
    "/aivoice/taskEdit": job_fields.JobEditIn,
    "/aivoice/importCustomer": job_fields.ImportIn,
    "/aivoice/importCustomer/del": job_fields.WithdrawIn,
    "/aivoice/taskStart": job_fields.JobIn,
    "/aivoice/taskStop": job_fields.JobIn,
    "/aivoice/taskDel": job_fields.JobIn,
    "/aivoice/taskList": job_fields.JobQueryIn,
    "/aivoice/taskNoCall": job_fields.NoCallIn,
    "/aivoice/recordQuery": job_fields.JobRecordQueryIn,
}


def test_an_unexpected_fault_tells_the_caller_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("SELECT api_secret FROM account")

    monkeypatch.setattr(flows.BY_ID, "find", broken)

    async def story() -> None:
        with capture_logs() as logs:
            done = await world.post(DETAIL, {"keyId": 1})
        said = "system exception; the server's log tells more"
        assert done == {"code": -18, "msg": said, "status": "-18", "reason": said, "data": None}
        (entry,) = logs
        assert (entry["event"], entry["log_level"], entry["path"]) == ("request_failed", "error", DETAIL)
        assert entry["exc_info"]

    world.run(story())


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_is_logged_of_a_fault_holds_no_secret_and_no_number(
    world: World, log_format: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    """The database refuses the numbers; neither the caller's headers nor the statement's values are logged."""

    async def story() -> None:
        async with world.store.write() as tx:
            await tx.execute(
                text("CREATE TRIGGER broken BEFORE INSERT ON call BEGIN SELECT RAISE(ABORT, 'no more calls'); END")
            )
        done = await world.post("/voice/group/call/send/agent", world.task_body())
        assert done["code"] == -18

    configure_logging(Settings(log_format=log_format))
    try:
        world.run(story())
    finally:
        structlog.reset_defaults()
    logged = capsys.readouterr().err
    assert "request_failed" in logged
    assert "no more calls" in logged, "the cause"
    assert "tasks.py" in logged, "the place"
    for hidden in (world.account.key, world.account.secret, world.headers()["Sign"], "4915112345600"):
        assert hidden not in logged


def test_a_fault_in_a_transaction_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is stored before its flow; when the flow cannot be, neither is."""

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(flows, "create", broken)

    async def story() -> None:
        before = await world.contents()
        flow = {"recallType": 1, "recallInterval": 30, "recallNum": 1}
        with capture_logs():
            done = await world.post("/voice/group/call/send/agent", world.task_body(recallFlow=flow))
        assert done["code"] == -18
        assert await world.contents() == before

    world.run(story())


def test_a_closed_store_is_a_fault_of_ours(world: World) -> None:
    async def story() -> None:
        await world.store.close()
        with capture_logs():
            done = await world.post(DETAIL, {"keyId": 1})
        assert done["code"] == -18

    world.run(story())


def test_the_process_is_live_and_the_store_ready_until_it_is_closed(world: World) -> None:
    async def story() -> None:
        ready = await world.request("GET", "/health/ready", headers={})
        assert (ready.status_code, ready.text) == (200, "ok")
        await world.store.close()
        with capture_logs() as logs:
            ready = await world.request("GET", "/health/ready", headers={})
        assert (ready.status_code, ready.text) == (503, "the database does not answer")
        assert [entry["event"] for entry in logs] == ["not_ready"]
        live = await world.request("GET", "/health/live", headers={})
        assert (live.status_code, live.text) == (200, "ok")

    world.run(story())


def test_a_store_that_does_not_answer_in_time_is_not_ready(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def stuck() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(app, "READY_SECONDS", 0.01)
    monkeypatch.setattr(world.store, "read", stuck)

    async def story() -> None:
        with capture_logs():
            ready = await world.request("GET", "/health/ready", headers={})
        assert ready.status_code == 503

    world.run(story())


def test_metrics_show_what_is_stored(world: World) -> None:
    async def story() -> None:
        await world.send(numberInfoList=[{"calleeNumber": f"49151123456{number:02}"} for number in range(5)])
        await world.send(taskName="later", sendTime="2030-01-01 00:00:00")
        await world.submit()
        await world.dial(ANSWERED, BUSY, BUSY)
        well = NodeState(name="a:1", draining=True, trouble="", live_calls=3, lines=9, weight=1, placed=8)
        away = msgspec.structs.replace(well, name="b:1", trouble="connection refused", live_calls=0)
        async with world.store.write() as tx:
            await engine_nodes.report(tx, world.worker_id, "sandbox", [well, away], world.clock.now_ms())
            await engine_nodes.set_draining(tx, "a:1", world.clock.now_ms(), on=True)
        response = await world.request("GET", "/metrics", headers={})
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
        assert samples == {
            ("ringback_held",): 0,
            ("ringback_trunk_lines_busy", "t"): 0,
            ("ringback_trunk_lines", "t"): 1000,
            ("ringback_trunk_breaker_open", "t"): 0,
            ("ringback_trunk_breaker_openings", "t"): 0,
            ("ringback_tasks", "calling"): 1,
            ("ringback_tasks", "waiting"): 1,
            ("ringback_calls", "queued"): 3,
            ("ringback_calls", "active"): 0,
            ("ringback_calls", "answered"): 1,
            ("ringback_calls", "failed"): 2,
            ("ringback_calls", "skipped"): 0,
            ("ringback_calls", "cancelled"): 0,
            ("ringback_node_up", "a:1"): 1,
            ("ringback_node_up", "b:1"): 0,
            ("ringback_node_draining", "a:1"): 1,
            ("ringback_node_draining", "b:1"): 0,
            ("ringback_node_live_calls", "a:1"): 3,
            ("ringback_node_live_calls", "b:1"): 0,
        }
        async with world.store.write() as tx:
            await engine_nodes.report(tx, world.worker_id, "sandbox", [well], world.clock.now_ms() - STALE_MS - 1)
        response = await world.request("GET", "/metrics", headers={})
        assert 'ringback_node_up{node="a:1"} 0.0' in response.text, "no dialler runs"

    world.run(story())


async def _description(world: World) -> dict[str, Any]:
    response = await world.request("GET", "/schema", headers={})
    assert response.status_code == 200
    again = await world.request("GET", "/schema/openapi.json", headers={})
    assert again.content == response.content
    found = msgspec.json.decode(response.content)
    assert isinstance(found, dict)
    return found


def test_every_operation_is_described_as_it_is_decoded(lasting_world: World) -> None:
    async def story() -> None:
        paths = (await _description(lasting_world))["paths"]
        kinds = {prefix + path: kind for prefix in ("/voice", "/v3/voice") for path, kind in BODIES.items()}
        kinds |= OTHER_BODIES
        kinds |= {f"/v3{path}": kind for path, kind in OTHER_BODIES.items() if path.startswith("/aivoice/")}
        posted = {path for path, item in paths.items() if "post" in item and not path.startswith("/v1/")}
        assert posted == kinds.keys()
        for path, kind in kinds.items():
            body = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert body["properties"].keys() == {field.name for field in msgspec.structs.fields(kind)}
            required = {field.name for field in msgspec.structs.fields(kind) if field.required}
            assert set(body.get("required", ())) == required

    world = lasting_world
    world.run(story())


def test_every_operation_describes_its_headers_and_its_envelope(lasting_world: World) -> None:
    async def story() -> None:
        description = await _description(lasting_world)
        operations = [
            operation for path, item in description["paths"].items() if "/voice/" in path for operation in item.values()
        ]
        assert len(operations) >= 2 * len(BODIES)
        for operation in operations:
            headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
            assert headers == {"Api-Key", "Timestamp", "Sign"}
            assert "200" in operation["responses"]
            answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
            assert answer.keys() == {"code", "msg", "status", "reason", "data", "warning"}
            assert operation["summary"] != "Handle"
        ids = [operation["operationId"] for item in description["paths"].values() for operation in item.values()]
        assert len(ids) == len(set(ids))

    lasting_world.run(story())


def test_nested_members_are_described_in_place(lasting_world: World) -> None:
    async def story() -> None:
        paths = (await _description(lasting_world))["paths"]
        content = paths["/voice/group/call/send/agent"]["post"]["requestBody"]["content"]
        properties = content["application/json"]["schema"]["properties"]
        number = properties["numberInfoList"]["items"]
        assert number["required"] == ["calleeNumber"]
        texts = {f"text{index}" for index in range(1, 11)}
        assert number["properties"].keys() == {"calleeNumber", "callInformation", *texts}
        flow, nothing = properties["recallFlow"]["anyOf"]
        assert nothing == {"type": "null"}
        assert "scriptId" in flow["properties"]["nodeList"]["anyOf"][0]["items"]["properties"]

    lasting_world.run(story())
