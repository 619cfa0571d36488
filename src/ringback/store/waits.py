"""Why numbers are still queued, for people: of a whole task, or of one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.model.explanation import listed
from ringback.model.instants import instant
from ringback.model.queue_views import TaskView
from ringback.model.routing import denied_reason
from ringback.model.states import TASK, TaskState
from ringback.store import denials, outlook, provenance
from ringback.store.jobs import NEVER_MS

if TYPE_CHECKING:
    from ringback.store.database import Tx
    from ringback.store.records import CallRecord
    from ringback.store.tasks import Task

_ITS_TURN = "its turn has not come yet"


class Waits(msgspec.Struct, frozen=True):
    """Why numbers of a task are queued: those of a lane without a trunk (by zone and route prefix), and all others."""

    others: str
    stuck: dict[tuple[str, str], str] = {}


class Wait(msgspec.Struct, frozen=True):
    """Why a number is queued. ``not_before``: it is not dialled earlier (epoch ms), as far as is known."""

    reason: str
    not_before: int | None = None


async def of_task(tx: Tx, of: Task, *, engine: str, now_us: int) -> Waits:
    """Why the queued numbers of a task wait at this moment."""
    if of.state is TaskState.CALLING:
        plan = await outlook.plan_ahead(tx, engine=engine, now_us=now_us)
        return Waits(plan.waiting.get(of.id, _ITS_TURN), outlook.stuck_of(plan, of.id))
    if of.state is TaskState.WAITING:
        return Waits(await provenance.why_held(tx) or _starts(of))
    return Waits(f"the task is {of.state.replace('_', ' ')}" + (f": {of.reason}" if of.reason else ""))


async def of_number(tx: Tx, of: Task, number: CallRecord, *, engine: str, now_us: int) -> Wait:
    """Why a queued number of the task waits at this moment; what concerns it alone goes before what holds for all."""
    together = await of_task(tx, of, engine=engine, now_us=now_us)
    if of.state in TASK.final_states():
        return Wait(together.others)
    denied = (await denials.of_account(tx, of.account_id)).by(number.callee)
    if denied is not None:
        return Wait(f"{denied_reason(denied)}: it will be skipped")
    now_ms = now_us // 1000
    starts_ms = max(now_ms, of.send_at) if of.state is TaskState.WAITING else now_ms
    opening_ms = None if starts_ms >= NEVER_MS else _view(of).next_opening(number.zone, starts_ms)
    not_before = opening_ms if opening_ms is not None and opening_ms > now_ms else None
    stuck = together.stuck.get((number.zone, number.route_prefix))
    if of.state is TaskState.CALLING and stuck is None and opening_ms != now_ms:
        return Wait(_closed(number.zone), not_before)
    return Wait(stuck or together.others, not_before)


def _starts(of: Task) -> str:
    if of.send_at >= NEVER_MS:
        return "its job does not run"
    return f"the task starts at {instant(of.send_at)}"


def _closed(zone: str) -> str:
    names = zone.split(",") if zone else ["a zone that is not known"]
    return f"outside the calling windows in {listed(names, last='and')}"


def _view(of: Task) -> TaskView:
    """The task as the lease plan asks it for its windows."""
    return TaskView(
        id=of.id,
        lines=of.limits.lines,
        active=of.active,
        windows=of.limits.windows,
        calendar=of.limits.calendar,
        lanes=(),
        served_us=0,
    )
