"""Why a job called a number again, or did not: :class:`~ringback.model.redial.Redial` in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ringback.model.explanation import (
    CallExplanation,
    RoundExplanation,
    Rule,
    Verdict,
    call_of,
    out_of,
    outcome_in_words,
)
from ringback.model.instants import instant
from ringback.model.redial import Redial

if TYPE_CHECKING:
    from ringback.model.states import TaskState

# The length of a minute moves the instant, and whether there is one is all that is asked here.
_ANY_MINUTE = 60.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a job. ``over``: why it calls nobody any more, or why it waits; empty when it runs."""

    redial: Redial | None
    over: str = ""


def redialled(before: RoundExplanation, task_id: int, task_state: TaskState, call: CallExplanation) -> RoundExplanation:
    """A round that has the number, after what was found of the round before it."""
    ended = before.call
    if ended is None or ended.outcome is None:
        found = Verdict(True, Rule.JOINED, "it was added to this round by hand")
    else:
        how = f"{call_of(before.position)} {outcome_in_words(ended.outcome)}"
        found = Verdict(True, Rule.REDIALLED, f"{how}, after which the job called the number again")
    return _explained(found, before, task_id=task_id, task_state=task_state, call=call)


def without(
    of: Job,
    before: RoundExplanation,
    due_at: int | None,
    *,
    task_id: int | None = None,
    task_state: TaskState | None = None,
) -> RoundExplanation:
    """A round that does not have the number, or not yet. ``due_at``: when it is to join it, epoch ms."""
    found = _verdict(of, before, due_at)
    return _explained(found, before, task_id=task_id, task_state=task_state, not_before=due_at)


def _explained(found: Verdict, before: RoundExplanation, **more: Any) -> RoundExplanation:
    return RoundExplanation(
        position=before.position + 1, qualified=found.qualified, rule=found.rule, why=found.why, **more
    )


def _verdict(of: Job, before: RoundExplanation, due_at: int | None) -> Verdict:
    waits = f", and {of.over}" if of.over else ""
    if due_at is not None:
        return Verdict(None, Rule.REDIAL_WAITS, f"the job calls it again at {instant(due_at)}{waits}")
    never = out_of(before)
    if never is not None:
        return never
    assert before.call is not None, "without a call, no later round has it"
    if before.call.outcome is None:
        return Verdict(None, Rule.ROUND_NOT_STARTED, f"{call_of(before.position)} is not over{waits}")
    how = f"{call_of(before.position)} {outcome_in_words(before.call.outcome)}"
    return _after_end(of, before.call, before.position, how)


def _after_end(of: Job, call: CallExplanation, made: int, how: str) -> Verdict:
    if of.redial is None:
        return Verdict(False, Rule.RESULT_NOT_REDIALLED, f"{how}, and the job calls no number again")
    if _is_redialled(of.redial, call, made):
        could_not = "by then it was over or had other rules, or its next round was refused or cancelled"
        return Verdict(False, Rule.REDIAL_DROPPED, f"{how}, after which the job calls again, but {could_not}")
    if _is_redialled(msgspec.structs.replace(of.redial, times=made + 1), call, made):
        times = "once" if of.redial.times == 1 else f"{of.redial.times} times"
        return Verdict(False, Rule.REDIALS_USED_UP, f"{how}, but the job calls a number again {times} at most")
    return Verdict(False, Rule.RESULT_NOT_REDIALLED, f"{how}, after which the job does not call again")


def _is_redialled(rule: Redial, call: CallExplanation, redials_made: int) -> bool:
    assert call.outcome is not None
    assert call.ended_at is not None
    due_ms = rule.due_at(call.outcome, call.ended_at, redials_made=redials_made, minute_seconds=_ANY_MINUTE)
    return due_ms is not None
