"""What a new task brings along: its numbers, and how they are called again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ringback.api.v1.fields import NumberIn, check_variables, refused
from ringback.api.v1.problems import invalid
from ringback.model.task import InvalidTask, NumberList, build_numbers
from ringback.store import templates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.database import Tx

#: More numbers than this are checked on another thread, so that dialling goes on meanwhile.
MANY_NUMBERS = 1_000


async def number_list(numbers: list[NumberIn], needed: frozenset[str], *, field: str) -> NumberList:
    """The numbers, checked, each with the variables that it needs. Raises :class:`~.problems.Problem`."""
    if not numbers:
        return NumberList([], [])
    check_variables(numbers, field)

    def build() -> NumberList:
        entries = ((one.number, one.variables) for one in numbers)
        return build_numbers(entries, field=field, member="number", needed_texts=needed)

    try:
        return await asyncio.to_thread(build) if len(numbers) > MANY_NUMBERS else build()
    except InvalidTask as error:
        raise refused(error) from None


async def variables_of(tx: Tx, account_id: int, templates_named: Mapping[str, int]) -> frozenset[str]:
    """The variables that templates use, by the field that names each.

    Raises :class:`~.problems.Problem` for one that the account may not use.
    """
    found: set[str] = set()
    for field, template_id in templates_named.items():
        stored = await templates.usable(tx, account_id, template_id)
        if stored is None:
            raise invalid(field, f"there is no template {template_id}")
        found.update(stored.template.text_variables())
    return frozenset(found)
