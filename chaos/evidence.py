"""What is compared: calls as the carrier saw them, rows as the store keeps them, and what was done meanwhile.

Instants of the carrier and of the run are epoch nanoseconds, those of the store epoch milliseconds, all of one machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

MS = 1_000_000


class Seen(msgspec.Struct, kw_only=True):
    """A call at the carrier: one SIP Call-ID. ``call`` and ``task``: as its headers named them.

    ``code``: the final response, when it refused. ``ended_ns``: the line was free again there.
    """

    trunk: str
    sip: str
    at_ns: int
    callee: str
    caller: str
    call: int | None = None
    task: int | None = None
    answered_ns: int | None = None
    ended_ns: int | None = None
    code: int | None = None
    repeats: int = 0


class CallRow(msgspec.Struct, kw_only=True):
    """A row of ``call``, as far as it matters here."""

    id: int
    task_id: int
    callee: str
    state: str
    worker_id: int | None = None
    trunk_id: int | None = None
    lease_no: int | None = None
    started_at: int | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    outcome: str | None = None
    sip_code: int | None = None
    reason: str | None = None


class TaskRow(msgspec.Struct, kw_only=True):
    """A row of ``task``."""

    id: int
    account_id: int
    name: str
    caller_id: str
    state: str
    total: int
    queued: int
    active: int
    answered: int
    failed: int
    skipped: int
    cancelled: int
    finished_at: int | None = None


class WorkerRow(msgspec.Struct, kw_only=True):
    """A row of ``worker``. ``idle``: it held nothing, so nobody needs to notice its end."""

    id: int
    pid: int
    idle: bool = False
    ended_at: int | None = None
    fenced_at: int | None = None


class NodeRow(msgspec.Struct, kw_only=True):
    """A round of a flow, with the task before it."""

    id: int
    state: str
    task_id: int | None
    previous_task_id: int
    due_at: int | None = None
    qualified: int | None = None


class Stop(msgspec.Struct, kw_only=True):
    """A pause or cancel that was answered at ``from_ns``; it held until ``until_ns`` (``None``: for ever)."""

    kind: str
    task_id: int
    from_ns: int
    until_ns: int | None = None


class Killed(msgspec.Struct, kw_only=True):
    """A dialler was killed, and from ``at_ns`` on all that a takeover needs was there. ``held``: calls, just before."""

    worker_id: int
    at_ns: int
    held: int
    settled_ns: int | None = None


class Frozen(msgspec.Struct, kw_only=True):
    """A dialler stood still from ``at_ns`` to ``thawed_ns``. ``rows``: what others had settled for it by then."""

    worker_id: int
    at_ns: int
    fenced_ns: int | None = None
    thawed_ns: int | None = None
    rows: list[CallRow] = []


class Back(msgspec.Struct, kw_only=True):
    """Dialling after a fault: ``seconds`` from the restart to the next INVITE at the carrier, ``None`` when none came
    in time although numbers were waiting."""

    fault: str
    seconds: float | None


class Limits(msgspec.Struct, kw_only=True):
    """The limits that were set: by trunk name, by task id, by account id."""

    rate: dict[str, float]
    channels: dict[str, int]
    task_lines: dict[int, int] = {}
    account_lines: dict[int, int] = {}


class Evidence(msgspec.Struct, kw_only=True):
    """All of it."""

    seen: list[Seen]
    calls: list[CallRow]
    tasks: list[TaskRow]
    workers: list[WorkerRow]
    nodes: list[NodeRow]
    limits: Limits
    takeover_seconds: float
    interval_seconds: float
    stops: list[Stop] = []
    killed: list[Killed] = []
    frozen: list[Frozen] = []
    back: list[Back] = []
    #: When Asterisk was killed: whoever was on the line at the carrier then had nobody at our end any more.
    asterisk_deaths_ns: list[int] = []
    #: Names that were sent several times at once, with the answers that said that a task was made.
    asked_twice: dict[str, int] = {}


def read_carrier(trunk: str, lines: Iterable[str]) -> list[Seen]:
    """The calls of a carrier's log, in the order of their arrival. Raises ValueError for a log that makes no sense."""
    calls: dict[str, Seen] = {}
    for line in lines:
        said: dict[str, Any] = json.loads(line)
        event, sip, at_ns = said["event"], said["sip"], said["at_ns"]
        if event == "invite":
            if sip in calls:
                raise ValueError(f"{sip} begins twice")
            calls[sip] = Seen(trunk=trunk, sip=sip, at_ns=at_ns, callee=said["callee"], caller=said["caller"])
            calls[sip].call, calls[sip].task = said.get("call"), said.get("task")
        elif event == "repeat":
            calls[sip].repeats += 1
        elif event == "answer":
            calls[sip].answered_ns = at_ns
        elif event in {"end", "cancel", "bye", "hang_up"}:
            calls[sip].ended_ns = at_ns
            calls[sip].code = said.get("code")
        else:
            raise ValueError(f"an event {event!r}")
    return list(calls.values())
