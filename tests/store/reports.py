"""Short ways to make receivers, and to see and deliver what is on the outbox."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from ringback.model.report import Event, Form
from ringback.store import deliveries, report_endpoints
from ringback.store.deliveries import Due, Outcome
from tests.store.rig import Rig

COURIER = "courier-1"
#: As long as any test goes on.
LONG_MS = 10**12


async def receiver(
    rig: Rig,
    form: Form = Form.EVENTS,
    *,
    events: Collection[Event] = (),
    account: int | None = None,
    app: int | None = None,
) -> int:
    """A new receiver. Returns its id."""
    async with rig.store.write() as tx:
        return await report_endpoints.add(
            tx,
            account_id=account or rig.account,
            application_id=app,
            url="http://receiver.test/",
            form=form,
            secret="whsec_c2VjcmV0",
            events=events,
            now_ms=rig.clock.ms,
        )


async def told(rig: Rig, endpoint_id: int) -> list[tuple[str, int]]:
    """Everything that is on the outbox for it, in order: event and subject."""
    rows = await rig.rows("SELECT event, subject_id FROM report WHERE endpoint_id = :id ORDER BY id", id=endpoint_id)
    return [(row.event, row.subject_id) for row in rows]


async def bodies(rig: Rig, endpoint_id: int, event: Event) -> list[dict[str, Any]]:
    """The bodies of one kind, in order."""
    rows = await rig.rows(
        "SELECT body FROM report WHERE endpoint_id = :id AND event = :event ORDER BY id",
        id=endpoint_id,
        event=str(event),
    )
    return [msgspec.json.decode(row.body) for row in rows]


async def due(rig: Rig, endpoint_id: int, *, limit: int = 1000, in_flight: Collection[int] = ()) -> list[Due]:
    async with rig.store.read() as tx:
        return await deliveries.due(tx, endpoint_id, rig.clock.ms, limit, in_flight=in_flight)


async def shown(rig: Rig, endpoint_id: int) -> list[tuple[str, int]]:
    """What may be sent now: event and subject."""
    return [(str(one.event), one.subject_id) for one in await due(rig, endpoint_id)]


async def claim(rig: Rig, courier: str = COURIER, *, lease_ms: int = LONG_MS) -> list[int]:
    async with rig.store.write() as tx:
        return await deliveries.claim(tx, courier, rig.clock.ms, rig.clock.ms + lease_ms)


async def mark(rig: Rig, endpoint_id: int, outcomes: Iterable[Outcome], courier: str = COURIER) -> bool:
    """Note what came of tries. False when another courier holds it."""
    async with rig.store.write() as tx:
        return endpoint_id in await deliveries.mark(tx, courier, {endpoint_id: list(outcomes)}, rig.clock.ms)


async def deliver(rig: Rig, endpoint_id: int, reports: Iterable[Due]) -> None:
    """They arrived."""
    await claim(rig)
    outcomes = [Outcome(report_id=one.id, delivered=True, status=200) for one in reports]
    assert await mark(rig, endpoint_id, outcomes)


async def deliver_all(rig: Rig, endpoint_id: int) -> list[list[tuple[str, int]]]:
    """Deliver until nothing is due. Returns what could be sent together, wave by wave."""
    waves = []
    while wave := await due(rig, endpoint_id):
        waves.append([(str(one.event), one.subject_id) for one in wave])
        await deliver(rig, endpoint_id, wave)
    return waves
