"""Why a number was or was not dialled, round by round: the rule that decided, and a sentence for people.

Nothing is decided here a second time. Whether a call is recalled is asked of the round's
:class:`~ringback.model.audience.Audience`, as the start of the round asks it; this finds which part of it answered.
How a job calls numbers again: :mod:`.redial_explanation`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ringback.model.audience import Audience
from ringback.model.instants import instant
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES, Outcome
from ringback.model.states import CallState, FlowState, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A sentence names so many intents, outcomes or time zones at most.
_MOST_NAMED = 5
_EVERY_OUTCOME = frozenset(Outcome)


class Rule(StrEnum):
    """What decided whether a round dials a number. The values are shown as they are."""

    PARENT_LIST = "parent_list"  # round 0: the task's list has it
    NOT_IN_LIST = "not_in_list"  # round 0: it joined a later round only
    # It is dialled, because its call of the round before …
    ALL = "all"  # … ended, and the round recalls all
    FAILED = "failed"  # … failed, and the round recalls the failed
    INTENT = "intent"  # … was answered with an intent that the round recalls
    FAILED_OR_INTENT = "failed_or_intent"  # … is one or the other, and the round recalls both
    OUTCOME_LISTED = "outcome_listed"  # … had an outcome that the round names
    JOINED = "joined"  # no: it was added to this very round
    # It is not dialled, because its call of the round before …
    NOT_FAILED = "not_failed"
    NOT_ANSWERED = "not_answered"  # … and the round recalls answered calls by their intent
    INTENT_NOT_LISTED = "intent_not_listed"
    OUTCOME_NOT_LISTED = "outcome_not_listed"
    TALK_TIME = "talk_time"  # … would be recalled, had it not been too short or too long
    WAS_SKIPPED = "was_skipped"
    WAS_CANCELLED = "was_cancelled"
    NOT_IN_PREVIOUS_ROUND = "not_in_previous_round"  # … does not exist
    # It is not dialled, because the round …
    NOBODY_QUALIFIED = "nobody_qualified"  # … comes after one that had nobody to recall
    NODE_CANCELLED = "node_cancelled"
    NODE_FAILED = "node_failed"  # … could not start
    ROUND_NOT_STARTED = "round_not_started"  # … may still dial it: nothing is decided
    # Jobs.
    REDIALLED = "redialled"
    REDIAL_WAITS = "redial_waits"
    RESULT_NOT_REDIALLED = "result_not_redialled"
    REDIALS_USED_UP = "redials_used_up"
    REDIAL_DROPPED = "redial_dropped"


class CallExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """The number's call in a round. Instants are epoch ms, ``ring_ms`` and ``talk_ms`` durations.

    ``started_at``: when ``worker_id`` leased it, ``None`` when a restored database was told of it. ``not_dialled``: why
    it has not been, or never will be, dialled; empty when it was. ``not_before``: as far as is known, it is not dialled
    earlier. ``reason``: what is stored with it.
    """

    id: int
    state: CallState
    outcome: Outcome | None = None
    started_at: int | None = None
    answered_at: int | None = None
    ended_at: int | None = None
    worker_id: int | None = None
    worker: str | None = None
    trunk: str | None = None
    ring_ms: int | None = None
    talk_ms: int | None = None
    sip_code: int | None = None
    q850_cause: int | None = None
    hung_up_by: str | None = None
    keys: str | None = None
    intent: str | None = None
    reason: str | None = None
    not_dialled: str = ""
    not_before: int | None = None


class RoundExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a round does with the number. Round 0 is the task itself, or the first round of a job.

    ``qualified`` ``None``: not decided yet. ``why``: ``rule`` as a sentence. ``node_id``: the node's key, ``None`` for
    round 0 and in jobs. ``task_id`` ``None``: it has not started. ``not_before``: when a round that has not started is
    due, epoch ms, if that is known.
    """

    position: int
    qualified: bool | None
    rule: Rule
    why: str
    node_id: int | None = None
    node_state: FlowState | None = None
    task_id: int | None = None
    task_state: TaskState | None = None
    not_before: int | None = None
    call: CallExplanation | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A number's way through a task and all that follows it. ``task_id`` is the first task: a flow's parent."""

    callee: str
    task_id: int
    flow_id: int | None
    job_id: int | None
    rounds: list[RoundExplanation]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a node. ``chose``: its audience has been applied. ``reason``: why it ended, or why it waits."""

    id: int
    position: int
    state: FlowState
    audience: Audience
    task_id: int | None
    task_state: TaskState | None
    due_at: int | None
    chose: bool
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """Whether a round dials a number, by which rule, and that in words."""

    qualified: bool | None
    rule: Rule
    why: str


def first_round(task_id: int, task_state: TaskState, call: CallExplanation | None) -> RoundExplanation:
    """The task itself. ``call``: the number's, ``None`` when its list does not have it."""
    return RoundExplanation(
        position=0,
        qualified=call is not None,
        rule=Rule.NOT_IN_LIST if call is None else Rule.PARENT_LIST,
        why="the list of the task does not have it" if call is None else "it is in the list of the task",
        task_id=task_id,
        task_state=task_state,
        call=call,
    )


def flow_round(of: Node, before: RoundExplanation, call: CallExplanation | None) -> RoundExplanation:
    """A round of a flow, given what was found of the round before it; ``call``: the number's in this round."""
    found = _verdict(of, before, call)
    return RoundExplanation(
        position=of.position,
        qualified=found.qualified,
        rule=found.rule,
        why=found.why,
        node_id=of.id,
        node_state=of.state,
        task_id=of.task_id,
        task_state=of.task_state,
        not_before=of.due_at if of.state is FlowState.PENDING and found.qualified is None else None,
        call=call,
    )


def _verdict(of: Node, before: RoundExplanation, call: CallExplanation | None) -> Verdict:
    if of.state is FlowState.PENDING:
        return out_of(before) or Verdict(None, Rule.ROUND_NOT_STARTED, _not_started(of, before))
    if of.task_id is None and not of.chose:
        return _never_chose(of)
    found = out_of(before) or recalled(of.audience, before)
    if call is not None and not found.qualified:
        return Verdict(
            True, Rule.JOINED, f"it was added to this round by hand; by the rule it would not be in it: {found.why}"
        )
    assert found.qualified == (call is not None), "the audience in SQL is not that of the model"
    return found


def out_of(before: RoundExplanation) -> Verdict | None:
    """Why no later round can dial the number, whatever it asks for; ``None`` when one may."""
    call, its = before.call, call_of(before.position)
    if call is None:
        if before.qualified is None:
            return None
        return Verdict(
            False,
            Rule.NOT_IN_PREVIOUS_ROUND,
            f"{_round(before.position)} does not have it, and only numbers of the round before are called again",
        )
    if call.state is CallState.SKIPPED:
        return Verdict(
            False, Rule.WAS_SKIPPED, f"{its} was skipped ({call.reason}), and skipped numbers are not called again"
        )
    if call.state is CallState.CANCELLED:
        return Verdict(False, Rule.WAS_CANCELLED, f"{its} was cancelled, and cancelled numbers are not called again")
    return None


def recalled(audience: Audience, before: RoundExplanation) -> Verdict:
    """Whether an audience includes the ended call of the round before, and what of it decided."""
    call = before.call
    assert call is not None, "a number without a call is in no audience"
    assert call.outcome is not None, "a round starts when the calls of the one before have ended"
    qualified = audience.includes(call.outcome, call.intent, call.talk_ms or 0)
    rule = _rule_for(audience, call.outcome) if qualified else _rule_against(audience, call, call.outcome)
    joined = "and" if qualified else "but"
    told = f"{_how_it_ended(before, audience)}, {joined} this round recalls {audience_in_words(audience)}"
    return Verdict(qualified, rule, told)


def _rule_for(audience: Audience, outcome: Outcome) -> Rule:
    if audience.outcomes == _EVERY_OUTCOME:
        return Rule.ALL
    if audience.outcomes == FAILED_OUTCOMES:
        return Rule.FAILED_OR_INTENT if audience.intents else Rule.FAILED
    return Rule.OUTCOME_LISTED if outcome in audience.outcomes else Rule.INTENT


def _rule_against(audience: Audience, call: CallExplanation, outcome: Outcome) -> Rule:
    of_any_length = msgspec.structs.replace(audience, talk_at_least_seconds=None, talk_under_seconds=None)
    if of_any_length.includes(outcome, call.intent):
        return Rule.TALK_TIME
    if outcome in ANSWERED_OUTCOMES:
        if audience.intents:
            return Rule.INTENT_NOT_LISTED
        return Rule.NOT_FAILED if audience.outcomes == FAILED_OUTCOMES else Rule.OUTCOME_NOT_LISTED
    return Rule.OUTCOME_NOT_LISTED if audience.outcomes else Rule.NOT_ANSWERED


def _never_chose(of: Node) -> Verdict:
    """The node ended before it asked whom to recall."""
    because = f": {of.reason}" if of.reason else ""
    if of.state is FlowState.CANCELLED:
        return Verdict(False, Rule.NODE_CANCELLED, f"this round was cancelled before it started{because}")
    if of.state is FlowState.EXCEPTION:
        return Verdict(False, Rule.NODE_FAILED, f"this round could not start{because}")
    return Verdict(False, Rule.NOBODY_QUALIFIED, "an earlier round had nobody left to recall, so this one did not run")


def _not_started(of: Node, before: RoundExplanation) -> str:
    call = before.call
    if call is None:
        return f"this round has not started, and neither has {_round(before.position)}"
    if call.outcome is None:
        return f"this round has not started: {call_of(before.position)} is not over"
    when = f"is due at {instant(of.due_at)}" if of.due_at is not None else "starts after all calls of the one before"
    waits = f" ({of.reason})" if of.reason else ""
    found = recalled(of.audience, before)
    return f"this round {when}{waits}; as it stands, it {'dials' if found.qualified else 'leaves out'} it: {found.why}"


def call_of(position: int) -> str:
    """The call of a round, in words."""
    return f"the call of round {position}" if position else "the first call"


def _round(position: int) -> str:
    return f"round {position}" if position else "the list of the task"


def _how_it_ended(before: RoundExplanation, audience: Audience) -> str:
    call = before.call
    assert call is not None
    assert call.outcome is not None
    text = f"{call_of(before.position)} {outcome_in_words(call.outcome)}"
    if call.outcome in FAILED_OUTCOMES:
        return f"{text}, which counts as failed"
    if audience.intents:
        text += f" with intent {call.intent}" if call.intent else " without an intent"
    if audience.talk_bounds_ms != (None, None):
        text += f" and lasted {(call.talk_ms or 0) / 1000:g} s"
    return text if audience.intents or audience.outcomes != FAILED_OUTCOMES else f"{text}, which is not failed"


def outcome_in_words(outcome: Outcome) -> str:
    """What became of a call, as the end of a sentence about it."""
    if outcome is Outcome.ANSWERED:
        return "was answered"
    return "was answered by a machine" if outcome is Outcome.VOICEMAIL else f"ended {outcome.replace('_', ' ')}"


def audience_in_words(audience: Audience) -> str:
    """Whom a round recalls."""
    parts: list[str] = []
    if audience.outcomes == _EVERY_OUTCOME:
        parts.append("every call that ended")
    elif audience.outcomes == FAILED_OUTCOMES:
        parts.append("the failed")
    elif audience.outcomes:
        parts.append(f"calls that ended {listed(one.replace('_', ' ') for one in audience.outcomes)}")
    if audience.intents:
        parts.append(f"answered calls with intent {listed(audience.intents)}")
    at_least, under = audience.talk_at_least_seconds, audience.talk_under_seconds
    bounds = [f"at least {at_least:g} s"] if at_least is not None else []
    bounds += [f"less than {under:g} s"] if under is not None else []
    lasted = f", of answered ones those that lasted {' and '.join(bounds)}" if bounds else ""
    return " and ".join(parts) + lasted


def listed(names: Iterable[str], *, last: str = "or") -> str:
    """Names in order, ``a, b or c``; the first few when there are many."""
    every = sorted(names)
    if len(every) > _MOST_NAMED:
        return f"{', '.join(every[:_MOST_NAMED])} {last} {len(every) - _MOST_NAMED} more"
    return f" {last} ".join(filter(None, (", ".join(every[:-1]), *every[-1:])))
