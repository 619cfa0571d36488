"""Requests and answers of the phone operations, as typed values."""

from __future__ import annotations

import msgspec


class SipAddIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sipAdd``."""

    appId: str
    groupName: str
    phoneName: str
    quantity: int
    displayNum: str | int | None = None


class SipFilterIn(msgspec.Struct, frozen=True, kw_only=True):
    """``params`` of ``sipQuery``."""

    appId: str | None = None


class SipQueryIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sipQuery``."""

    current: int
    size: int
    params: SipFilterIn | None = None


class SipResetIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sipReset``."""

    appId: str
    account: str | int


class SendSipIn(msgspec.Struct, frozen=True, kw_only=True):
    """``sendSip``."""

    appId: str
    account: str | int
    callee: str | int
    displayNum: str | int | None = None


class NewPhoneOut(msgspec.Struct, frozen=True, kw_only=True):
    """One phone that was made. The password is shown here and nowhere else."""

    groupId: int
    groupName: str
    phoneName: str
    account: str
    password: str
    displayNum: str


class PhoneOut(msgspec.Struct, frozen=True, kw_only=True):
    """One phone. ``status``: 1 while it is registered, else 0."""

    groupId: int
    groupName: str
    phoneName: str
    account: str
    displayNum: str
    appId: str
    status: int
    createdTime: str


class NewPasswordOut(msgspec.Struct, frozen=True):
    """A phone's new password, shown once."""

    account: str
    password: str
