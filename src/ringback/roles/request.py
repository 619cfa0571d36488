"""What is sent to a receiver: the headers and body of each form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.model.report import MOST_IN_A_BATCH, Event, Form
from ringback.roles.own_reports import event_body, signed
from ringback.roles.vendor_pushes import push_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringback.store.call_records import ReportedCall
    from ringback.store.deliveries import Due
    from ringback.store.report_endpoints import Endpoint

#: A report, with the call that it is of.
Reported = tuple["Due", "ReportedCall | None"]
BATCHES = frozenset({Form.AGENT, Form.BATCH})


def in_requests(form: Form, found: Sequence[Reported]) -> Iterator[list[Reported]]:
    """Which reports go together. What has failed before goes alone: it may be the one that spoils its batch."""
    fresh = [one for one in found if one[0].attempts == 0]
    size = MOST_IN_A_BATCH if form in BATCHES else 1
    yield from ([one] for one in found if one[0].attempts > 0)
    yield from (fresh[at : at + size] for at in range(0, len(fresh), size))


def request(endpoint: Endpoint, unit: Sequence[Reported], now_ms: int) -> tuple[dict[str, str], str]:
    """Headers and body. Every try of a report carries the same id."""
    first, of = unit[0]
    name = f"msg_{first.id}"
    match endpoint.form:
        case Form.EVENTS:
            body = event_body(first, of)
            return signed(endpoint.secret, name, now_ms, body), body
        case Form.SMS:
            assert first.body is not None, "a text message has its body from the start"
            headers = {"Idempotency-Key": f"sms_{first.subject_id}"}
            if endpoint.secret:
                headers["Authorization"] = f"Bearer {endpoint.secret}"
            return headers, first.body
        case Form.SINGLE:
            return {"webhook-id": name}, push_text(endpoint.form, [of for _, of in unit if of is not None])
        case Form.AGENT | Form.BATCH:
            # No id of its own: the next try may be of another batch, and each record has its voiceId.
            return {}, push_text(endpoint.form, [of for _, of in unit if of is not None])


def is_gone(one: Reported) -> bool:
    """Whether there is nothing to make its body of."""
    due, of = one
    return due.body is None and (of is None or due.event is not Event.CALL_ENDED)
