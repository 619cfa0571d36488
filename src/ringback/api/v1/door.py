"""Who calls, what they may do, and what every operation needs. One way in: a route without a scope does not start."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from ringback.api.addresses import address_allowed
from ringback.api.v1.problems import Kind, Problem, ProblemOut
from ringback.model.api_key import Scope, check_token, parse_token
from ringback.store import api_keys, audit
from ringback.store.api_keys import ApiKey
from ringback.store.lookups import Lookups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from ringback.clock import Clock
    from ringback.settings import Settings
    from ringback.store.database import Store, Tx

SCOPE = "v1_scope"
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}]
_REFUSED = {"WWW-Authenticate": "Bearer"}


class House:
    """What every operation needs."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.keys = Lookups(store, api_keys.BY_KEY_ID)
        #: Streams of events that are open, by account.
        self.streams: Counter[int] = Counter()


class Caller(msgspec.Struct, frozen=True):
    """One authenticated request."""

    house: House
    key: ApiKey

    @property
    def account_id(self) -> int:
        """The account that everything read or changed belongs to."""
        return self.key.account_id

    @property
    def actor(self) -> str:
        """Who does it, for the audit log."""
        return f"key:{self.key.key_id}"

    async def log(
        self,
        tx: Tx,
        action: str,
        subject: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what this request changes, in the transaction that changes it."""
        await audit.write(
            tx,
            self.account_id,
            self.now_ms,
            actor=self.actor,
            action=action,
            subject=subject,
            before=before,
            after=after,
        )

    @property
    def now_ms(self) -> int:
        """Wall-clock time, epoch ms."""
        return self.house.clock.now_ms()

    @property
    def store(self) -> Store:
        """The open store."""
        return self.house.store


#: What a handler is given.
By = NamedDependency[Caller]


def needs(scope: Scope, *, statuses: tuple[Kind, ...] = ()) -> dict[str, Any]:
    """What a route says of itself: the scope that a key must have, and the problems that it may answer with."""
    usual = (Kind.INVALID, Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.TOO_MANY, Kind.INTERNAL, Kind.UNAVAILABLE)
    return {
        "opt": {SCOPE: scope},
        "security": SECURITY,
        "responses": {
            kind.status: ResponseSpec(
                ProblemOut, generate_examples=False, description=kind.value[1], media_type="application/problem+json"
            )
            for kind in (*usual, *statuses)
        },
    }


async def check_caller(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route. Raises :class:`~ringback.api.v1.problems.Problem`."""
    if SCOPE not in handler.opt:
        return  # OPTIONS, which tells nothing but methods
    house: House = connection.app.state.house
    given = connection.headers.get("authorization", "")
    scheme, _, text = given.partition(" ")
    token = parse_token(text.strip()) if scheme.lower() == "bearer" else None
    found = None if token is None else await house.keys.get(token.key_id)
    # An unknown key takes as long as a known one.
    if not check_token(token, None if found is None else found.hash) or found is None:
        raise Problem(Kind.UNAUTHENTICATED, "send Authorization: Bearer with a key", headers=_REFUSED)
    if not found.is_valid(house.clock.now_ms()):
        raise Problem(Kind.UNAUTHENTICATED, "the key has expired or was revoked", headers=_REFUSED)
    address = connection.client.host if connection.client else ""
    if not address_allowed(found.allowed_networks, address):
        raise Problem(Kind.FORBIDDEN, f"the address {address} is not on the account's list")
    scope = handler.opt[SCOPE]
    if scope not in found.scopes:
        raise Problem(Kind.FORBIDDEN, f"the key lacks the scope {scope}")
    connection.state.caller = Caller(house, found)


async def caller_of(request: Request[Any, Any, Any]) -> Caller:
    """For the framework: the caller that the guard has let in."""
    found: Caller = request.state.caller
    return found
