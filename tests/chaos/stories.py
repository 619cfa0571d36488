"""A small campaign in which every promise was kept, for tests to break one at a time."""

from __future__ import annotations

from chaos.evidence import (
    MS,
    Back,
    CallRow,
    Evidence,
    Frozen,
    Killed,
    Limits,
    NodeRow,
    Seen,
    Stop,
    TaskRow,
    WorkerRow,
)

#: When it all began, epoch ms.
T0 = 1_700_000_000_000
CALLER, OTHER_CALLER = "4911", "4922"


def row(call_id: int, task_id: int, callee: str, begin: int, end: int, **more: object) -> CallRow:
    """A call of worker 1, ``begin`` and ``end`` in ms of the story."""
    values = {"worker_id": 1, "trunk_id": 1, "state": "ended", "outcome": "busy", "sip_code": 486, **more}
    return CallRow(
        id=call_id, task_id=task_id, callee=callee, started_at=T0 + begin, ended_at=T0 + end, lease_no=1, **values
    )


def seen(call_id: int, task_id: int, callee: str, at: int, end: int | None, **more: object) -> Seen:
    """The same at the carrier."""
    values = {"trunk": "a", "caller": CALLER, "code": 486, **more}
    return Seen(
        sip=f"sip{call_id}",
        call=call_id,
        task=task_id,
        callee=callee,
        at_ns=(T0 + at) * MS,
        ended_ns=None if end is None else (T0 + end) * MS,
        **values,
    )


def task(task_id: int, **more: object) -> TaskRow:
    """A finished task, all counters 0 but those given."""
    values = {"caller_id": CALLER, "state": "finished", "queued": 0, "active": 0, "answered": 0, "failed": 0}
    values |= {"skipped": 0, "cancelled": 0, "name": f"task{task_id}", **more}
    return TaskRow(id=task_id, account_id=1, **values)


def kept() -> Evidence:
    """Task 1 calls three numbers (one answers), its round is task 2; task 3 was paused, and cancelled before its last
    call. Worker 1 ended, 2 was killed, 3 was frozen."""
    answered = {"outcome": "answered", "sip_code": 200, "answered_at": T0 + 1_500}
    return Evidence(
        calls=[
            row(1, 1, "4901", 1_000, 2_500, **answered),
            row(2, 1, "4902", 1_100, 2_000, worker_id=2),
            row(3, 1, "4903", 1_200, 1_900, outcome="unknown", sip_code=None, worker_id=3),
            row(4, 2, "4902", 5_000, 5_500),
            row(5, 2, "4903", 5_100, 5_600),
            row(6, 3, "4901", 1_300, 1_800),
            CallRow(id=7, task_id=3, callee="4902", state="cancelled"),
        ],
        tasks=[
            task(1, total=3, answered=1, failed=2, finished_at=T0 + 2_500),
            task(2, total=2, failed=2, finished_at=T0 + 5_600),
            task(3, total=2, failed=1, cancelled=1, state="cancelled", caller_id=OTHER_CALLER),
        ],
        seen=[
            seen(1, 1, "4901", 1_020, 2_400, code=None, answered_ns=(T0 + 1_500) * MS),
            seen(2, 1, "4902", 1_120, 1_990),
            seen(3, 1, "4903", 1_220, 1_880),
            seen(6, 3, "4901", 1_320, 1_790, caller=OTHER_CALLER, trunk="b"),
            seen(4, 2, "4902", 5_020, 5_490),
            seen(5, 2, "4903", 5_120, 5_590),
        ],
        workers=[
            WorkerRow(id=1, pid=11, ended_at=T0 + 9_000),
            WorkerRow(id=2, pid=12, ended_at=T0 + 2_000, fenced_at=T0 + 1_900),
            WorkerRow(id=3, pid=13, ended_at=T0 + 2_000, fenced_at=T0 + 1_900),
        ],
        nodes=[NodeRow(id=1, state="completed", task_id=2, previous_task_id=1, qualified=2)],
        limits=Limits(
            rate={"a": 4.0, "b": 1.0}, channels={"a": 3, "b": 1}, task_lines={1: 3, 3: 1}, account_lines={1: 4}
        ),
        takeover_seconds=1.0,
        interval_seconds=2.0,
        stops=[
            Stop(kind="pause", task_id=3, from_ns=(T0 + 1_000) * MS, until_ns=(T0 + 1_300) * MS),
            Stop(kind="cancel", task_id=3, from_ns=(T0 + 1_400) * MS),
        ],
        killed=[Killed(worker_id=2, at_ns=(T0 + 1_200) * MS, held=1, settled_ns=(T0 + 2_000) * MS)],
        frozen=[
            Frozen(
                worker_id=3,
                at_ns=(T0 + 1_300) * MS,
                thawed_ns=(T0 + 3_000) * MS,
                rows=[row(3, 1, "4903", 1_200, 1_900, outcome="unknown", sip_code=None, worker_id=3)],
            )
        ],
        back=[Back(fault="kill", seconds=3.0)],
        asked_twice={"task1": 1},
    )
