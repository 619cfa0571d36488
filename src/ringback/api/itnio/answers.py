"""What the vendor's answers hold in ``data``, as typed values; the OpenAPI description is made from them."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

R = TypeVar("R")


class Page(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """A page of records; ``pages``: how many there are of this ``size``."""

    total: int
    size: int
    current: int
    pages: int
    records: list[R]


def page_of(total: int, current: int, size: int, records: list[R]) -> Page[R]:
    """One page of ``total`` records."""
    return Page(total=total, size=size, current=current, pages=-(-total // size), records=records)


class RecallNodeOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``nodeList[]`` of a flow. ``taskId`` is null until the round starts.

    A round with an agent template has ``scriptId``; one with a voice node has what it was made with instead.
    """

    keyId: int
    taskId: int | None
    nodeStatus: int
    scriptId: int | UnsetType = UNSET
    source: int | UnsetType = UNSET
    voiceFileId: str | UnsetType | None = UNSET
    uploadName: str | UnsetType | None = UNSET
    text: str | UnsetType | None = UNSET
    lan: str | UnsetType | None = UNSET
    speakingRate: float | UnsetType | None = UNSET
    ssmlGender: int | UnsetType | None = UNSET
    accent: str | int | UnsetType | None = UNSET
    hangUpSms: int | UnsetType | None = UNSET
    smsContent: str | UnsetType | None = UNSET
    senderId: str | UnsetType | None = UNSET
    feedbackPush: int | UnsetType | None = UNSET
    feedbackValue: str | UnsetType | None = UNSET
    successPush: int | UnsetType | None = UNSET
    successPushTime: int | UnsetType | None = UNSET
    failedPush: int | UnsetType | None = UNSET
    ringPush: int | UnsetType | None = UNSET


class RecallDetailOut(msgspec.Struct, frozen=True, kw_only=True):
    """A flow with its nodes; the paging members mean nothing for one flow, and the published answer has them."""

    keyId: int
    recallInterval: int
    recallNum: int
    recallType: int
    status: int
    nodeList: list[RecallNodeOut]
    total: int = 1
    size: int = 1
    current: int = 1
    searchCount: bool = True
    pages: int = 1


class FlowListedOut(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``recallFlow/queryPage``; ``taskId`` and ``taskName`` are the parent's."""

    keyId: int
    taskId: int
    taskName: str
    createTime: str
    recallType: int
    recallInterval: int
    recallNum: int
    finishNum: int
    status: int


class TaskListedOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record of ``group/call/query``: ``taskId`` and ``scriptId`` on the AI pages, ``jobId`` on the voice pages."""

    taskName: str
    status: int
    rate: str
    numCnt: int
    callNum: int
    success: int
    fail: int
    createdTime: str
    taskId: int | UnsetType = UNSET
    jobId: int | UnsetType = UNSET
    scriptId: int | UnsetType = UNSET


class TaskDetailOut(msgspec.Struct, frozen=True, kw_only=True):
    """One task with its figures. Durations are seconds; rates are percentages in text, without a sign."""

    jobId: int
    taskName: str
    displayNum: str
    text: str | None
    status: int
    rate: str
    numCnt: int
    chargeLen: int
    success: int
    fail: int
    toseatNum: int
    successRate: str
    toseatNumRate: str
    sendTime: str | None
    createdTime: str | None
    mdfTime: str | None
    finishTime: str | None
    appId: str
    source: int | None
    voiceFileId: str | None
    calloutRate: int
    keyFeedbackNum: int
    uploadName: str | None
    lan: str | None
    callDuration: int
    maxCalls: int
    loopCount: int | None
    callTotal: int
    acd: int
    scriptId: int
