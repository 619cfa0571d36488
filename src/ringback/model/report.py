"""What is reported: the events, and the forms in which receivers get them."""

from __future__ import annotations

import base64
import secrets
from enum import StrEnum


class Event(StrEnum):
    """What happened. The values are the ``type`` of our own reports."""

    CALL_ENDED = "call.ended"
    TASK_FINISHED = "task.finished"
    TASK_CANCELLED = "task.cancelled"
    TASK_FAILED = "task.failed"  # could not be submitted
    NODE_STARTED = "node.started"
    NODE_COMPLETED = "node.completed"  # over, whatever its state is then
    FLOW_COMPLETED = "flow.completed"  # over, whatever its state is then
    SMS = "sms"  # a text message to send, no event of ours


class Form(StrEnum):
    """Which body a receiver gets."""

    EVENTS = "events"  # ours, one event a request, signed (Standard Webhooks)
    AGENT = "agent"  # the vendor's batch of AI-agent calls
    SINGLE = "single"  # the vendor's voice report, one call a request
    BATCH = "batch"  # the vendor's voice reports, many a request
    SMS = "sms"  # a provider of text messages


#: Forms that get the calls that ended, and nothing else.
CALL_FORMS = frozenset({Form.AGENT, Form.SINGLE, Form.BATCH})
#: Every event that a receiver of our own reports can ask for.
OWN_EVENTS = frozenset(Event) - {Event.SMS}
#: How many calls one request of the vendor's batches holds at most.
MOST_IN_A_BATCH = 100
_SECRET_BYTES = 24


def new_secret() -> str:
    """A secret that signs a receiver's reports, in the form that Standard Webhooks has."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"
