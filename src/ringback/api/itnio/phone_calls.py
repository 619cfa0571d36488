"""``sendSip``: a phone of the account is called first; picked up, the number is dialled and they are connected."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.phone_fields import SendSipIn
from ringback.api.itnio.task_settings import application_of, caller_id, checked, store_task
from ringback.api.itnio.voice_fields import SentOut
from ringback.model.connect_step import Connect
from ringback.model.numbers import InvalidNumber, parse_callee, zone_key
from ringback.model.task import Limits, NewCall, NumberList, TaskKind, TaskSpec
from ringback.model.template import OnVoicemail, Template
from ringback.roles.seats import NEVER_REGISTER
from ringback.store import phone_first, phones, templates
from ringback.store.database import News

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx
    from ringback.store.phones import Phone

MIN_DIGITS: Final = 7
MAX_DIGITS: Final = 15
RING_SECONDS: Final = 60
#: Two people may talk longer than a template.
CALL_SECONDS: Final = 3_600

#: Names the template that these tasks share, one an account.
_NODE: Final = '{"sendSip":1}'
_TEMPLATE: Final = Template(
    name="sendSip",
    initial_node="start",
    nodes={"start": [Connect(phone="${text1}")]},
    # Whoever has called hears the machine, and decides.
    on_voicemail=OnVoicemail.CONTINUE,
)


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return post_route(door, "/sendSip", SendSipIn, send_sip, answers=list[SentOut])


async def send_sip(call: Call, asked: SendSipIn) -> Success:
    """Call the phone, and then the number. ``data`` has the one call, as ``sendGroup`` has those of its numbers."""
    callee = _callee(asked)
    shown = caller_id(asked.displayNum)
    if shown and not (shown.isascii() and shown.isdecimal() and MIN_DIGITS <= len(shown) <= MAX_DIGITS):
        raise bad("displayNum", f"must be {MIN_DIGITS} to {MAX_DIGITS} digits")
    login = str(asked.account).strip()
    async with call.door.store.write() as tx:
        application = await application_of(tx, call, asked.appId)
        phone = await _phone(tx, call, asked.appId, login)
        spec = TaskSpec(
            name=f"sendSip {login} {call.now_ms} {secrets.token_hex(4)}",
            template_id=await templates.of_voice_node(
                tx, _NODE, _TEMPLATE, {}, account_id=call.account.id, now_ms=call.now_ms
            ),
            application_id=application.id,
            caller_id=shown or phone.caller_id,
            limits=Limits(ring_seconds=RING_SECONDS, call_seconds=CALL_SECONDS),
            kind=TaskKind.PHONE,
        )
        numbers = NumberList([NewCall(callee, zone_key(callee), msgspec.json.encode({"text1": login}).decode())], [])
        task_id = await store_task(tx, call, checked(spec), numbers)
        voice_id = await phone_first.only_call(tx, task_id)
    call.door.store.announce(News.WORK)
    return Success([SentOut(voiceId=str(voice_id), callee=callee)])


def _callee(asked: SendSipIn) -> str:
    try:
        callee = parse_callee(str(asked.callee))
    except InvalidNumber as error:
        raise bad("callee", str(error)) from None
    if not MIN_DIGITS <= len(callee) <= MAX_DIGITS:
        raise bad("callee", f"must have {MIN_DIGITS} to {MAX_DIGITS} digits, has {len(callee)}")
    return callee


async def _phone(tx: Tx, call: Call, app_id: str, login: str) -> Phone:
    found = await phones.by_login(tx, call.account.id, login, app_id=app_id)
    if found is None:
        raise VendorError(Code.NOT_FOUND, f"account: there is no phone {login!r} in this application")
    if call.door.settings.telephony not in NEVER_REGISTER and not found.is_registered(call.now_ms):
        raise bad("account", f"phone {login} is not registered, so it cannot be called")
    return found
