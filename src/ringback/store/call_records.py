"""Ended calls with all that a record or a report tells of them, asked for by id or by period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select

from ringback.model.billing import Tariff
from ringback.model.outcome import ANSWERED_OUTCOMES, Outcome
from ringback.model.task import TaskKind
from ringback.store.bulk import among
from ringback.store.schema import account, application, call, node, task, template, trunk
from ringback.store.schema_money import tariff

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringback.store.database import Tx


class ReportedCall(msgspec.Struct, frozen=True, kw_only=True):
    """An ended call. Instants are epoch ms, durations ms.

    ``caller_id`` is what its task wanted shown, '' for whatever its trunk showed. ``recall_round``: 0 for the first
    call of a number, n for the n-th round of its task's flow; ``flow_id`` is that flow, if the task is a round of one.
    ``line`` and ``agent`` are the prices it was made under. ``voice_node``: see :func:`ringback.store.templates.add`.
    """

    id: int
    account_id: int
    application_id: int
    app_id: str
    task_id: int
    task_name: str
    kind: TaskKind
    called_info: str
    currency: str
    callee: str
    caller_id: str
    outcome: Outcome
    sip_code: int | None
    q850_cause: int | None
    submitted_at: int
    started_at: int | None
    answered_at: int | None
    ended_at: int
    ring_ms: int | None
    talk_ms: int | None
    hung_up_by: str | None
    keys: str
    intent: str | None
    reason: str
    trunk: str
    recording: str | None
    template_id: int
    voice_node: str | None
    recall_round: int
    node_id: int | None
    flow_id: int | None
    line: Tariff | None
    agent: Tariff | None

    @property
    def answered(self) -> bool:
        """Whether a person or a machine answered."""
        return self.outcome in ANSWERED_OUTCOMES

    @property
    def ringing_at(self) -> int | None:
        """When it began to ring, epoch ms."""
        return None if self.ring_ms is None else (self.answered_at or self.ended_at) - self.ring_ms

    @property
    def file_played(self) -> str | None:
        """The id of the uploaded file that was played."""
        return None if self.voice_node is None else msgspec.json.decode(self.voice_node, type=_Played).voiceFileId

    @property
    def recording_id(self) -> str | None:
        """What its recording is known by outside."""
        return None if self.recording is None else f"{self.task_id}-{self.id}"


class _Played(msgspec.Struct, frozen=True):
    voiceFileId: str | None = None  # noqa: N815 - the vendor's name


async def by_ids(tx: Tx, call_ids: Collection[int]) -> dict[int, ReportedCall]:
    """Those of the calls that have ended, by id."""
    if not call_ids:
        return {}
    rows = await tx.execute(_RECORDS.where(among(call.c.id, call_ids), _ENDED))
    return {row.id: _record(row) for row in rows}


async def of_account(tx: Tx, account_id: int, call_id: int) -> ReportedCall | None:
    """The account's ended call of that id."""
    row = (
        await tx.execute(_RECORDS.where(call.c.id == call_id, task.c.account_id == account_id, _ENDED))
    ).one_or_none()
    return None if row is None else _record(row)


async def page(
    tx: Tx,
    account_id: int,
    *,
    ended_from: int,
    ended_to: int,
    kinds: Collection[TaskKind],
    limit: int,
    offset: int,
) -> tuple[int, list[ReportedCall]]:
    """The account's calls that ended in a period (epoch ms, both ends included), newest first; and how many."""
    wanted = (
        call.c.ended_at.between(ended_from, ended_to),
        _ENDED,
        task.c.account_id == account_id,
        task.c.kind.in_(sorted(kinds)),
    )
    counted = select(func.count()).select_from(call).join(task, task.c.id == call.c.task_id).where(*wanted)
    total = int(await tx.scalar(counted) or 0)
    rows = await tx.execute(
        _RECORDS.where(*wanted).order_by(call.c.ended_at.desc(), call.c.id.desc()).limit(limit).offset(offset)
    )
    return total, [_record(row) for row in rows]


_line, _agent = tariff.alias("line"), tariff.alias("agent")
_ENDED = call.c.ended_at.is_not(None)
_PRICES = [
    column.label(f"{name}_{column.name}")
    for name, table in (("line", _line), ("agent", _agent))
    for column in (table.c.rate_micros, table.c.first_seconds, table.c.next_seconds)
]
_RECORDS = (
    select(
        call.c.id,
        task.c.account_id,
        task.c.application_id,
        application.c.app_id,
        call.c.task_id,
        task.c.name.label("task_name"),
        task.c.kind,
        task.c.called_info,
        account.c.currency,
        call.c.callee,
        func.coalesce(func.nullif(task.c.caller_id, ""), application.c.caller_id).label("caller_id"),
        call.c.outcome,
        call.c.sip_code,
        call.c.q850_cause,
        task.c.created_at.label("submitted_at"),
        call.c.started_at,
        call.c.answered_at,
        call.c.ended_at,
        call.c.ring_ms,
        call.c.talk_ms,
        call.c.hung_up_by,
        func.coalesce(call.c["keys"], "").label("keys"),
        call.c.intent,
        func.coalesce(call.c.reason, "").label("reason"),
        # One that was settled after a restore went through a trunk that nobody knows.
        func.coalesce(trunk.c.name, "").label("trunk"),
        call.c.recording,
        task.c.template_id,
        template.c.voice_node,
        func.coalesce(node.c.position, 0).label("recall_round"),
        node.c.id.label("node_id"),
        node.c.flow_id,
        *_PRICES,
    )
    .join(task, task.c.id == call.c.task_id)
    .join(account, account.c.id == task.c.account_id)
    .join(application, application.c.id == task.c.application_id)
    .join(template, template.c.id == task.c.template_id)
    .join(trunk, trunk.c.id == call.c.trunk_id, isouter=True)
    .join(node, node.c.task_id == task.c.id, isouter=True)
    .join(_line, _line.c.id == call.c.tariff_id, isouter=True)
    .join(_agent, _agent.c.id == call.c.agent_tariff_id, isouter=True)
)
_COLUMNS = tuple(field.name for field in msgspec.structs.fields(ReportedCall) if field.name not in ("line", "agent"))


def _record(row: Any) -> ReportedCall:
    values = {name: getattr(row, name) for name in _COLUMNS}
    values["outcome"] = Outcome(row.outcome)
    values["kind"] = TaskKind(row.kind)
    return ReportedCall(**values, line=_tariff(row, "line"), agent=_tariff(row, "agent"))


def _tariff(row: Any, name: str) -> Tariff | None:
    rate = getattr(row, f"{name}_rate_micros")
    if rate is None:
        return None
    return Tariff(rate, getattr(row, f"{name}_first_seconds"), getattr(row, f"{name}_next_seconds"))
