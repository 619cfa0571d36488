"""Why a number was or was not called, round by round."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter

from ringback.api.v1.door import By, needs
from ringback.api.v1.fields import moment_or_none
from ringback.api.v1.problems import Kind, not_found
from ringback.api.v1.tasks import TaskId
from ringback.model.api_key import Scope
from ringback.model.explanation import CallExplanation, RoundExplanation, Rule
from ringback.model.outcome import Outcome
from ringback.model.states import CallState, FlowState, TaskState
from ringback.store import explain
from ringback.store.explain import NumberNotFound
from ringback.store.tasks import TaskNotFound

Number = Annotated[str, PathParameter(max_length=32, description="The number, with country code.")]


class CallExplained(msgspec.Struct, frozen=True, kw_only=True):
    """The number's call in a round. ``not_dialled``: why it has not been, empty when it has."""

    id: int
    state: CallState
    outcome: Outcome | None
    started_at: datetime | None
    ended_at: datetime | None
    trunk: str | None
    sip_code: int | None
    intent: str | None
    not_dialled: str
    not_before: datetime | None


class RoundExplained(msgspec.Struct, frozen=True, kw_only=True):
    """A round: 0 is the task itself. ``qualified``: whether the number is of it, null while that is not decided;
    ``rule`` by which, ``why`` in words.
    """

    position: int
    qualified: bool | None
    rule: Rule
    why: str
    node_id: int | None
    node_state: FlowState | None
    task_id: int | None
    task_state: TaskState | None
    not_before: datetime | None
    call: CallExplained | None


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one number."""

    number: str
    task_id: int
    flow_id: int | None
    rounds: list[RoundExplained]


@get(
    "/tasks/{task_id:int}/explain/{number:str}",
    tags=["calls"],
    **needs(Scope.CALLS_READ, statuses=(Kind.NOT_FOUND,)),
)
async def explain_number(caller: By, task_id: TaskId, number: Number) -> Explained:
    """Why a number of a task was or was not called, in the task and in each round."""
    house = caller.house
    async with caller.store.read() as tx:
        try:
            found = await explain.number(
                tx,
                caller.account_id,
                task_id,
                number,
                engine=house.settings.telephony,
                now_us=house.clock.now_us(),
            )
        except TaskNotFound:
            raise not_found("task", task_id) from None
        except NumberNotFound:
            raise not_found("number of the task", number) from None
    return Explained(
        number=found.callee,
        task_id=found.task_id,
        flow_id=found.flow_id,
        rounds=[_round(one) for one in found.rounds],
    )


def _round(of: RoundExplanation) -> RoundExplained:
    return RoundExplained(
        position=of.position,
        qualified=of.qualified,
        rule=of.rule,
        why=of.why,
        node_id=of.node_id,
        node_state=of.node_state,
        task_id=of.task_id,
        task_state=of.task_state,
        not_before=moment_or_none(of.not_before),
        call=None if of.call is None else _call(of.call),
    )


def _call(of: CallExplanation) -> CallExplained:
    return CallExplained(
        id=of.id,
        state=of.state,
        outcome=of.outcome,
        started_at=moment_or_none(of.started_at),
        ended_at=moment_or_none(of.ended_at),
        trunk=of.trunk,
        sip_code=of.sip_code,
        intent=of.intent,
        not_dialled=of.not_dialled,
        not_before=moment_or_none(of.not_before),
    )
