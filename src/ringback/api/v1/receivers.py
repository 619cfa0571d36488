"""Where reports go: receivers, how they stand, what is sent again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody, PathParameter

from ringback.api.v1.door import By, needs
from ringback.api.v1.fields import moment_or_none
from ringback.api.v1.paging import MAX_ID
from ringback.api.v1.problems import Kind, invalid, not_found
from ringback.model.api_key import Scope
from ringback.model.destinations import MAX_URL, InvalidDestination, check_url, read_url
from ringback.model.report import OWN_EVENTS, Event, Form, new_secret
from ringback.store import accounts, deliveries, report_endpoints
from ringback.store.database import News
from ringback.store.report_endpoints import Standing

ReceiverId = Annotated[int, PathParameter(ge=1, le=MAX_ID, description="Id of the receiver.")]
#: How many an account may have: each is served by a task of its own.
MOST_RECEIVERS = 20


class NewReceiver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A receiver. ``form``: which body it gets. ``events``: which of our own events, empty for all; only of the form
    ``events``. ``application``: of which application only.
    """

    url: Annotated[str, msgspec.Meta(min_length=8, max_length=MAX_URL, examples=["https://crm.example.com/ringback"])]
    form: Form = Form.EVENTS
    events: list[Event] = []
    application: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class ReceiverMade(msgspec.Struct, frozen=True, kw_only=True):
    """What was made. ``secret`` signs our own events (Standard Webhooks), and is shown this once; else null."""

    id: int
    secret: str | None


class ReceiverOut(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver and how it stands. ``dead``: reports that were given up."""

    id: int
    url: str
    form: Form
    events: list[Event]
    application: str | None
    disabled: str | None
    pending: int
    retrying: int
    dead: int
    oldest_pending_at: datetime | None
    last_error: str


class Receivers(msgspec.Struct, frozen=True):
    """All receivers of an account."""

    items: list[ReceiverOut]


class Replayed(msgspec.Struct, frozen=True):
    """How many reports are sent again."""

    replayed: int


# Answers with a secret are not kept, so there is no Idempotency-Key here: a lost one is removed and made again.
@post("/receivers", status_code=201, tags=["reports"], **needs(Scope.REPORTS_WRITE))
async def make_receiver(caller: By, data: JSONBody[NewReceiver]) -> ReceiverMade:
    """Make a receiver of reports. It must have a public address."""
    if data.form is Form.SMS:
        raise invalid("form", "a provider of text messages is set up by the operator")
    if data.events and data.form is not Form.EVENTS:
        raise invalid("events", f"a receiver of the form {data.form} gets the calls that ended")
    if not set(data.events) <= OWN_EVENTS:
        raise invalid("events", f"must be of {', '.join(sorted(OWN_EVENTS))}")
    try:
        check_url(data.url, caller.house.settings.networks_of_reports)
    except InvalidDestination as error:
        raise invalid("url", str(error)) from None
    secret = new_secret() if data.form is Form.EVENTS else ""
    async with caller.store.write() as tx:
        application = None
        if data.application is not None:
            application = await accounts.application_of(tx, caller.account_id, data.application)
            if application is None:
                raise invalid("application", f"there is no application {data.application!r}")
        if len(await report_endpoints.everyone(tx, caller.account_id)) >= MOST_RECEIVERS:
            raise invalid("url", f"the account has {MOST_RECEIVERS} receivers already")
        receiver_id = await report_endpoints.add(
            tx,
            account_id=caller.account_id,
            application_id=None if application is None else application.id,
            url=data.url,
            form=data.form,
            secret=secret,
            events=data.events,
            now_ms=caller.now_ms,
        )
        after = {"host": read_url(data.url).host, "form": data.form}
        await caller.log(tx, "receiver.created", f"receiver:{receiver_id}", after=after)
    return ReceiverMade(id=receiver_id, secret=secret or None)


@get("/receivers", tags=["reports"], **needs(Scope.REPORTS_READ))
async def list_receivers(caller: By) -> Receivers:
    """The account's receivers, and how their reports fare."""
    async with caller.store.read() as tx:
        return Receivers([_shown(one) for one in await report_endpoints.standings(tx, caller.account_id)])


@delete(
    "/receivers/{receiver_id:int}",
    status_code=204,
    tags=["reports"],
    **needs(Scope.REPORTS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def remove_receiver(caller: By, receiver_id: ReceiverId) -> None:
    """Take a receiver away with everything that waits for it."""
    async with caller.store.write() as tx:
        if not await report_endpoints.remove(tx, receiver_id, account_id=caller.account_id):
            raise not_found("receiver", receiver_id)
        await caller.log(tx, "receiver.removed", f"receiver:{receiver_id}")


@post(
    "/receivers/{receiver_id:int}/enable",
    status_code=204,
    tags=["reports"],
    **needs(Scope.REPORTS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def enable_receiver(caller: By, receiver_id: ReceiverId) -> None:
    """Send to a receiver again, everything that waits at once."""
    async with caller.store.write() as tx:
        if not await report_endpoints.enable(tx, receiver_id, caller.now_ms, account_id=caller.account_id):
            raise not_found("receiver", receiver_id)
        await caller.log(tx, "receiver.enabled", f"receiver:{receiver_id}")
    caller.store.announce(News.WORK)


@post(
    "/receivers/{receiver_id:int}/disable",
    status_code=204,
    tags=["reports"],
    **needs(Scope.REPORTS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def disable_receiver(caller: By, receiver_id: ReceiverId) -> None:
    """Send a receiver nothing any more; what happens is kept for it. One that is disabled already is not found."""
    async with caller.store.write() as tx:
        why = "asked for by a key of the account"
        if not await report_endpoints.disable(tx, receiver_id, why, caller.now_ms, account_id=caller.account_id):
            raise not_found("enabled receiver", receiver_id)
        await caller.log(tx, "receiver.disabled", f"receiver:{receiver_id}")


@post(
    "/receivers/{receiver_id:int}/replay",
    status_code=200,
    tags=["reports"],
    **needs(Scope.REPORTS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def replay_reports(caller: By, receiver_id: ReceiverId) -> Replayed:
    """Send again what was given up for a receiver, under the same ids."""
    async with caller.store.write() as tx:
        if receiver_id not in [one.id for one in await report_endpoints.everyone(tx, caller.account_id)]:
            raise not_found("receiver", receiver_id)
        count = await deliveries.replay(
            tx, caller.now_ms, endpoint_id=receiver_id, dead_only=True, account_id=caller.account_id
        )
    caller.store.announce(News.WORK)
    return Replayed(count)


def _shown(of: Standing) -> ReceiverOut:
    one = of.endpoint
    return ReceiverOut(
        id=one.id,
        url=one.url,
        form=one.form,
        events=sorted(one.events),
        application=one.app_id,
        disabled=one.disabled_reason,
        pending=of.pending,
        retrying=of.retrying,
        dead=of.dead,
        oldest_pending_at=moment_or_none(of.oldest_at),
        last_error=of.last_error,
    )
