"""Whose calls are recalled: the audience as a condition on calls, and their numbers copied into another task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, literal, or_, select

from ringback.model.outcome import ANSWERED_OUTCOMES
from ringback.model.states import CallState
from ringback.store import routes
from ringback.store.schema import call
from ringback.store.schema_base import ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ringback.model.audience import Audience
    from ringback.model.routing import RoutePrefixes
    from ringback.store.database import Tx

#: Which calls of a task.
Condition = ColumnElement[bool]


def in_audience(audience: Audience) -> Condition:
    """The audience as a condition on calls: :meth:`Audience.includes`, in SQL."""
    chosen = [_one_of(call.c.outcome, audience.outcomes)]
    if audience.intents:
        chosen.append(and_(_one_of(call.c.outcome, ANSWERED_OUTCOMES), _one_of(call.c.intent, audience.intents)))
    return and_(call.c.state == CallState.ENDED, or_(*chosen), *_talked(audience))


def _talked(audience: Audience) -> Iterator[Condition]:
    """How long answered calls must have lasted."""
    not_answered = ~_one_of(call.c.outcome, ANSWERED_OUTCOMES)
    talk_ms = func.coalesce(call.c.talk_ms, 0)
    at_least, under = audience.talk_bounds_ms
    if at_least is not None:
        yield or_(not_answered, talk_ms >= literal(at_least))
    if under is not None:
        yield or_(not_answered, talk_ms < literal(under))


def never_called() -> Condition:
    """Numbers that were skipped, or cancelled before they were called, as a condition on calls."""
    return call.c.state.in_([CallState.SKIPPED, CallState.CANCELLED])


async def copy_numbers(
    tx: Tx, tasks: Sequence[tuple[int, int]], which: Condition, prefixes: RoutePrefixes, account_id: int
) -> int:
    """Queue the numbers of calls that meet a condition in other tasks, given as (new task, previous task), in order.

    The routes' lock is held, and ``prefixes`` are those of the account. Returns how many numbers that were, for one
    task.
    """
    # Run once for each task: in a join with a list of them PostgreSQL guesses wrongly how many calls each has.
    copied = await tx.execute(
        insert(call).from_select(
            ["task_id", "callee", "zone", "texts", "route_prefix"],
            select(
                bindparam("new_id", type_=ID),
                call.c.callee,
                call.c.zone,
                call.c.texts,
                routes.prefix_column(prefixes, account_id),
            )
            .where(call.c.task_id == bindparam("previous_id"), which)
            .order_by(call.c.id),
        ),
        [{"new_id": new_id, "previous_id": previous_id} for new_id, previous_id in tasks],
    )
    return copied.rowcount


def _one_of(column: ColumnElement[Any], of: Iterable[str]) -> ColumnElement[bool]:
    # Plain literals: a list that is one parameter cannot stand in a statement that is run many times.
    return column.in_([literal(one) for one in sorted(of)])
