"""The text message after a call: which calls it follows, and when it leaves.

Source: ``hangUpSms`` of the vendor's voice nodes, with its triggers ``feedbackPush``, ``successPush``, ``failedPush``
and ``ringPush``. A call has at most one message: where several triggers fire, the earliest counts (our decision).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from ringback.model.outcome import ANSWERED_OUTCOMES

if TYPE_CHECKING:
    from ringback.model.outcome import Outcome

MAX_CONTENT = 1_000
MAX_SENDER = 32
MAX_SECONDS = 9_999
_KEY = re.compile(r"[0-9]", re.ASCII)


class HangUpSms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is sent, and after which calls. ``content`` may hold ``${text1}`` to ``${text10}``.

    ``on_key``: the first key pressed was this one. ``on_success_after_seconds``: it was answered; so long after it.
    ``on_failure``: it was not answered. ``on_ringing``: it rang, and was not answered. Raises ValueError that names the
    member at fault.
    """

    content: str
    sender: str = ""
    on_key: str | None = None
    on_success_after_seconds: int | None = None
    on_failure: bool = False
    on_ringing: bool = False

    def __post_init__(self) -> None:
        if not self.content.strip() or len(self.content) > MAX_CONTENT:
            raise ValueError(f"content must have 1 to {MAX_CONTENT} characters")
        if len(self.sender) > MAX_SENDER:
            raise ValueError(f"sender must have at most {MAX_SENDER} characters")
        if self.on_key is not None and not _KEY.fullmatch(self.on_key):
            raise ValueError("on_key must be one digit")
        seconds = self.on_success_after_seconds
        if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
            raise ValueError(f"on_success_after_seconds must be 0 to {MAX_SECONDS}")
        if self.on_key is None and seconds is None and not self.on_failure and not self.on_ringing:
            raise ValueError("on_key, on_success_after_seconds, on_failure, on_ringing: at least one must be set")


def sent_after_seconds(sms: HangUpSms, *, outcome: Outcome, keys: str, rang: bool) -> int | None:
    """How long after the end of such a call the message leaves; ``None``: it has none."""
    answered = outcome in ANSWERED_OUTCOMES
    waits = []
    if sms.on_key is not None and keys[:1] == sms.on_key:
        waits.append(0)
    if sms.on_success_after_seconds is not None and answered:
        waits.append(sms.on_success_after_seconds)
    if not answered and (sms.on_failure or (sms.on_ringing and rang)):
        waits.append(0)
    return min(waits, default=None)
