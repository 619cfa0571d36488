"""`ringback explain`: why a number was or was not dialled, round by round."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from ringback.cli.common import MAX_ID, UserError, checked, iso, opened, run, settings
from ringback.clock import RealClock
from ringback.model.numbers import parse_callee
from ringback.store import explain as explanations
from ringback.store.explain import NumberNotFound
from ringback.store.tasks import TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringback.model.explanation import CallExplanation, Explanation, RoundExplanation

_INSTANTS = ("started_at", "answered_at", "ended_at", "not_before")


def explain(
    task_id: Annotated[
        int, typer.Argument(help="Id of the task, or of any round of its flow or job.", min=1, max=MAX_ID)
    ],
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The number, country code first.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Tell why a number was or was not dialled, in the task and in every round after it."""

    async def work() -> Explanation:
        callee = checked("NUMBER", parse_callee, number)
        in_force = settings()
        async with opened(in_force) as store, store.read() as tx:
            try:
                return await explanations.number(
                    tx, None, task_id, callee, engine=in_force.telephony, now_us=RealClock().now_us()
                )
            except (TaskNotFound, NumberNotFound) as error:
                raise UserError(str(error)) from None

    found = run(work())
    if as_json:
        sys.stdout.write(msgspec.json.encode(explained(found)).decode() + "\n")
        return
    for line in lines(found):
        typer.echo(line)


def explained(found: Explanation) -> dict[str, Any]:
    """An explanation as other programs read it: instants are ISO 8601."""
    values: dict[str, Any] = msgspec.to_builtins(found)
    for one in values["rounds"]:
        for part in filter(None, (one, one["call"])):
            part.update({name: iso(part[name]) for name in _INSTANTS if name in part})
    return values


def lines(found: Explanation) -> Iterator[str]:
    """An explanation for people."""
    of = (
        f"recall flow {found.flow_id}" if found.flow_id else f"job {found.job_id}" if found.job_id else "no recall flow"
    )
    yield f"{found.callee} of task {found.task_id}, {of}"
    for one in found.rounds:
        yield ""
        yield _heading(one)
        yield f"  {_QUALIFIED[one.qualified]} ({one.rule}): {one.why}"
        if one.call is not None:
            yield f"  call {one.call.id} {', '.join(_facts(one.call))}"
        elif one.not_before is not None:
            yield f"  not before {iso(one.not_before)}"


_QUALIFIED = {True: "in this round", False: "not in this round", None: "not decided"}


def _heading(one: RoundExplanation) -> str:
    parts = [f"round {one.position}" if one.position else "round 0, the first calls"]
    if one.node_id is not None:
        parts.append(f"node {one.node_id} {_words(one.node_state or '')}")
    parts.append("no task" if one.task_id is None else f"task {one.task_id} {_words(one.task_state or '')}")
    return ", ".join(parts)


def _facts(one: CallExplanation) -> Iterator[str]:
    yield _words(one.outcome or one.state)
    if one.not_dialled:
        yield f"not dialled: {one.not_dialled}"
    if one.not_before is not None:
        yield f"not before {iso(one.not_before)}"
    if one.worker_id is not None:
        name = f" ({one.worker})" if one.worker else ""
        leased = f"leased {iso(one.started_at)}" if one.started_at is not None else "noted"
        yield f"{leased} by worker {one.worker_id}{name}"
    if one.trunk is not None:
        yield f"through trunk {one.trunk}"
    if one.ring_ms is not None:
        yield f"rang {one.ring_ms / 1000:.1f} s"
    if one.talk_ms is not None:
        yield f"talked {one.talk_ms / 1000:.1f} s"
    for name, value in (("SIP", one.sip_code), ("Q.850", one.q850_cause), ("intent", one.intent), ("keys", one.keys)):
        if value:
            yield f"{name} {value}"
    if one.hung_up_by:
        yield f"hung up by {one.hung_up_by}"
    if one.ended_at is not None:
        yield f"ended {iso(one.ended_at)}"
    if one.reason and not one.not_dialled:
        yield one.reason


def _words(state: str) -> str:
    return state.replace("_", " ")
