"""Everything that is in a database in memory, as plain values: what the simulator holds against its own witness."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from ringback.model.task import Limits

if TYPE_CHECKING:
    from ringback.store.inline import InlineDatabase

R = TypeVar("R")


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task as stored."""

    id: int
    name: str
    template_id: int
    state: str
    reason: str
    limits: str
    send_at: int
    total: int
    queued: int
    active: int
    answered: int
    failed: int
    skipped: int
    cancelled: int
    started_at: int | None
    finished_at: int | None

    @property
    def decoded_limits(self) -> Limits:
        """Its limits."""
        return msgspec.json.decode(self.limits, type=Limits)


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call as stored."""

    id: int
    task_id: int
    callee: str
    zone: str
    state: str
    worker_id: int | None
    trunk_id: int | None
    started_at: int | None
    answered_at: int | None
    ended_at: int | None
    outcome: str | None
    intent: str | None
    reason: str | None


class FlowRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recall flow as stored."""

    id: int
    parent_task_id: int
    state: str
    reason: str
    recall_type: int
    recall_intents: str
    interval_minutes: int
    rounds: int

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents that are recalled."""
        return msgspec.json.decode(self.recall_intents, type=tuple[str, ...])


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node as stored."""

    id: int
    flow_id: int
    position: int
    state: str
    reason: str
    template_id: int
    due_at: int | None
    task_id: int | None
    qualified: int | None
    started_at: int | None
    ended_at: int | None


class Census(msgspec.Struct, frozen=True):
    """All tasks, calls, flows and nodes, each in the order of ids."""

    tasks: list[TaskRow]
    calls: list[CallRow]
    flows: list[FlowRow]
    nodes: list[NodeRow]


def census(database: InlineDatabase) -> Census:
    """Count everybody."""
    return Census(
        _all(database, "task", TaskRow),
        _all(database, "call", CallRow),
        _all(database, "flow", FlowRow),
        _all(database, "node", NodeRow),
    )


def state_of_call(database: InlineDatabase, call_id: int) -> str:
    """In which state a call is; empty when there is none."""
    rows = database.rows("SELECT state FROM call WHERE id = ?", call_id)
    return str(rows[0][0]) if rows else ""


def first_task(database: InlineDatabase, task_id: int) -> int:
    """The parent of a round's task; any other task itself."""
    rows = database.rows(
        "SELECT flow.parent_task_id FROM node JOIN flow ON flow.id = node.flow_id WHERE node.task_id = ?", task_id
    )
    return int(rows[0][0]) if rows else task_id


def open_work(database: InlineDatabase) -> tuple[list[int], list[int]]:
    """The tasks that are not over, and the flows that are not."""
    tasks = database.rows(
        "SELECT id FROM task WHERE state NOT IN ('finished', 'submission_failed', 'cancelled') ORDER BY id"
    )
    flows = database.rows("SELECT id FROM flow WHERE state IN ('pending', 'in_progress') ORDER BY id")
    return [row[0] for row in tasks], [row[0] for row in flows]


def miscounted(database: InlineDatabase) -> list[str]:
    """The counters that are not the number of rows that they count."""
    return [str(row[0]) for row in database.rows(_MISCOUNTED)]


_IS = "FROM call WHERE call.task_id = task.id AND call.state"
_ANSWERED = "call.outcome IN ('answered', 'voicemail')"
_MISCOUNTED = f"""
SELECT 'task ' || id || ' counts its calls wrongly' FROM task WHERE
    queued <> (SELECT count(*) {_IS} = 'queued')
    OR active <> (SELECT count(*) {_IS} IN ('dialling', 'in_progress'))
    OR answered <> (SELECT count(*) {_IS} = 'ended' AND {_ANSWERED})
    OR failed <> (SELECT count(*) {_IS} = 'ended' AND NOT {_ANSWERED})
    OR skipped <> (SELECT count(*) {_IS} = 'skipped')
    OR cancelled <> (SELECT count(*) {_IS} = 'cancelled')
UNION ALL
SELECT 'trunk ' || id || ' counts its lines wrongly' FROM trunk WHERE
    busy <> (SELECT count(*) FROM call WHERE trunk_id = trunk.id AND state IN ('dialling', 'in_progress'))
UNION ALL
SELECT 'a lane of task ' || task_id || ' counts its numbers wrongly' FROM lane WHERE
    queued <> (SELECT count(*) FROM call WHERE call.task_id = lane.task_id AND call.zone = lane.zone
        AND call.route_prefix = lane.route_prefix AND call.state = 'queued' AND call.id > lane.cursor)
UNION ALL
SELECT 'call ' || call.id || ' is queued behind the cursor of its lane' FROM call
    JOIN lane USING (task_id, zone, route_prefix) WHERE call.state = 'queued' AND call.id <= lane.cursor
"""  # noqa: S608 - put together from the constants above


def _all(database: InlineDatabase, table: str, kind: type[R]) -> list[R]:
    names = msgspec.structs.fields(kind)  # type: ignore[arg-type] # every kind here is a struct
    columns = ", ".join(field.name for field in names)
    rows = database.rows(f"SELECT {columns} FROM {table} ORDER BY id")  # noqa: S608 - names from this module
    return [kind(**dict(zip((field.name for field in names), row, strict=True))) for row in rows]


def fenced_workers(database: InlineDatabase) -> list[str]:
    """The names of the workers that were taken for dead."""
    return [name for (name,) in database.rows("SELECT name FROM worker WHERE fenced_at IS NOT NULL AND name <> ''")]
