"""Requests and answers of the older job family, as typed values."""

from __future__ import annotations

from typing import Any

import msgspec

from ringback.api.itnio.fields import Id


class DayPeriodIn(msgspec.Struct, frozen=True):
    """``inactiveTimeList[]``: ``HH:MM`` twice."""

    startTime: str
    endTime: str


class DatePeriodIn(msgspec.Struct, frozen=True):
    """``inactiveDateList[]``: ``YYYY-MM-DD`` twice, both included."""

    startDate: str
    endDate: str


class JobSettingsIn(msgspec.Struct, frozen=True, kw_only=True):
    """What ``taskAdd`` and ``taskEdit`` share."""

    appId: str
    name: str
    dialogFlowId: Id
    robotCount: int
    mode: str | None = None
    startDateTime: str | None = None
    endDateTime: str | None = None
    dailyStartDateTime: str | None = None
    dailyEndDateTime: str | None = None
    jobPhoneNumberId: Id | None = None
    inactiveTimeList: list[DayPeriodIn] | None = None
    inactiveDateList: list[DatePeriodIn] | None = None
    daysOfWeek: list[int] | None = None
    redial: bool | None = None
    redialCondition: list[str] | None = None
    redialInterval: int | None = None
    redialTimes: int | None = None


class JobAddIn(JobSettingsIn, frozen=True, kw_only=True):
    """``taskAdd``."""


class JobEditIn(JobSettingsIn, frozen=True, kw_only=True):
    """``taskEdit``."""

    jobId: Id


class JobIn(msgspec.Struct, frozen=True):
    """``taskStart``, ``taskStop``, ``taskDel``."""

    jobId: Id


class JobFilterIn(msgspec.Struct, frozen=True, kw_only=True):
    """``params`` of ``taskList``."""

    appId: str | None = None
    name: str | None = None


class JobQueryIn(msgspec.Struct, frozen=True, kw_only=True):
    """``taskList``."""

    current: int
    size: int
    params: JobFilterIn


class CustomerIn(msgspec.Struct, frozen=True, kw_only=True):
    """``customerList[]``."""

    calledPhoneNumber: str | int
    customerPersonName: str | None = None
    properties: dict[str, str] | None = None


class ImportIn(msgspec.Struct, frozen=True, kw_only=True):
    """``importCustomer``."""

    jobId: Id
    customerList: list[CustomerIn]


class WithdrawIn(msgspec.Struct, frozen=True, kw_only=True):
    """``importCustomer/del``."""

    jobId: Id
    calledPhoneNumberList: list[str | int]


class NoCallIn(msgspec.Struct, frozen=True, kw_only=True):
    """``taskNoCall``."""

    jobId: Id
    current: int
    size: int


class OfApplicationIn(msgspec.Struct, frozen=True):
    """``dialogFlowList`` and ``channelList``."""

    appId: str


class PropertiesIn(msgspec.Struct, frozen=True):
    """``properties``."""

    appId: str
    dialogFlowId: Id


class JobRecordFilterIn(msgspec.Struct, frozen=True, kw_only=True):
    """``params`` of ``recordQuery``."""

    appId: str
    startTime: str
    endTime: str
    jobId: Id | None = None


class JobRecordQueryIn(msgspec.Struct, frozen=True, kw_only=True):
    """``recordQuery``."""

    current: int
    size: int
    params: JobRecordFilterIn


class JobOut(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``taskList``."""

    jobId: int
    name: str
    dialogFlowName: str
    jobPhoneNumberName: str | None
    robotCount: int
    mode: str
    hangupSms: bool
    taskTotal: int
    taskCompleted: int
    status: str
    isDialogFlowUnbind: bool
    createTime: str


class ImportedOut(msgspec.Struct, frozen=True):
    """How many numbers joined, and those that the job had already."""

    added: int
    repeated: list[str]


class DialogFlowOut(msgspec.Struct, frozen=True):
    """An agent template."""

    dialogFlowId: int
    dialogFlowName: str


class ChannelOut(msgspec.Struct, frozen=True):
    """A trunk."""

    jobPhoneNumberId: int
    jobPhoneNumberName: str


class NumberOut(msgspec.Struct, frozen=True):
    """A number that has not been called."""

    calledPhoneNumber: str


class JobRecordOut(msgspec.Struct, frozen=True, kw_only=True):
    """A record of ``recordQuery``. Durations are seconds."""

    keyId: int
    appId: str
    callId: str
    callRecordId: int
    robotCount: int
    callJobId: int
    dialogFlowId: int
    tenantPhoneNumberId: int | None
    calledPhoneNumber: str
    hangupBy: str | None
    customerPersonName: str | None
    analysisBasis: str
    resultStatus: str
    startTime: str | None
    endTime: str
    chatDuration: int
    chargedDuration: int
    chatRound: int
    attributes: list[str]
    customerConcern: list[str]
    properties: dict[str, Any]
    intentLevelDetailName: str | None
    fullAudioUrl: str | None
    customerAudioUrl: str | None
    dynamicProperties: dict[str, Any]
    redialTimes: int
