"""Request bodies of voice tasks, single calls and manual recall; see :mod:`ringback.api.itnio.fields`."""

from __future__ import annotations

import msgspec

from ringback.api.itnio.fields import Id, NumberIn, PeriodIn, RecallFlowIn, TaskSettingsIn, VoiceNodeIn


class VoiceTaskIn(VoiceNodeIn, frozen=True, kw_only=True):
    """What every operation takes that makes or edits a voice task.

    The settings of :class:`~ringback.api.itnio.fields.TaskSettingsIn` again: a Struct cannot have two bases.
    """

    displayNum: str | int | None = None
    loopCount: int | None = None
    maxCalls: int | None = None
    maxRingingTime: int | None = None
    enableRecording: int | None = None
    sendTime: str | None = None
    allowSendTime: list[PeriodIn] | None = None
    calloutRate: int | None = None
    smsAppId: str | None = None


class SendVoiceIn(VoiceTaskIn, frozen=True, kw_only=True):
    """``group/call/send``. The callees stand in one of the two lists."""

    appId: str
    taskName: str
    numberList: list[str | int] | None = None
    numberInfoList: list[NumberIn] | None = None
    recallFlow: RecallFlowIn | None = None
    toSeat: int | None = None
    sipGroupId: Id | None = None
    outboundControl: int | None = None
    toSeatType: int | None = None
    toSeatKey: str | int | None = None


class UpdateVoiceIn(VoiceTaskIn, frozen=True, kw_only=True):
    """``group/call/update``; numbers are replaced when they are given."""

    keyId: Id
    taskName: str
    numberList: list[str | int] | None = None
    numberInfoList: list[NumberIn] | None = None


class ResendVoiceIn(VoiceTaskIn, frozen=True, kw_only=True):
    """``group/call/resend``."""

    keyId: Id
    taskName: str
    resendType: int


class ResendAgentIn(TaskSettingsIn, frozen=True, kw_only=True):
    """``group/call/resend/ai``."""

    keyId: Id
    taskName: str
    resendType: int
    scriptId: Id


class SendCodeIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sendCode``: one text, spoken to one number. Durations are seconds, ``recallInterval`` minutes."""

    callee: str | int
    language: str
    text: str
    appId: str
    displayNum: str | int | None = None
    accent: str | int | None = None
    ssmlGender: int | None = None
    speakingRate: float | None = None
    loopCount: int | None = None
    calledInfo: str | None = None
    recallCount: int | None = None
    recallInterval: int | None = None
    maxDuration: int | None = None
    maxRingingTime: int | None = None
    delayPlay: int | None = None
    delayHangup: int | None = None


class SendGroupIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sendGroup``: one file, played to a few numbers (commas between)."""

    callee: str | int
    fileId: str
    appId: str
    displayNum: str | int | None = None
    maxDuration: int | None = None
    maxRingingTime: int | None = None
    loopCount: int | None = None
    calledInfo: str | None = None


class SentOut(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one number: ``terminationCode`` is "0" when its call is queued."""

    voiceId: str | None
    callee: str
    terminationCode: str = "0"
    terminationReason: str = "success"
