"""Tariffs of trunks and templates. One is never changed: a new price is a new row, so that calls keep theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, or_, select, update

from ringback.model.billing import Tariff
from ringback.store.bulk import among
from ringback.store.schema import template, trunk
from ringback.store.schema_money import tariff

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


async def add(tx: Tx, value: Tariff) -> int:
    """Store a tariff, unless it is there. Returns its id."""
    same = (
        tariff.c.rate_micros == value.rate_micros,
        tariff.c.first_seconds == value.first_seconds,
        tariff.c.next_seconds == value.next_seconds,
    )
    found = await tx.scalar(select(tariff.c.id).where(*same).order_by(tariff.c.id).limit(1))
    if found is not None:
        return int(found)
    inserted = await tx.execute(
        insert(tariff)
        .values(rate_micros=value.rate_micros, first_seconds=value.first_seconds, next_seconds=value.next_seconds)
        .returning(tariff.c.id)
    )
    return int(inserted.scalar_one())


async def by_ids(tx: Tx, ids: Collection[int]) -> dict[int, Tariff]:
    """The tariffs of these ids."""
    if not ids:
        return {}
    rows = await tx.execute(select(tariff).where(among(tariff.c.id, ids)))
    return {row.id: Tariff(row.rate_micros, row.first_seconds, row.next_seconds) for row in rows}


async def of_trunk(tx: Tx, trunk_id: int, value: Tariff | None) -> None:
    """What the trunk's calls cost from now on; ``None``: nothing."""
    tariff_id = None if value is None else await add(tx, value)
    await tx.execute(update(trunk).where(trunk.c.id == trunk_id).values(tariff_id=tariff_id))


async def of_template(tx: Tx, template_id: int, value: Tariff | None) -> bool:
    """What the agent template costs from now on beside the line; ``None``: nothing. False when there is no such one."""
    tariff_id = None if value is None else await add(tx, value)
    done = await tx.execute(update(template).where(template.c.id == template_id).values(tariff_id=tariff_id))
    return done.rowcount == 1


async def any_rated(tx: Tx, account_id: int) -> bool:
    """Whether a trunk that the account may use has a tariff."""
    may_use = or_(trunk.c.account_id.is_(None), trunk.c.account_id == account_id)
    rated = select(trunk.c.id).where(may_use, trunk.c.tariff_id.is_not(None)).limit(1)
    return await tx.scalar(rated) is not None


async def listed(tx: Tx) -> tuple[dict[str, Tariff | None], dict[int, Tariff]]:
    """What every trunk costs, by its name, and every agent template that costs something, by its id."""
    trunks = (await tx.execute(select(trunk.c.name, trunk.c.tariff_id).order_by(trunk.c.id))).all()
    priced = select(template.c.id, template.c.tariff_id).where(template.c.tariff_id.is_not(None))
    templates = (await tx.execute(priced.order_by(template.c.id))).all()
    known = await by_ids(tx, {row.tariff_id for row in [*trunks, *templates] if row.tariff_id is not None})
    return (
        {row.name: known.get(row.tariff_id) for row in trunks},
        {row.id: known[row.tariff_id] for row in templates},
    )
