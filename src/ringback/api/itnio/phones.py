"""``sipAdd``, ``sipQuery``, ``sipReset``: SIP phones that register with us.

Of their answers nothing is published but that ``sipReset`` gives the new password; what they hold is decided here.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from ringback.api.itnio.answers import Page, page_of
from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import local_text, paging
from ringback.api.itnio.phone_fields import (
    NewPasswordOut,
    NewPhoneOut,
    PhoneOut,
    SipAddIn,
    SipQueryIn,
    SipResetIn,
)
from ringback.model.phones import MAX_PHONES, InvalidPhones, PhonesSpec, ha1
from ringback.store import accounts, phones
from ringback.store.accounts import NameTaken
from ringback.store.phones import LoginTaken, NewPhone

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.accounts import Application
    from ringback.store.database import Tx
    from ringback.store.phones import Phone

#: Ten digits can be typed on any phone, and two accounts hardly ever meet.
_FIRST_LOGIN: Final = 1_000_000_000
_LOGIN_TRIES: Final = 5
#: Letters and digits that nobody confuses.
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_PASSWORD_LENGTH: Final = 16


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return [
        *post_route(door, "/sipAdd", SipAddIn, add, answers=list[NewPhoneOut]),
        *post_route(door, "/sipQuery", SipQueryIn, query, answers=Page[PhoneOut]),
        *post_route(door, "/sipReset", SipResetIn, reset, answers=NewPasswordOut),
    ]


async def add(call: Call, asked: SipAddIn) -> Success:
    """Make a group of phones. ``data`` has the account and the password of each; passwords are shown only here."""
    try:
        spec = PhonesSpec(
            group_name=asked.groupName.strip(),
            phone_name=asked.phoneName.strip(),
            quantity=asked.quantity,
            caller_id="" if asked.displayNum is None else str(asked.displayNum).strip(),
        ).checked()
    except InvalidPhones as error:
        raise VendorError(Code.PARAMETER, str(error)) from None
    names = spec.phone_names()
    passwords = [_password() for _ in names]
    for _ in range(_LOGIN_TRIES):
        logins = [_login() for _ in names]
        new = [
            NewPhone(name, login, ha1(login, word)) for name, login, word in zip(names, logins, passwords, strict=True)
        ]
        try:
            group_id = await _store(call, asked.appId, spec, new)
        except LoginTaken:
            continue
        made = [
            NewPhoneOut(
                groupId=group_id,
                groupName=spec.group_name,
                phoneName=one.name,
                account=one.login,
                password=word,
                displayNum=spec.caller_id,
            )
            for one, word in zip(new, passwords, strict=True)
        ]
        return Success(made)
    raise RuntimeError("no free account name was found")


async def _store(call: Call, app_id: str, spec: PhonesSpec, new: list[NewPhone]) -> int:
    async with call.door.store.write() as tx:
        application = await _application(tx, call, app_id)
        if await phones.count(tx, application.id) + len(new) > MAX_PHONES:
            raise VendorError(Code.LIMIT, f"quantity: an application has at most {MAX_PHONES} phones")
        try:
            return await phones.add_group(
                tx, application.id, name=spec.group_name, caller_id=spec.caller_id, phones=new, now_ms=call.now_ms
            )
        except NameTaken as error:
            field = "groupName" if "group" in str(error) else "phoneName"
            raise VendorError(Code.EXISTS, f"{field}: {error}") from None


async def query(call: Call, wanted: SipQueryIn) -> Success:
    """The account's phones, newest first; of one application when it is named."""
    limit, offset = paging(wanted.current, wanted.size)
    app_id = None if wanted.params is None else wanted.params.appId
    async with call.door.store.read() as tx:
        if app_id is not None:
            await _application(tx, call, app_id, "params.appId")
        total, found = await phones.page(tx, call.account.id, app_id=app_id, limit=limit, offset=offset)
    return Success(page_of(total, wanted.current, wanted.size, [_shown(one, call) for one in found]))


async def reset(call: Call, wanted: SipResetIn) -> Success:
    """Give a phone a new password, and answer it. The phone is called no more before it has registered with it."""
    login = str(wanted.account).strip()
    word = _password()
    async with call.door.store.write() as tx:
        await _application(tx, call, wanted.appId)
        found = await phones.by_login(tx, call.account.id, login, app_id=wanted.appId)
        if found is None:
            raise VendorError(Code.NOT_FOUND, f"account: there is no phone {login!r} in this application")
        await phones.reset(tx, found.id, ha1(login, word))
    return Success(NewPasswordOut(login, word))


async def _application(tx: Tx, call: Call, app_id: str, field: str = "appId") -> Application:
    found = await accounts.application_of(tx, call.account.id, app_id)
    if found is None:
        raise bad(field, f"there is no application {app_id!r}")
    return found


def _shown(phone: Phone, call: Call) -> PhoneOut:
    created = local_text(phone.created_at, call.account.time_zone)
    assert created is not None
    return PhoneOut(
        groupId=phone.group_id,
        groupName=phone.group_name,
        phoneName=phone.name,
        account=phone.login,
        displayNum=phone.caller_id,
        appId=phone.app_id,
        status=int(phone.is_registered(call.now_ms)),
        createdTime=created,
    )


def _login() -> str:
    return str(_FIRST_LOGIN + secrets.randbelow(9 * _FIRST_LOGIN))


def _password() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(_PASSWORD_LENGTH))
