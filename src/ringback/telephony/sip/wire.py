"""What the native stack's events do not tell, read off its trace of SIP messages.

The stack reports neither 100 Trying, nor the Reason of a BYE, nor the response to its own CANCEL and BYE. Its trace
shows every message, on a thread of its own and without promise: under overload it drops messages. So what is read
here only ever adds to what the events say; nothing waits for it without a time limit.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.telephony.sip.addressing import CALL_HEADER

if TYPE_CHECKING:
    from collections.abc import Callable

#: Logger on which the binding delivers the trace.
TRACE_LOGGER: Final = "baresip.native.sip"

_CALL_ID: Final = re.compile(r"^(?:call-id|i)[ \t]*:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_CSEQ_METHOD: Final = re.compile(r"^cseq[ \t]*:[ \t]*\d+[ \t]+(\w+)", re.IGNORECASE | re.MULTILINE)
_OUR_CALL: Final = re.compile(rf"^{CALL_HEADER}[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_REASON: Final = re.compile(r"^reason[ \t]*:(.*)", re.IGNORECASE | re.MULTILINE)
_Q850_CAUSE: Final = re.compile(r"q\.850\b[^,]*?;\s*cause\s*=\s*(\d{1,3})", re.IGNORECASE)


class Seen(msgspec.Struct, frozen=True):
    """One message from the far side: a response to a request of ours (``code``), or a BYE (``code`` 0)."""

    method: str
    code: int
    q850_cause: int | None = None


def q850_cause(text: str) -> int | None:
    """The Q.850 cause in a Reason header value (RFC 3326), if there is one."""
    found = _Q850_CAUSE.search(text)
    return int(found[1]) if found else None


class WireTap(logging.Handler):
    """Follows the dialogs of our calls. ``is_up(call_id)`` and ``deliver(call_id, seen)`` are called on the trace's
    thread.
    """

    def __init__(self, is_up: Callable[[int], bool], deliver: Callable[[int, Seen], None]) -> None:
        super().__init__(logging.DEBUG)
        self._is_up = is_up
        self._deliver = deliver
        self._call_of: dict[str, int] = {}  # SIP Call-ID to our call id
        self._dialog_of: dict[int, str] = {}

    def install(self) -> None:
        """Start to listen. The trace goes nowhere else: it holds phone numbers and digest responses."""
        logger = logging.getLogger(TRACE_LOGGER)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(self)

    def forget(self, call_id: int) -> None:
        """The call has ended; its messages mean nothing any more."""
        self._call_of.pop(self._dialog_of.pop(call_id, ""), None)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one traced message: a line with its direction, then the message."""
        first, _, message = record.getMessage().partition("\n")
        head = message.partition("\r\n\r\n")[0]
        dialog = _CALL_ID.search(head)
        if dialog is None:
            return
        if first.startswith("TX"):
            self._sent(head, dialog[1])
            return
        call_id = self._call_of.get(dialog[1])
        seen = _seen(head) if call_id is not None else None
        if call_id is not None and seen is not None:
            self._deliver(call_id, seen)

    def _sent(self, head: str, dialog: str) -> None:
        if not head.startswith("INVITE ") or dialog in self._call_of:
            return
        ours = _OUR_CALL.search(head)
        if ours is not None and self._is_up(int(ours[1])):  # else the trace lags behind a quick end
            self._call_of[dialog] = int(ours[1])
            self._dialog_of[int(ours[1])] = dialog


def _seen(head: str) -> Seen | None:
    reason = _REASON.search(head)
    cause = q850_cause(reason[1]) if reason else None
    if head.startswith("BYE "):
        return Seen("BYE", 0, cause)
    method = _CSEQ_METHOD.search(head)
    if method is None or not head.startswith("SIP/2.0 ") or not head[8:11].isdecimal():
        return None
    return Seen(method[1], int(head[8:11]), cause)
