"""Money: what an account has left, and tasks refused for want of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.door import Call, Success, plain_get_route
from ringback.api.itnio.envelope import Code, VendorError
from ringback.api.itnio.families import ACCOUNT
from ringback.model.billing import money_text
from ringback.store import tariffs

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx


class BalanceOut(msgspec.Struct, frozen=True):
    """Amounts as text; ``balance`` is null when calls are not charged to the account."""

    balance: str | None
    currency: str
    gift: str = "0"


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return plain_get_route(door, "/getBalance", get_balance, answers=BalanceOut, family=ACCOUNT)


async def get_balance(call: Call) -> Success:
    """What the account has left. Clients of old look for it beside ``data``: it is there too."""
    micros = call.account.balance_micros
    shown = BalanceOut(None if micros is None else money_text(micros), call.account.currency)
    return Success(shown, also={"balance": shown.balance, "gift": shown.gift})


async def check_funds(tx: Tx, call: Call) -> None:
    """Nobody makes a task who cannot pay for a call, or whose calls have no price.

    Raises :class:`VendorError` (-10, -26).
    """
    micros = call.account.balance_micros
    if micros is None:
        return
    if micros <= 0:
        raise VendorError(Code.NO_BALANCE, f"the account's balance is used up: {money_text(micros)}")
    if not await tariffs.any_rated(tx, call.account.id):
        raise VendorError(Code.NO_RATE, "no trunk that the account may use has a price")
