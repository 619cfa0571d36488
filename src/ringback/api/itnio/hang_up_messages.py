"""The members of a voice node that ask for a text message after the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import check_range
from ringback.model.hang_up_sms import MAX_CONTENT, MAX_SECONDS, MAX_SENDER, HangUpSms
from ringback.store import report_endpoints

if TYPE_CHECKING:
    from ringback.api.itnio.door import Call
    from ringback.api.itnio.fields import VoiceNodeIn


async def message_asked(call: Call, asked: VoiceNodeIn, prefix: str) -> HangUpSms | None:
    """The message that the node asks for; ``None`` when it asks for none. ``prefix`` stands before names in errors.

    Raises :class:`~ringback.api.itnio.envelope.VendorError` (-22), also when the account has nobody to send it.
    """
    if not _flag(asked.hangUpSms, f"{prefix}hangUpSms"):
        return None
    content = (asked.smsContent or "").strip()
    if not 1 <= len(content) <= MAX_CONTENT:
        raise bad(f"{prefix}smsContent", f"must have 1 to {MAX_CONTENT} characters, has {len(content)}")
    sender = "" if asked.senderId is None else str(asked.senderId).strip()
    if len(sender) > MAX_SENDER:
        raise bad(f"{prefix}senderId", f"must have at most {MAX_SENDER} characters, has {len(sender)}")
    on_key = None
    if _flag(asked.feedbackPush, f"{prefix}feedbackPush"):
        on_key = "" if asked.feedbackValue is None else str(asked.feedbackValue)
        if len(on_key) != 1 or on_key not in "0123456789":
            raise bad(f"{prefix}feedbackValue", "must be one key, 0 to 9")
    after = None
    if _flag(asked.successPush, f"{prefix}successPush"):
        if asked.successPushTime is None:
            raise bad(f"{prefix}successPushTime", "is missing")
        after = check_range(asked.successPushTime, f"{prefix}successPushTime", 0, MAX_SECONDS)
    on_failure = _flag(asked.failedPush, f"{prefix}failedPush")
    on_ringing = _flag(asked.ringPush, f"{prefix}ringPush")
    if on_key is None and after is None and not on_failure and not on_ringing:
        raise bad(f"{prefix}hangUpSms", "needs feedbackPush, successPush, failedPush or ringPush to be 1")
    async with call.door.store.read() as tx:
        if not await report_endpoints.has_sms_provider(tx, call.account.id):
            raise bad(f"{prefix}hangUpSms", "nobody is set up to send text messages for this account")
    return HangUpSms(
        content=content,
        sender=sender,
        on_key=on_key,
        on_success_after_seconds=after,
        on_failure=on_failure,
        on_ringing=on_ringing,
    )


def _flag(value: int | None, field: str) -> bool:
    return check_range(value or 0, field, 0, 1) == 1
