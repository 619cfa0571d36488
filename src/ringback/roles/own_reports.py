"""Our own reports: one event a request, signed as Standard Webhooks asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from standardwebhooks import Webhook

from ringback.model.billing import money_text

if TYPE_CHECKING:
    from ringback.store.call_records import ReportedCall
    from ringback.store.deliveries import Due


def event_body(due: Due, of: ReportedCall | None) -> str:
    """The event as JSON: ``type``, ``timestamp`` (when it happened), ``data``. ``of``: the call, when it is of one."""
    if due.body is None:
        assert of is not None, "a report without a body is of a call"
        happened, data = of.ended_at, _call(of)
    else:
        happened, data = due.created_at, msgspec.json.decode(due.body)
    body = {"type": str(due.event), "timestamp": _iso(happened), "data": data}
    return msgspec.json.encode(body).decode()


def signed(secret: str, report_name: str, now_ms: int, body: str) -> dict[str, str]:
    """The three headers of Standard Webhooks for a body sent now."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    return {
        "webhook-id": report_name,
        "webhook-timestamp": str(now_ms // 1000),
        "webhook-signature": Webhook(secret).sign(report_name, moment, body),
    }


def _call(of: ReportedCall) -> dict[str, Any]:
    return {
        "call_id": of.id,
        "task_id": of.task_id,
        "task_name": of.task_name,
        "app_id": of.app_id,
        "flow_id": of.flow_id,
        "node_id": of.node_id,
        "round": of.recall_round,
        "template_id": of.template_id,
        "callee": of.callee,
        "caller_id": of.caller_id,
        "trunk": of.trunk,
        "outcome": str(of.outcome),
        "sip_code": of.sip_code,
        "q850_cause": of.q850_cause,
        "submitted_at": _iso(of.submitted_at),
        "started_at": _iso(of.started_at),
        "answered_at": _iso(of.answered_at),
        "ended_at": _iso(of.ended_at),
        "ring_ms": of.ring_ms,
        "talk_ms": of.talk_ms,
        "hung_up_by": of.hung_up_by,
        "keys": of.keys,
        "intent": of.intent,
        "reason": of.reason,
        "recording_id": of.recording_id,
        "called_info": of.called_info,
        "charged_seconds": 0 if of.line is None else of.line.charged_seconds(of.talk_ms),
        "cost": money_text(sum(tariff.cost_micros(of.talk_ms) for tariff in (of.line, of.agent) if tariff is not None)),
        "currency": of.currency,
    }


def _iso(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
