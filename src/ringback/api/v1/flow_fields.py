"""A recall flow in full, as it is asked for and shown: one node a round."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from ringback.api.v1.fields import Id, WindowIn, moment_or_none, windows_of, windows_shown
from ringback.api.v1.problems import FieldError, Kind, Problem
from ringback.model.audience import Audience
from ringback.model.flow import MAX_ROUNDS, InvalidFlow
from ringback.model.outcome import FAILED_OUTCOMES, Outcome
from ringback.model.round_rule import RoundRule, check_rules
from ringback.model.states import FlowState
from ringback.model.windows import MAX_WINDOWS
from ringback.store.flows import NodeDetail


class AudienceIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is recalled, out of the calls of the round before: calls with one of the ``outcomes``, and answered calls
    with one of the ``intents``. Of answered calls only those that lasted ``talk_at_least_seconds`` or longer, and less
    than ``talk_under_seconds``. Left out altogether: all that failed.
    """

    outcomes: list[Outcome] = []
    intents: list[Annotated[str, msgspec.Meta(min_length=1, max_length=32)]] = []
    talk_at_least_seconds: float | None = None
    talk_under_seconds: float | None = None


def _failed() -> AudienceIn:
    return AudienceIn(outcomes=sorted(FAILED_OUTCOMES))


class NodeIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A round. ``interval_minutes`` lies between the end of the task before and its start. ``template_id``,
    ``windows`` and ``caller_id``: null for those of the task.
    """

    interval_minutes: int
    audience: AudienceIn = msgspec.field(default_factory=_failed)
    template_id: Id | None = None
    windows: list[WindowIn] | None = None
    caller_id: Annotated[str, msgspec.Meta(pattern="^[0-9]{0,20}$")] | None = None


class FlowIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the numbers of a task are called again, round by round."""

    nodes: Annotated[list[NodeIn], msgspec.Meta(min_length=1, max_length=MAX_ROUNDS)]


class NodeOut(msgspec.Struct, frozen=True, kw_only=True):
    """A round. ``qualified``: how many calls of the task before were recalled, ``left_out`` why others were not;
    both null until it starts.
    """

    id: int
    position: int
    state: FlowState
    reason: str
    interval_minutes: int
    audience: AudienceIn
    template_id: int
    windows: list[WindowIn] | None
    caller_id: str | None
    task_id: int | None
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    qualified: int | None
    left_out: dict[str, int] | None


def rule_asked(asked: NodeIn, template_id: int, field: str) -> RoundRule:
    """A round of a request; ``template_id``: the one that it takes when it names none. Raises :class:`Problem`."""
    try:
        return _rule(asked, template_id, field).checked(field)
    except InvalidFlow as error:
        raise _refused(error) from None


def rules_asked(asked: FlowIn, template_id: int, field: str) -> list[RoundRule]:
    """The rounds of a request. Raises :class:`Problem`."""
    rules = [_rule(node, template_id, f"{field}[{at}]") for at, node in enumerate(asked.nodes)]
    try:
        check_rules(rules, field)
    except InvalidFlow as error:
        raise _refused(error) from None
    return rules


def _rule(asked: NodeIn, template_id: int, field: str) -> RoundRule:
    return RoundRule(
        interval_minutes=asked.interval_minutes,
        audience=Audience(
            outcomes=frozenset(asked.audience.outcomes),
            intents=frozenset(asked.audience.intents),
            talk_at_least_seconds=asked.audience.talk_at_least_seconds,
            talk_under_seconds=asked.audience.talk_under_seconds,
        ),
        template_id=template_id if asked.template_id is None else asked.template_id,
        windows=None if asked.windows is None else windows_of(asked.windows, f"{field}.windows", MAX_WINDOWS),
        caller_id=asked.caller_id,
    )


def node_shown(node: NodeDetail) -> NodeOut:
    """A round as it is answered."""
    audience = node.rule.audience
    return NodeOut(
        id=node.id,
        position=node.position,
        state=node.state,
        reason=node.reason,
        interval_minutes=node.rule.interval_minutes,
        audience=AudienceIn(
            outcomes=sorted(audience.outcomes),
            intents=sorted(audience.intents),
            talk_at_least_seconds=audience.talk_at_least_seconds,
            talk_under_seconds=audience.talk_under_seconds,
        ),
        template_id=node.template_id,
        windows=None if node.rule.windows is None else windows_shown(node.rule.windows),
        caller_id=node.rule.caller_id,
        task_id=node.task_id,
        due_at=moment_or_none(node.due_at),
        started_at=moment_or_none(node.started_at),
        ended_at=moment_or_none(node.ended_at),
        qualified=node.qualified,
        left_out=None if node.left_out is None else msgspec.json.decode(node.left_out, type=dict[str, int]),
    )


def _refused(error: InvalidFlow) -> Problem:
    text = str(error).removeprefix(f"{error.field}: ")
    return Problem(Kind.INVALID, str(error), errors=[FieldError(error.field, text)])
