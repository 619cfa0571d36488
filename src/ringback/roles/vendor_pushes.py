"""The vendor's pushes: the AI-agent status report, and the voice status report, single and in batches.

Source: the published pages agentPushVoiceReportBatch, pushVoiceReport and pushVoiceReportBatch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ringback.model.billing import money_text
from ringback.model.numbers import country
from ringback.model.report import Form
from ringback.model.task import TaskKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.model.billing import Tariff
    from ringback.store.call_records import ReportedCall

#: ``type`` of the voice reports.
TYPES = {
    TaskKind.AGENT: 1,
    TaskKind.VOICE: 1,
    TaskKind.JOB: 1,
    TaskKind.GROUP: 1,
    TaskKind.CODE: 2,
    TaskKind.PHONE: 3,
}
#: ``type`` of the AI-agent report: group call.
AGENT_TYPE = 1


def push_text(form: Form, calls: Sequence[ReportedCall]) -> str:
    """The body of one request as JSON; a single report is of the first call."""
    return msgspec.json.encode(_push(form, calls)).decode()


def _push(form: Form, calls: Sequence[ReportedCall]) -> dict[str, Any]:
    if form is Form.AGENT:
        return {"array": [_agent_report(of) for of in calls]}
    if form is Form.BATCH:
        return {"array": [_voice_report(of) | _of_the_batch(of) for of in calls]}
    return _voice_report(calls[0])


def _voice_report(of: ReportedCall) -> dict[str, Any]:
    line = _line(of)
    return {
        "voiceId": str(of.id),
        "type": TYPES[of.kind],
        "callee": of.callee,
        "displayNum": of.caller_id,
        "submitTime": of.submitted_at,
        "callTime": of.started_at,
        "ringingTime": of.ringing_at,
        "answerTime": of.answered_at,
        "hangupTime": of.ended_at,
        "callDuration": (of.talk_ms or 0) // 1000,
        "chargedDuration": line["seconds"],
        "billPeriod": line["period"],
        "code": country(of.callee) or "",
        "voiceFileId": of.file_played,
        "rate": line["rate"],
        "baseCost": line["cost"],
        "cost": line["cost"],
        # The newer of the two published forms: the SIP code, 200 for an established call.
        "terminationCode": "200" if of.answered else _sip_code(of) or "-1",
        "terminationReason": _reason(of),
        "sipCode": _sip_code(of),
        "feedbackValue": of.keys[:1] or "-1",
        "calledInfo": of.called_info,
        "ringDuration": (of.ring_ms or 0) // 1000,
        "currency": of.currency,
        "settleRate": line["rate"],
        "quoteExchange": "1",
        "settlePay": line["cost"],
        "outRecallCount": of.recall_round,
    }


def _of_the_batch(of: ReportedCall) -> dict[str, Any]:
    return {"recordingFileId": of.recording_id, "scriptId": of.template_id, "intent": of.intent}


def _agent_report(of: ReportedCall) -> dict[str, Any]:
    line, agent = _line(of), _charged(of.agent, of)
    return {
        "voiceId": str(of.id),
        "type": AGENT_TYPE,
        "callee": of.callee,
        "displayNum": of.caller_id,
        "submitTime": _text(of.submitted_at),
        "callTime": _text(of.started_at),
        "ringingTime": _text(of.ringing_at),
        "answerTime": _text(of.answered_at),
        "hangupTime": _text(of.ended_at),
        "billPeriod": line["period"],
        "code": country(of.callee) or "",
        "recordingFileId": of.recording_id,
        "ringDuration": (of.ring_ms or 0) // 1000,
        "currency": of.currency,
        "quoteExchange": "1",
        "chargedDuration": line["seconds"],
        "rate": line["rate"],
        "cost": line["cost"],
        "settleRate": line["rate"],
        "settlePay": line["cost"],
        "aiAgentChargedDuration": agent["seconds"],
        "aiAgentBillPeriod": agent["period"],
        "aiAgentRate": agent["rate"],
        "aiAgentFee": agent["cost"],
        "aiAgentQuoteRate": agent["rate"],
        "aiAgentQuoteFee": agent["cost"],
        "terminationCode": "0" if of.answered else _sip_code(of) or "-1",
        "terminationReason": _reason(of),
        "sipCode": _sip_code(of),
        "calledInfo": of.called_info,
        "scriptId": of.template_id,
        "intent": of.intent,
        "intentCode": of.intent,
    }


def _line(of: ReportedCall) -> dict[str, Any]:
    return _charged(of.line, of)


def _charged(tariff: Tariff | None, of: ReportedCall) -> dict[str, Any]:
    if tariff is None:
        return {"seconds": 0, "period": "", "rate": "0", "cost": "0"}
    return {
        "seconds": tariff.charged_seconds(of.talk_ms),
        "period": tariff.period,
        "rate": money_text(tariff.rate_micros),
        "cost": money_text(tariff.cost_micros(of.talk_ms)),
    }


def _reason(of: ReportedCall) -> str:
    return "success" if of.answered else of.reason or str(of.outcome)


def _sip_code(of: ReportedCall) -> str:
    return "" if of.sip_code is None else str(of.sip_code)


def _text(at_ms: int | None) -> str | None:
    """A time as text, in milliseconds: one of the two formats that the page names."""
    return None if at_ms is None else str(at_ms)
