"""The vendor's pushes have the published members, with the published types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringback.model.billing import Tariff
from ringback.model.outcome import Outcome
from ringback.model.report import Form
from ringback.model.task import TaskKind
from ringback.roles.vendor_pushes import push_text
from ringback.store.call_records import ReportedCall

FOLDER = Path(__file__).parents[1] / "fixtures" / "itnio"
#: Of the page pushVoiceReport, in its order; ``recordingFileId`` and the rest only in batches.
VOICE = {
    "voiceId": str,
    "type": int,
    "callee": str,
    "displayNum": str,
    "submitTime": int,
    "callTime": int,
    "ringingTime": int,
    "answerTime": int,
    "hangupTime": int,
    "callDuration": int,
    "chargedDuration": int,
    "billPeriod": str,
    "code": str,
    "voiceFileId": str,
    "rate": str,
    "baseCost": str,
    "cost": str,
    "terminationCode": str,
    "terminationReason": str,
    "sipCode": str,
    "feedbackValue": str,
    "calledInfo": str,
    "ringDuration": int,
    "currency": str,
    "settleRate": str,
    "quoteExchange": str,
    "settlePay": str,
    "outRecallCount": int,
}
BATCH = VOICE | {"recordingFileId": str, "scriptId": int, "intent": str}
AGENT = {
    "voiceId": str,
    "type": int,
    "callee": str,
    "displayNum": str,
    "submitTime": str,
    "callTime": str,
    "ringingTime": str,
    "answerTime": str,
    "hangupTime": str,
    "billPeriod": str,
    "code": str,
    "recordingFileId": str,
    "ringDuration": int,
    "currency": str,
    "quoteExchange": str,
    "chargedDuration": int,
    "rate": str,
    "cost": str,
    "settleRate": str,
    "settlePay": str,
    "aiAgentChargedDuration": int,
    "aiAgentBillPeriod": str,
    "aiAgentRate": str,
    "aiAgentFee": str,
    "aiAgentQuoteRate": str,
    "aiAgentQuoteFee": str,
    "terminationCode": str,
    "terminationReason": str,
    "sipCode": str,
    "calledInfo": str,
    "scriptId": int,
    "intent": str,
    "intentCode": str,
}


def published(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())["request"]["body"]
    return body


def call(**changes: Any) -> ReportedCall:
    """The call of the published sample: 12 seconds of ringing, 13 of talk, charged 20+20."""
    right: dict[str, Any] = {
        "id": 22121121451211349,
        "account_id": 1,
        "application_id": 1,
        "app_id": "default",
        "task_id": 7,
        "task_name": "task",
        "kind": TaskKind.VOICE,
        "called_info": "order 7",
        "currency": "USD",
        "callee": "63123456788",
        "caller_id": "6311012125",
        "outcome": Outcome.ANSWERED,
        "sip_code": 200,
        "q850_cause": 16,
        "submitted_at": 1670939112097,
        "started_at": 1670939568000,
        "answered_at": 1670939582000,
        "ended_at": 1670939595000,
        "ring_ms": 12_000,
        "talk_ms": 13_000,
        "hung_up_by": "callee",
        "keys": "5",
        "intent": "101",
        "reason": "",
        "trunk": "t",
        "recording": "7/1.wav",
        "template_id": 3,
        "voice_node": '{"voiceFileId":"12043042052c5b.mp3"}',
        "recall_round": 2,
        "node_id": 4,
        "flow_id": 5,
        "line": Tariff(23_625, 20, 20),
        "agent": Tariff(600_000, 60, 60),
    }
    return ReportedCall(**(right | changes))


def pushed(form: Form, *calls: ReportedCall) -> Any:
    return msgspec.json.decode(push_text(form, calls))


@pytest.mark.parametrize(
    ("form", "expected"),
    [(Form.SINGLE, VOICE), (Form.BATCH, BATCH), (Form.AGENT, AGENT)],
    ids=lambda value: str(value)[:8],
)
def test_every_published_member_has_its_published_type(form: Form, expected: dict[str, type]) -> None:
    body = pushed(form, call())
    record = body if form is Form.SINGLE else body["array"][0]
    assert {name: type(value) for name, value in record.items()} == expected


def test_the_published_single_push_is_what_such_a_call_gets() -> None:
    sample = published("callback.pushVoiceReport")
    body = pushed(Form.SINGLE, call())
    ours = {"voiceId", "code", "voiceFileId"}
    assert {name: body[name] for name in sample if name not in ours} == {
        name: value for name, value in sample.items() if name not in ours
    }
    assert {name: type(body[name]) for name in ours} == {name: type(sample[name]) for name in ours}
    assert (body["cost"], body["outRecallCount"], body["feedbackValue"]) == ("0.007875", 2, "5")


def test_the_published_batch_has_its_form() -> None:
    sample = published("callback.pushVoiceReportBatch")
    body = pushed(Form.BATCH, call(), call(id=2))
    assert body.keys() == sample.keys()
    assert sample["array"][0].keys() <= body["array"][0].keys()
    assert [one["voiceId"] for one in body["array"]] == ["22121121451211349", "2"]


def test_a_call_that_failed() -> None:
    failed = call(
        outcome=Outcome.BUSY,
        sip_code=486,
        answered_at=None,
        ring_ms=None,
        talk_ms=None,
        keys="",
        recording=None,
        voice_node=None,
        kind=TaskKind.CODE,
    )
    body = pushed(Form.SINGLE, failed)
    assert (body["terminationCode"], body["sipCode"], body["terminationReason"]) == ("486", "486", "busy")
    assert (body["chargedDuration"], body["cost"], body["feedbackValue"], body["type"]) == (0, "0", "-1", 2)
    assert (body["ringingTime"], body["answerTime"], body["voiceFileId"]) == (None, None, None)
    (agent,) = pushed(Form.AGENT, failed)["array"]
    assert (agent["terminationCode"], agent["aiAgentFee"], agent["recordingFileId"]) == ("486", "0", None)
    (well,) = pushed(Form.AGENT, call())["array"]
    assert (well["terminationCode"], well["aiAgentFee"], well["hangupTime"]) == ("0", "0.6", "1670939595000")
