"""The one request that places a call, and what its failures mean: the same call must never be placed twice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ringback.telephony.asterisk.client import AriRefused, AriUnreachable
from ringback.telephony.asterisk.ids import channel_id
from ringback.telephony.asterisk.talking import TALK_DETECT
from ringback.telephony.port import EngineUnavailable
from ringback.telephony.sip.addressing import ANONYMOUS_USER, CALL_HEADER, TASK_HEADER

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.telephony.asterisk.client import AriClient
    from ringback.telephony.asterisk.trunks import TrunkObjects
    from ringback.telephony.port import DialOrder
    from ringback.telephony.sip.addressing import CallAddress

_CONFLICT: Final = 409


class Placing:
    """Places calls at one Asterisk. ``app``: name of the ARI application; ``name``: that of the Asterisk."""

    def __init__(self, client: AriClient, trunks: TrunkObjects, clock: Clock, *, app: str, name: str) -> None:
        self._client = client
        self._trunks = trunks
        self._clock = clock
        self._app = app
        self._name = name

    async def place(self, order: DialOrder, address: CallAddress) -> None:
        """Have Asterisk accept the call.

        Raises:
            EngineUnavailable: nothing was sent.
            ValueError: the call is up already; nothing was sent.
            AriUnreachable: whether an INVITE leaves is not known.
        """
        body = _request(order, address, self._app)
        for last_try in (False, True):
            try:
                endpoint = await self._trunks.endpoint(address.account, own_caller=bool(order.caller_id))
            except (AriRefused, AriUnreachable) as error:
                raise EngineUnavailable(f"Asterisk {self._name} took no trunk: {error}") from error
            left = order.leave_by - self._clock.monotonic()
            if left <= 0:
                raise EngineUnavailable("it is too late for this call to leave")
            body["endpoint"] = f"PJSIP/{endpoint}/{address.request_uri}"
            try:
                await self._client.request(
                    "POST",
                    "/channels",
                    body=body,
                    leave_within=None if math.isinf(left) else left,
                    in_time=lambda: self._clock.monotonic() <= order.leave_by,
                )
            except AriRefused as error:
                if error.status == _CONFLICT:
                    raise ValueError(f"call {order.call_id} is up already") from error
                self._trunks.forget(endpoint)  # restarted behind our back, it knows no trunk
                if last_try:
                    raise EngineUnavailable(f"Asterisk {self._name} refused the call: {error}") from error
            except AriUnreachable as error:
                if error.sent:
                    raise
                raise EngineUnavailable(f"Asterisk {self._name} is not there: {error}") from error
            else:
                return


def _request(order: DialOrder, address: CallAddress, app: str) -> dict[str, Any]:
    """The request to place a call, but for the endpoint."""
    seconds = max(1, math.ceil(order.most_seconds))  # 0 would be no limit
    body: dict[str, Any] = {
        "app": app,
        "channelId": channel_id(app, order.call_id),
        # The ring timer is the dialler's. This one ends what it cannot end any more.
        "timeout": seconds,
        "variables": {
            f"PJSIP_HEADER(add,{CALL_HEADER})": str(order.call_id),
            f"PJSIP_HEADER(add,{TASK_HEADER})": str(order.task_id),
            "TIMEOUT(absolute)": str(seconds),
        },
    }
    if order.detect_talking:
        body["variables"]["TALK_DETECT(set)"] = TALK_DETECT
    if address.account.user != ANONYMOUS_USER:  # without one Asterisk shows the name "Anonymous" beside a trunk's user
        body["callerId"] = f"<{address.account.user}>"
    return body
