"""Where reports go: an account's receivers, made and removed by their operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import case, delete, func, insert, select, update

from ringback.model.report import Event, Form
from ringback.store.schema import account, application
from ringback.store.schema_reports import report, report_endpoint

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver. ``events`` are those it wants, empty for all of its form; ``app_id`` ``None``: every application's.

    ``disabled_reason`` ``None``: it is enabled.
    """

    id: int
    account_id: int
    account: str
    app_id: str | None
    url: str
    form: Form
    secret: str
    events: frozenset[Event]
    disabled_reason: str | None

    def __repr__(self) -> str:
        return f"Endpoint(id={self.id}, form={self.form})"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a receiver's reports fare. ``oldest_at``: when the oldest that is pending was made, epoch ms."""

    endpoint: Endpoint
    pending: int
    retrying: int
    dead: int
    oldest_at: int | None
    last_error: str


async def add(
    tx: Tx,
    *,
    account_id: int,
    application_id: int | None,
    url: str,
    form: Form,
    secret: str,
    events: Collection[Event],
    now_ms: int,
) -> int:
    """A new receiver; it gets what happens from now on. Returns its id."""
    inserted = await tx.execute(
        insert(report_endpoint)
        .values(
            account_id=account_id,
            application_id=application_id,
            url=url,
            form=form,
            secret=secret,
            events="".join(f",{event}" for event in sorted(events)) + ("," if events else ""),
            created_at=now_ms,
        )
        .returning(report_endpoint.c.id)
    )
    return int(inserted.scalar_one())


async def get(tx: Tx, endpoint_id: int) -> Endpoint | None:
    """The receiver."""
    row = (await tx.execute(_ENDPOINTS.where(report_endpoint.c.id == endpoint_id))).one_or_none()
    return None if row is None else _endpoint(row)


async def everyone(tx: Tx, account_id: int | None = None) -> list[Endpoint]:
    """All receivers, or an account's, oldest first."""
    query = _ENDPOINTS.order_by(report_endpoint.c.id)
    if account_id is not None:
        query = query.where(report_endpoint.c.account_id == account_id)
    return [_endpoint(row) for row in await tx.execute(query)]


async def remove(tx: Tx, endpoint_id: int, *, account_id: int | None = None) -> bool:
    """Take it away with all its reports; with ``account_id`` only when it is that account's.

    False when there is none.
    """
    # Whoever writes a report for it at this moment is waited for.
    found = select(report_endpoint.c.id).where(*_named(endpoint_id, account_id)).with_for_update()
    if await tx.scalar(found) is None:
        return False
    await tx.execute(delete(report).where(report.c.endpoint_id == endpoint_id))
    await tx.execute(delete(report_endpoint).where(report_endpoint.c.id == endpoint_id))
    return True


async def disable(tx: Tx, endpoint_id: int, reason: str, now_ms: int, *, account_id: int | None = None) -> bool:
    """Send it nothing any more; what is pending stays. False when there is none, or it is disabled already.

    With ``account_id`` only when it is that account's.
    """
    done = await tx.execute(
        update(report_endpoint)
        .where(*_named(endpoint_id, account_id), report_endpoint.c.disabled_at.is_(None))
        .values(disabled_at=now_ms, disabled_reason=reason, courier=None, leased_until=0)
    )
    return done.rowcount == 1


async def enable(tx: Tx, endpoint_id: int, now_ms: int, *, account_id: int | None = None) -> bool:
    """Send to it again, at once what has been tried before; with ``account_id`` only when it is that account's.

    False when there is none.
    """
    done = await tx.execute(
        update(report_endpoint)
        .where(*_named(endpoint_id, account_id))
        .values(disabled_at=None, disabled_reason="", courier=None, leased_until=0)
    )
    if done.rowcount == 0:
        return False
    await tx.execute(
        update(report)
        .where(
            report.c.endpoint_id == endpoint_id,
            report.c.state == "pending",
            report.c.due_at > now_ms,
            report.c.attempts > 0,
        )
        .values(due_at=now_ms)
    )
    return True


def _named(endpoint_id: int, account_id: int | None) -> list[Any]:
    """The receiver, when it is the account's; ``None``: whosever it is."""
    named = [report_endpoint.c.id == endpoint_id]
    return named if account_id is None else [*named, report_endpoint.c.account_id == account_id]


async def has_sms_provider(tx: Tx, account_id: int) -> bool:
    """Whether text messages of the account can be sent."""
    own = (report_endpoint.c.account_id == account_id, report_endpoint.c.form == Form.SMS)
    return (
        await tx.scalar(select(report_endpoint.c.id).where(*own, report_endpoint.c.disabled_at.is_(None))) is not None
    )


async def standings(tx: Tx, account_id: int | None = None) -> list[Standing]:
    """How the reports of all receivers fare, or of an account's."""
    pending = report.c.state == "pending"
    counted = await tx.execute(
        select(
            report.c.endpoint_id,
            func.sum(case((pending, 1), else_=0)).label("pending"),
            func.sum(case((pending & (report.c.attempts > 0), 1), else_=0)).label("retrying"),
            func.sum(case((report.c.state == "dead", 1), else_=0)).label("dead"),
            func.min(case((pending, report.c.created_at))).label("oldest_at"),
        )
        .where(report.c.state != "delivered")
        .group_by(report.c.endpoint_id)
    )
    by_endpoint = {row.endpoint_id: row for row in counted}
    found = []
    for endpoint in await everyone(tx, account_id):
        row = by_endpoint.get(endpoint.id)
        last = None
        if row is not None:
            failed = (report.c.endpoint_id == endpoint.id, report.c.state != "delivered", report.c.last_error != "")
            last = await tx.scalar(select(report.c.last_error).where(*failed).order_by(report.c.id.desc()).limit(1))
        found.append(
            Standing(
                endpoint=endpoint,
                pending=0 if row is None else row.pending,
                retrying=0 if row is None else row.retrying,
                dead=0 if row is None else row.dead,
                oldest_at=None if row is None else row.oldest_at,
                last_error=last or "",
            )
        )
    return found


_ENDPOINTS = (
    select(
        report_endpoint.c.id,
        report_endpoint.c.account_id,
        account.c.name.label("account"),
        application.c.app_id,
        report_endpoint.c.url,
        report_endpoint.c.form,
        report_endpoint.c.secret,
        report_endpoint.c.events,
        report_endpoint.c.disabled_at,
        report_endpoint.c.disabled_reason,
    )
    .join(account, account.c.id == report_endpoint.c.account_id)
    .join(application, application.c.id == report_endpoint.c.application_id, isouter=True)
)


def _endpoint(row: Any) -> Endpoint:
    return Endpoint(
        id=row.id,
        account_id=row.account_id,
        account=row.account,
        app_id=row.app_id,
        url=row.url,
        form=Form(row.form),
        secret=row.secret,
        events=frozenset(Event(one) for one in row.events.split(",") if one),
        disabled_reason=None if row.disabled_at is None else row.disabled_reason,
    )
