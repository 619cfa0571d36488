"""One round of a recall flow in full: its own wait, audience, template, calling windows and caller id.

The vendor's flow (:class:`~ringback.model.flow.FlowSpec`) is the narrow form of the same thing: one wait and one
audience for all rounds. A flow that the narrow form cannot express is shown through it by its first round's wait (a day
at most) and audience: recall type 1 when that round recalls failed calls and no answered ones but by intent, else 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.model.audience import Audience, RecallType
from ringback.model.flow import (
    MAX_INTENT_LENGTH,
    MAX_INTENTS,
    MAX_INTERVAL_MINUTES,
    MAX_ROUNDS,
    MIN_INTERVAL_MINUTES,
    FlowSpec,
    InvalidFlow,
)
from ringback.model.outcome import ANSWERED_OUTCOMES, FAILED_OUTCOMES
from ringback.model.windows import MAX_WINDOWS, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A month. The vendor's day is too short for reminders of bills.
LONGEST_INTERVAL_MINUTES = 30 * 24 * 60
MAX_TALK_SECONDS = 86_400.0


class RoundRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A round. ``interval_minutes`` lies between the end of the task before and the start of this one's.

    ``windows`` (empty: always) and ``caller_id`` replace those of the parent task; ``None``: as the parent's.
    """

    interval_minutes: int
    audience: Audience
    template_id: int
    windows: tuple[Window, ...] | None = None
    caller_id: str | None = None

    def checked(self, field: str) -> RoundRule:
        """Itself, when everything is in range. Raises :class:`~ringback.model.flow.InvalidFlow`."""
        if not MIN_INTERVAL_MINUTES <= self.interval_minutes <= LONGEST_INTERVAL_MINUTES:
            raise InvalidFlow(
                f"{field}.interval_minutes",
                f"must be {MIN_INTERVAL_MINUTES} to {LONGEST_INTERVAL_MINUTES}, got {self.interval_minutes}",
            )
        _check_audience(self.audience, f"{field}.audience")
        if self.windows is not None and len(self.windows) > MAX_WINDOWS:
            raise InvalidFlow(f"{field}.windows", f"has {len(self.windows)} periods, at most {MAX_WINDOWS}")
        return self


def _check_audience(audience: Audience, field: str) -> None:
    if not audience.outcomes and not audience.intents:
        raise InvalidFlow(field, "must name outcomes or intents, or nobody would be recalled")
    if len(audience.intents) > MAX_INTENTS:
        raise InvalidFlow(f"{field}.intents", f"has {len(audience.intents)} intent codes, at most {MAX_INTENTS}")
    if any(not 1 <= len(intent) <= MAX_INTENT_LENGTH for intent in audience.intents):
        raise InvalidFlow(f"{field}.intents", f"an intent code has 1 to {MAX_INTENT_LENGTH} characters")
    bounds = (audience.talk_at_least_seconds, audience.talk_under_seconds)
    for name, bound in zip(("talk_at_least_seconds", "talk_under_seconds"), bounds, strict=True):
        if bound is not None and not 0 <= bound <= MAX_TALK_SECONDS:
            raise InvalidFlow(f"{field}.{name}", f"must be 0 to {MAX_TALK_SECONDS:g}, got {bound:g}")
    if bounds[0] is not None and bounds[1] is not None and bounds[0] >= bounds[1]:
        raise InvalidFlow(f"{field}.talk_under_seconds", "must be more than talk_at_least_seconds")


def check_rules(rules: Sequence[RoundRule], field: str = "nodes") -> None:
    """Raises :class:`~ringback.model.flow.InvalidFlow` when they cannot be the rounds of a flow."""
    if not 1 <= len(rules) <= MAX_ROUNDS:
        raise InvalidFlow(field, f"must hold 1 to {MAX_ROUNDS} rounds, holds {len(rules)}")
    for at, rule in enumerate(rules):
        rule.checked(f"{field}[{at}]")


def rules_of(spec: FlowSpec, parent_template_id: int) -> tuple[RoundRule, ...]:
    """The rounds of a flow in the narrow form."""
    return tuple(
        RoundRule(interval_minutes=spec.interval_minutes, audience=spec.audience, template_id=template_id)
        for template_id in spec.node_templates(parent_template_id)
    )


def narrow(rules: Sequence[RoundRule]) -> FlowSpec:
    """The narrow form, as near as it can be: see the module. Its ``template_ids`` are one a round."""
    first = rules[0]
    answered = first.audience.outcomes & ANSWERED_OUTCOMES
    failed = first.audience.outcomes & FAILED_OUTCOMES
    kind = RecallType.FAILED if failed and not answered else RecallType.ALL
    return FlowSpec(
        recall_type=kind,
        interval_minutes=min(first.interval_minutes, MAX_INTERVAL_MINUTES),
        rounds=len(rules),
        # With answered calls among them anyway, type 0 with intents would say that only those are recalled.
        intents=() if answered else tuple(sorted(first.audience.intents)),
        template_ids=tuple(rule.template_id for rule in rules),
    )


def is_narrow(rule: RoundRule, spec: FlowSpec) -> bool:
    """Whether a round is what the narrow form says of it."""
    said = (spec.interval_minutes, spec.audience, None, None)
    return (rule.interval_minutes, rule.audience, rule.windows, rule.caller_id) == said


def narrowed(rule: RoundRule, spec: FlowSpec, template_id: int) -> RoundRule:
    """A round after an edit in the narrow form: what that form cannot see stays as it was."""
    return msgspec.structs.replace(
        rule, interval_minutes=spec.interval_minutes, audience=spec.audience, template_id=template_id
    )
