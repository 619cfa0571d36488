"""Charging: what ended calls cost is noted with them and taken from their account, in the transaction of the result."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select, update

from ringback.store import tariffs
from ringback.store.bulk import among, update_rows
from ringback.store.schema import account, call, task, template, trunk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringback.store.database import Tx


class Charge(msgspec.Struct):
    """What the calls of a task cost together: seconds charged by the line, and millionths of line and agent."""

    seconds: int = 0
    cost_micros: int = 0


async def charge(tx: Tx, held: Sequence[Any], talk_ms: Mapping[int, int | None]) -> dict[int, Charge]:
    """Note the tariffs on calls that have just ended, rows with ``id``, ``task_id`` and ``trunk_id``.

    ``talk_ms`` is how long each was up. Returns what they cost by task; the caller takes it from the accounts with
    :func:`take`, once it holds the tasks. A call that was not answered costs nothing, and its tariffs are noted too.
    """
    of_trunk = await _priced(tx, trunk, {row.trunk_id for row in held})
    of_template = await _agents(tx, {row.task_id for row in held})
    if not of_trunk and not of_template:
        return {}
    known = await tariffs.by_ids(tx, {*of_trunk.values(), *of_template.values()})
    charges: dict[int, Charge] = {}
    noted = []
    for row in held:
        line, agent = of_trunk.get(row.trunk_id), of_template.get(row.task_id)
        if line is None and agent is None:
            continue
        noted.append({"id": row.id, "tariff_id": line, "agent_tariff_id": agent})
        of = charges.setdefault(row.task_id, Charge())
        talked = talk_ms[row.id]
        if line is not None:
            of.seconds += known[line].charged_seconds(talked)
            of.cost_micros += known[line].cost_micros(talked)
        if agent is not None:
            of.cost_micros += known[agent].cost_micros(talked)
    await update_rows(tx, call, noted)
    return charges


async def take(tx: Tx, charges: Mapping[int, Charge]) -> None:
    """Take what calls cost from the balances of their accounts. The tasks are held already."""
    costs = {task_id: of.cost_micros for task_id, of in charges.items() if of.cost_micros}
    if not costs:
        return
    owners = await tx.execute(select(task.c.id, task.c.account_id).where(among(task.c.id, list(costs))))
    owed: Counter[int] = Counter()
    for row in owners:
        owed[row.account_id] += costs[row.id]
    for account_id in sorted(owed):
        await tx.execute(
            update(account)
            .where(account.c.id == account_id, account.c.balance_micros.is_not(None))
            .values(balance_micros=account.c.balance_micros - owed[account_id])
        )


async def _priced(tx: Tx, table: Any, ids: set[int]) -> dict[int, int]:
    rows = await tx.execute(
        select(table.c.id, table.c.tariff_id).where(among(table.c.id, sorted(ids)), table.c.tariff_id.is_not(None))
    )
    return {row.id: row.tariff_id for row in rows}


async def _agents(tx: Tx, task_ids: set[int]) -> dict[int, int]:
    rows = await tx.execute(
        select(task.c.id, template.c.tariff_id)
        .join(template, template.c.id == task.c.template_id)
        .where(among(task.c.id, sorted(task_ids)), template.c.tariff_id.is_not(None))
    )
    return {row.id: row.tariff_id for row in rows}
