"""What the database itself refuses, whoever writes to it: forbidden moves, and rows that cannot be true."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ringback.model.job import JOB
from ringback.model.states import CALL, FLOW, NODE, TASK, StateMachine
from ringback.store.schema import GUARDED
from tests.store.rig import Database, Rig, recall

#: What a row needs besides its state, so that only the move itself is judged.
FITTING: dict[str, dict[str | None, str]] = {
    "task": {"finished": "finished_at = 1", None: "finished_at = NULL"},
    "call": {
        "queued": "worker_id = NULL, trunk_id = NULL, outcome = NULL, reason = 'r'",
        "dialling": "worker_id = 1, trunk_id = 1, outcome = NULL, reason = 'r'",
        "in_progress": "worker_id = 1, trunk_id = 1, outcome = NULL, answered_at = 1, reason = 'r'",
        "ended": "worker_id = 1, trunk_id = 1, outcome = 'busy', reason = 'r'",
        "skipped": "worker_id = NULL, trunk_id = NULL, outcome = NULL, reason = 'r'",
        "cancelled": "worker_id = NULL, trunk_id = NULL, outcome = NULL, reason = 'r'",
    },
    "flow": {None: "reason = ''"},
    "node": {"pending": "task_id = NULL", None: "task_id = 2"},
    "job": {None: "modified_at = 1"},
}
MACHINES: dict[str, StateMachine[Any, Any]] = {"task": TASK, "call": CALL, "flow": FLOW, "node": NODE, "job": JOB}


def test_every_machine_guards_its_table() -> None:
    assert {table.name: machine for table, machine in GUARDED} == MACHINES


@pytest.mark.parametrize("table", list(MACHINES))
def test_a_forbidden_move_is_refused_and_an_allowed_one_passes(file_database: Database, table: str) -> None:
    machine = MACHINES[table]
    fitting = FITTING[table]

    def set_to(state: str) -> str:
        return f"UPDATE {table} SET state = '{state}', {fitting.get(state) or fitting[None]} WHERE id = 1"

    async def story(rig: Rig) -> None:
        await rig.new_task(1, flow=recall(), started=False)
        await rig.new_task(1, started=False)
        await rig.run_sql(
            "INSERT INTO job (account_id, name, spec, created_at, modified_at) VALUES (:account, 'j', '{}', 1, 1)",
            account=rig.account,
        )
        # The counters are not what this is about.
        await rig.run_sql("UPDATE task SET queued = 0, skipped = 1")
        guard = await rig.one("SELECT sql FROM sqlite_master WHERE name = :name", name=f"guard_{table}_state")
        enum: Any = type(machine.initial)
        states = [str(state) for state in enum]
        tried = 0
        for before, after in product(states, states):
            async with rig.store.write() as tx:
                await tx.execute(text(f"DROP TRIGGER guard_{table}_state"))
                await tx.execute(text(set_to(before)))
                await tx.execute(text(guard))
            if before == after or (before, after) in machine.moves():
                await rig.run_sql(set_to(after))
                expected = after
            else:
                with pytest.raises(IntegrityError, match=f"illegal {machine.name} state change"):
                    await rig.run_sql(set_to(after))
                expected = before
            tried += 1
            assert await rig.one(f"SELECT state FROM {table} WHERE id = 1") == expected
        assert tried == len(states) ** 2
        for name in ("node", "flow", "lane", "call", "task"):
            await rig.run_sql(f"DELETE FROM {name}")

    file_database.run(story)


HELD = "UPDATE call SET state = 'dialling', worker_id = 1, trunk_id = 1 WHERE id = 1"


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        # The last line of defence of the limits.
        ("UPDATE trunk SET busy = channels + 1", "ck_trunk_busy"),
        ("UPDATE trunk SET busy = -1", "ck_trunk_busy"),
        ("UPDATE trunk SET channels = 0", "ck_trunk_channels"),
        ("UPDATE trunk SET calls_per_second = 0", "ck_trunk_rate"),
        ("UPDATE trunk SET calls_per_second = -1", "ck_trunk_rate"),
        ("UPDATE trunk SET calls_per_second = 9e999", "ck_trunk_rate"),
        ("UPDATE trunk SET calls_per_second = 1e-300", "ck_trunk_rate"),
        ("UPDATE trunk SET calls_per_second = NULL", "trunk.calls_per_second"),
        # Counters that do not add up.
        ("UPDATE task SET queued = queued - 1", "ck_task_counters"),
        ("UPDATE task SET active = 1", "ck_task_counters"),
        ("UPDATE task SET queued = -1, failed = total + 1", "ck_task_counters"),
        ("UPDATE task SET active = -1, failed = 1", "ck_task_counters"),
        ("UPDATE task SET total = total + 1", "ck_task_counters"),
        # A task that is over although it has something left, or does not know when.
        ("UPDATE task SET state = 'finished', finished_at = 1", "ck_task_finished_is_done"),
        ("UPDATE task SET state = 'finished', queued = 0, failed = 2", "ck_task_finished_at"),
        ("UPDATE task SET finished_at = 1", "ck_task_finished_at"),
        ("UPDATE lane SET queued = -1", "ck_lane_queued"),
        # Calls.
        ("UPDATE call SET state = 'dialling' WHERE id = 1", "ck_call_held_by_worker"),
        ("UPDATE call SET state = 'dialling', worker_id = 1 WHERE id = 1", "ck_call_held_by_worker"),
        ("UPDATE call SET state = 'dialling', trunk_id = 1 WHERE id = 1", "ck_call_held_by_worker"),
        ("UPDATE call SET worker_id = 1, trunk_id = 1 WHERE id = 1", "ck_call_held_by_worker"),
        ("UPDATE call SET outcome = 'busy' WHERE id = 1", "ck_call_ended_has_outcome"),
        ("UPDATE call SET state = 'skipped' WHERE id = 1", "ck_call_skipped_has_reason"),
        (f"{HELD}; UPDATE call SET state = 'ended' WHERE id = 1", "ck_call_ended_has_outcome"),
        (f"{HELD}; UPDATE call SET state = 'in_progress' WHERE id = 1", "ck_call_answered_at"),
        (f"{HELD}; UPDATE call SET state = 'queued' WHERE id = 1", "ck_call_held_by_worker"),
        (f"{HELD}; UPDATE call SET state = 'ended', outcome = 'engaged' WHERE id = 1", "ck_call_outcome"),
        ("UPDATE call SET callee = '4900000001' WHERE callee = '4900000000'", "call.task_id, call.callee"),
        ("INSERT INTO call (task_id, callee, zone) VALUES (99, '4912345678', '')", "FOREIGN KEY"),
        # States that no machine knows: refused as a move, and by a row of its own at the insert.
        ("UPDATE call SET state = 'lost'", "illegal call state change"),
        ("INSERT INTO call (task_id, callee, zone, state) VALUES (1, '4912345678', '', 'lost')", "ck_call_state"),
        # Flows and nodes.
        ("UPDATE flow SET interval_minutes = 0", "ck_flow_interval_minutes"),
        ("UPDATE flow SET interval_minutes = 1441", "ck_flow_interval_minutes"),
        ("UPDATE flow SET rounds = 11", "ck_flow_rounds"),
        ("UPDATE flow SET recall_type = 2", "ck_flow_recall_type"),
        ("UPDATE node SET position = 11 WHERE position = 2", "ck_node_position"),
        ("UPDATE node SET position = 1 WHERE position = 2", "node.flow_id, node.position"),
        ("UPDATE node SET task_id = 1 WHERE position = 1", "ck_node_pending_has_no_task"),
        ("UPDATE node SET state = 'in_progress' WHERE position = 1", "ck_node_in_progress_has_task"),
        (
            "UPDATE node SET state = 'in_progress', task_id = 1 WHERE position = 1; "
            "UPDATE node SET state = 'in_progress', task_id = 2 WHERE position = 2",
            "node.flow_id",
        ),
        (
            "UPDATE node SET state = 'in_progress', task_id = 1 WHERE position = 1; "
            "UPDATE node SET state = 'completed' WHERE position = 1; "
            "UPDATE node SET state = 'in_progress', task_id = 1 WHERE position = 2",
            "node.task_id",
        ),
        ("DELETE FROM task", "FOREIGN KEY"),
        ("DELETE FROM template", "FOREIGN KEY"),
        ("UPDATE account SET envelope = 'neither'", "ck_account_envelope"),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(file_database: Database, sql: str, what: str) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(2, flow=recall(rounds=2))
        await rig.new_task(2)

        async def write() -> None:
            async with rig.store.write() as tx:
                for statement in sql.split("; "):
                    await tx.execute(text(statement))

        with pytest.raises(IntegrityError, match=what):
            await write()

    file_database.run(story)
