"""Trunks at an Asterisk: Ringback makes the PJSIP objects itself, over ARI, so nobody writes them twice.

They live in Asterisk's memory (sorcery.conf says so) and are made again when it was restarted. An object's name is a
digest of what it holds, so a changed trunk is another object, and calls in the air keep the old one.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ringback.telephony.sip.addressing import ANONYMOUS_DOMAIN, Account

if TYPE_CHECKING:
    from ringback.telephony.asterisk.client import AriClient

_OBJECTS: Final = "/asterisk/config/dynamic/res_pjsip"

#: What every endpoint has.
_ENDPOINT: Final = {
    "context": "ringback-nobody",  # who calls us through a trunk reaches nothing
    "disallow": "all",
    "allow": "ulaw,alaw",
    "dtmf_mode": "rfc4733",
    "direct_media": "no",
    "rtp_symmetric": "yes",
    "force_rport": "yes",
    # Or a bridge sends a re-INVITE, on which some carriers hang up.
    "send_connected_line": "no",
    "trust_id_outbound": "yes",
    "timers": "no",
    "100rel": "no",
    # A REFER of the far side could make us call anybody.
    "allow_transfer": "no",
    "allow_subscribe": "no",
    # A redirect is looked up in the context above, where there is nothing: it ends the call and is never followed.
    "redirect_method": "user",
}


class TrunkObjects:
    """Makes sure that Asterisk has the objects of an account. One for each connection to an Asterisk."""

    def __init__(self, client: AriClient) -> None:
        self._client = client
        self._making: dict[str, asyncio.Task[None]] = {}

    def forget(self, endpoint: str | None = None) -> None:
        """Asterisk may have lost the endpoint (``None``: all of them)."""
        if endpoint is None:
            self._making.clear()
        else:
            self._making.pop(endpoint, None)

    async def endpoint(self, account: Account, *, own_caller: bool) -> str:
        """The name of the account's endpoint. ``own_caller``: the call brings a caller id, so the account has none.

        Raises :class:`~ringback.telephony.asterisk.client.AriRefused`,
        :class:`~ringback.telephony.asterisk.client.AriUnreachable`.
        """
        fixed_user = "" if own_caller else account.user
        holds = msgspec.json.encode([fixed_user, account.domain, account.auth_user, account.password])
        name = "ringback-" + hashlib.sha256(holds).hexdigest()[:24]
        making = self._making.get(name)
        if making is None or (making.done() and (making.cancelled() or making.exception() is not None)):
            making = self._making[name] = asyncio.create_task(self._make(name, account, fixed_user))
        await asyncio.shield(making)
        return name

    async def _make(self, name: str, account: Account, fixed_user: str) -> None:
        fields = dict(_ENDPOINT, from_domain=account.domain)
        if fixed_user:
            fields["from_user"] = fixed_user
        if account.domain == ANONYMOUS_DOMAIN:
            fields["callerid_privacy"] = "prohib"
        if account.auth_user:
            fields["outbound_auth"] = name
            await self._put(
                "auth", name, {"auth_type": "digest", "username": account.auth_user, "password": account.password}
            )
        await self._put("endpoint", name, fields)

    async def _put(self, kind: str, name: str, fields: dict[str, Any]) -> None:
        body = {"fields": [{"attribute": attribute, "value": value} for attribute, value in fields.items()]}
        await self._client.request("PUT", f"{_OBJECTS}/{kind}/{name}", body=body)
