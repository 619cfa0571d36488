"""`ringback calls` and `ringback flow`: what came of a task's calls, and of a recall flow's rounds."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from ringback.cli.common import MAX_ID, UserError, console, iso, opened, run, settings
from ringback.clock import RealClock
from ringback.model.states import CallState
from ringback.store import flows, outlook, provenance, records, tasks
from ringback.store import waits as waits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.settings import Settings
    from ringback.store.database import Tx
    from ringback.store.records import CallRecord
    from ringback.store.waits import Waits

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


def calls(
    task_id: Annotated[int, typer.Argument(help="Id of the task.", min=1, max=MAX_ID)], as_json: AsJson = False
) -> None:
    """Show every call of a task: how it ended, or why it has not been dialled."""

    async def work() -> None:
        in_force = settings()
        table = Table("callee", "outcome", "sip", "rang", "talked", "by", "keys", "intent", "reason")
        async with opened(in_force) as store:
            async with store.read() as tx:
                waits = await _why_queued(tx, in_force, task_id)
            after = 0
            while True:
                # A transaction a page: whoever reads the output slowly must not hold one open.
                async with store.read() as tx:
                    found = await records.page(tx, task_id, after=after)
                if not found:
                    break
                after = found[-1].id
                for record in found:
                    values = call_values(record, waits)
                    if as_json:
                        sys.stdout.write(msgspec.json.encode(values).decode() + "\n")
                    else:
                        _add_row(table, values, record)
            if not as_json:
                console.print(table)

    run(work())


def flow(
    key_id: Annotated[int, typer.Argument(help="keyId of the recall flow.", min=1, max=MAX_ID)], as_json: AsJson = False
) -> None:
    """Show a recall flow: per round who qualified, who did not and why, and how the calls ended."""

    async def work() -> dict[str, Any]:
        in_force = settings()
        async with opened(in_force) as store, store.read() as tx:
            waiting = await outlook.waiting_reasons(tx, engine=in_force.telephony, now_us=RealClock().now_us())
            return await flow_values(tx, key_id, waiting)

    values = run(work())
    if as_json:
        sys.stdout.write(msgspec.json.encode(values).decode() + "\n")
        return
    print_flow(values)


def call_values(record: CallRecord, waits: Waits) -> dict[str, Any]:
    """A call as other programs read it. ``waits`` is why the task gives it no line, when it is queued."""
    reason = record.reason or None
    if record.state is CallState.QUEUED:
        reason = waits.stuck.get((record.zone, record.route_prefix), waits.others)
    elif record.state is CallState.CANCELLED:
        reason = "the task was cancelled"
    return {
        "callee": record.callee,
        "outcome": record.outcome,
        "sip_code": record.sip_code,
        "q850_cause": record.q850_cause,
        "ring_ms": record.ring_ms,
        "talk_ms": record.talk_ms,
        "hung_up_by": record.hung_up_by,
        "keys": record.keys,
        "intent": record.intent,
        "trunk": record.trunk,
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        "reason": reason,
        "state": record.state,
        "recording": record.recording,
    }


async def flow_values(tx: Tx, key_id: int, waiting: Mapping[int, str]) -> dict[str, Any]:
    """A flow as other programs read it. Raises :class:`UserError` when there is none.

    ``waiting``: why tasks that are calling get no line at this moment, by task id.
    """
    found = await flows.detail(tx, key_id)
    if found is None:
        raise UserError(f"there is no recall flow {key_id}")
    held = await provenance.why_held(tx)
    rounds = []
    for node in found.nodes:
        left_out = msgspec.json.decode(node.left_out, type=dict[str, int]) if node.left_out else {}
        skipped = Counter(left_out)
        ended: dict[str, int] = {}
        if node.task_id is not None:
            skipped.update(await records.skipped_by_reason(tx, node.task_id))
            ended = await records.count_by_end(tx, node.task_id)
        rounds.append(
            {
                "key_id": node.id,
                "position": node.position,
                "state": node.state,
                "task_id": node.task_id,
                "template_id": node.template_id,
                "due_at": iso(node.due_at),
                "started_at": iso(node.started_at),
                "ended_at": iso(node.ended_at),
                "qualified": node.qualified,
                "skipped": dict(skipped),
                "ended": ended,
                "reason": node.reason
                or waiting.get(node.task_id or 0, held if node.due_at and not node.task_id else ""),
            }
        )
    return {
        "key_id": found.id,
        "parent_task_id": found.parent_task_id,
        "state": found.state,
        "reason": found.reason or waiting.get(found.parent_task_id, ""),
        "recall_type": int(found.recall_type),
        "recall_intents": found.recall_intents,
        "interval_minutes": found.interval_minutes,
        "rounds": found.rounds,
        "created_at": iso(found.created_at),
        "nodes": rounds,
    }


def print_flow(values: dict[str, Any]) -> None:
    """The flow as a table for people."""
    who = "the failed" if values["recall_type"] == 1 else "all"
    intents = ", ".join(values["recall_intents"])
    console.print(
        f"recall flow {values['key_id']} of task {values['parent_task_id']}: {values['state']}; recalls {who}"
        f"{' and' if who != 'all' and intents else ''}{' with intent ' + intents if intents else ''}, "
        f"{values['rounds']} rounds, {values['interval_minutes']} min apart  {values['reason']}"
    )
    table = Table("round", "state", "task", "due", "qualified", "not recalled", "ended")
    for node in values["nodes"]:
        table.add_row(
            str(node["position"]),
            node["state"],
            str(node["task_id"] or "–"),
            node["due_at"] or "–",
            "–" if node["qualified"] is None else str(node["qualified"]),
            counts(node["skipped"]),
            "; ".join(filter(None, (counts(node["ended"]), node["reason"]))),
        )
    console.print(table)


def counts(by_name: dict[str, int]) -> str:
    """Counts on one line."""
    return ", ".join(f"{count} {name}" for name, count in by_name.items())


async def _why_queued(tx: Tx, in_force: Settings, task_id: int) -> Waits:
    task = await tasks.get(tx, task_id)
    if task is None:
        raise UserError(f"there is no task {task_id}")
    return await waits_of.of_task(tx, task, engine=in_force.telephony, now_us=RealClock().now_us())


def _add_row(table: Table, values: dict[str, Any], record: CallRecord) -> None:
    table.add_row(
        values["callee"],
        values["outcome"] or str(record.state).replace("_", " "),
        str(values["sip_code"] or ""),
        _seconds(values["ring_ms"]),
        _seconds(values["talk_ms"]),
        values["hung_up_by"] or "",
        values["keys"] or "",
        values["intent"] or "",
        values["reason"] or "",
    )


def _seconds(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:.1f} s"
