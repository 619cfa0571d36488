"""Request bodies of the vendor's door as typed values, and the two text formats it uses for time.

Integers may be sent as numbers or as text (clients in the wild do both); anything else of a wrong type is refused with
the path of the field. Members that are not listed here are ignored.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ringback.api.itnio.envelope import VendorError, bad

T = TypeVar("T")

#: What the types below do not say; the OpenAPI description repeats it.
INTEGERS_AS_TEXT = "Integers may also be sent as text. Members that are not listed are ignored."

_FORMAT = "%Y-%m-%d %H:%M:%S"
# Times outside would not be times in every zone.
_FIRST_YEAR = 1970
_LAST_YEAR = 2999
_MAX_ID = 2**63 - 1

Id = Annotated[int, Meta(ge=0, le=_MAX_ID)]


class VoiceNodeIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a voice task plays to whoever answers, and the text message after the call.

    ``source``: 1 an uploaded file, 2 a file that is uploaded with it, 3 a text to speak.
    """

    source: int | None = None
    voiceFileId: str | None = None
    uploadName: str | None = None
    baseFile: str | None = None
    text: str | None = None
    lan: str | None = None
    speakingRate: float | None = None
    ssmlGender: int | None = None
    accent: str | int | None = None
    hangUpSms: int | None = None
    smsContent: str | None = None
    senderId: str | int | None = None
    feedbackPush: int | None = None
    feedbackValue: str | int | None = None
    successPush: int | None = None
    successPushTime: int | None = None
    failedPush: int | None = None
    ringPush: int | None = None


class RecallNodeIn(VoiceNodeIn, frozen=True, kw_only=True):
    """``nodeList[]``: an agent template, or what a voice node plays."""

    scriptId: Id | None = None


class RecallFlowIn(msgspec.Struct, frozen=True, kw_only=True):
    """``recallFlow`` in task creation."""

    recallType: int
    recallInterval: int
    recallNum: int
    recallIntent: list[str | int] | None = None
    nodeList: list[RecallNodeIn] | None = None


class RecallUpdateIn(RecallFlowIn, frozen=True, kw_only=True):
    """``recallFlow/update``."""

    keyId: Id


class RecallDetailIn(msgspec.Struct, frozen=True):
    """``recallFlow/queryDetail``."""

    keyId: Id


class RecallCancelIn(msgspec.Struct, frozen=True):
    """``recallFlow/cancel``."""

    type: int
    id: Id


class PeriodIn(msgspec.Struct, frozen=True):
    """``allowSendTime[]``: ``HH:MM`` twice."""

    strTime: str
    endTime: str


class NumberIn(msgspec.Struct, frozen=True, gc=False):
    """``numberInfoList[]``."""

    calleeNumber: str | int
    text1: str | None = None
    text2: str | None = None
    text3: str | None = None
    text4: str | None = None
    text5: str | None = None
    text6: str | None = None
    text7: str | None = None
    text8: str | None = None
    text9: str | None = None
    text10: str | None = None
    callInformation: dict[str, str | int | float | None] | None = None


class TaskSettingsIn(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every call of a task, and when it starts."""

    displayNum: str | int | None = None
    maxCalls: int | None = None
    maxRingingTime: int | None = None
    enableRecording: int | None = None
    sendTime: str | None = None
    allowSendTime: list[PeriodIn] | None = None
    calloutRate: int | None = None


class SendAgentIn(TaskSettingsIn, frozen=True, kw_only=True):
    """``group/call/send/agent``."""

    appId: str
    taskName: str
    numberInfoList: list[NumberIn]
    agentId: Id | None = None
    scriptId: Id | None = None
    recallFlow: RecallFlowIn | None = None


class TaskFilterIn(msgspec.Struct, frozen=True, kw_only=True):
    """``params`` of ``group/call/query``."""

    strTime: str
    endTime: str
    taskType: int | UnsetType = UNSET
    statusList: list[int] | None = None
    idxAppId: Id | None = None
    searchCondition: str | None = None


class TaskQueryIn(msgspec.Struct, frozen=True):
    """``group/call/query``."""

    current: int
    size: int
    params: TaskFilterIn


class TaskCancelIn(msgspec.Struct, frozen=True):
    """``group/call/cancel``."""

    taskIdList: list[Id]


class FlowFilterIn(msgspec.Struct, frozen=True, kw_only=True):
    """``params`` of ``recallFlow/queryPage``."""

    strTime: str
    endTime: str
    taskName: str | None = None


class FlowQueryIn(msgspec.Struct, frozen=True):
    """``recallFlow/queryPage``."""

    current: int
    size: int
    params: FlowFilterIn


def decode(body: bytes, kind: type[T]) -> T:
    """The body as a typed value. Raises :class:`VendorError` (-22) that names the field."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad("body", f"is not JSON: {error}") from None


def local_time(text: str, field: str, time_zone: str) -> int:
    """Epoch ms of a ``LocalDateTime`` in the account's zone. Raises :class:`VendorError` (-22)."""
    wrong = bad(field, f"must be a time like 2026-01-31 09:00:00, in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    try:
        moment = datetime.strptime(text.strip(), _FORMAT)  # noqa: DTZ007 - the zone follows in the last line
    except ValueError:
        raise wrong from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise wrong
    return int(moment.replace(tzinfo=ZoneInfo(time_zone)).timestamp() * 1000)


def local_text(at_ms: int, time_zone: str) -> str:
    """A ``LocalDateTime`` in the account's zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(time_zone)).strftime(_FORMAT)


def check_range(value: int, field: str, low: int, high: int) -> int:
    """The value, when it is in the range. Raises :class:`VendorError` (-22)."""
    if not low <= value <= high:
        raise bad(field, f"must be {low} to {high}, got {value}")
    return value


def path_id(text: str, field: str, what: str) -> int:
    """The id that stands in the path of a request. Raises :class:`VendorError` (-22)."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise bad(field, f"must be {what}")
    return int(text)


def paging(current: int, size: int) -> tuple[int, int]:
    """Limit and offset of a page. Raises :class:`VendorError` (-22)."""
    check_range(current, "current", 1, 2**31 - 1)
    check_range(size, "size", 1, 100)
    return size, (current - 1) * size


_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")


def _named(message: str) -> VendorError:
    """msgspec's message, turned round so that the field comes first."""
    found = _AT.search(message)
    path = found["path"].lstrip(".") if found else ""
    text = _AT.sub("", message)
    missing = _MISSING.search(text)
    if missing:
        return bad(f"{path}.{missing['name']}".lstrip("."), "is missing")
    return bad(path or "body", text[0].lower() + text[1:])
