"""What a new task brings along: its numbers, and how they are called again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.api.aside import build_aside
from ringback.api.v1.fields import NumberIn, check_variables, refused
from ringback.api.v1.problems import invalid
from ringback.model.task import InvalidTask, NumberList, build_numbers
from ringback.store import templates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.database import Tx


async def number_list(numbers: list[NumberIn], needed: frozenset[str], *, field: str) -> NumberList:
    """The numbers, checked, each with the variables that it needs. Raises :class:`~.problems.Problem`."""
    if not numbers:
        return NumberList([], [])
    check_variables(numbers, field)

    def build() -> NumberList:
        entries = ((one.number, one.variables) for one in numbers)
        return build_numbers(entries, field=field, member="number", needed_texts=needed)

    try:
        return await build_aside(build, len(numbers))
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
