"""The recall flow's rules: what may be asked for, which nodes that makes, when a node is due, what its task is called.

Source: recall rules 1 to 7 of the design; the ranges are the vendor's (interval 1-1440 minutes, 1-10 rounds).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from ringback.model.audience import Audience, RecallType, audience_of

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_INTERVAL_MINUTES = 1
MAX_INTERVAL_MINUTES = 1440
MIN_ROUNDS = 1
MAX_ROUNDS = 10
MAX_TASK_NAME = 64
MAX_INTENT_LENGTH = 32
#: Each is a bound value of the statement that chooses who is recalled.
MAX_INTENTS = 100


class InvalidFlow(ValueError):
    """The flow asked for is not allowed. ``field`` names the member at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A recall flow as it is asked for.

    ``interval_minutes`` lies between the end of one task and the start of the next. ``template_ids`` is one template
    a round, shorter than ``rounds`` when the last one repeats, empty for the parent's template.
    """

    recall_type: RecallType
    interval_minutes: int
    rounds: int
    intents: tuple[str, ...] = ()
    template_ids: tuple[int, ...] = ()

    def checked(self) -> FlowSpec:
        """Itself, when everything is in range. Raises :class:`InvalidFlow`."""
        if not MIN_INTERVAL_MINUTES <= self.interval_minutes <= MAX_INTERVAL_MINUTES:
            raise InvalidFlow(
                "recallInterval",
                f"must be {MIN_INTERVAL_MINUTES} to {MAX_INTERVAL_MINUTES} minutes, got {self.interval_minutes}",
            )
        if not MIN_ROUNDS <= self.rounds <= MAX_ROUNDS:
            raise InvalidFlow("recallNum", f"must be {MIN_ROUNDS} to {MAX_ROUNDS}, got {self.rounds}")
        if len(self.template_ids) > self.rounds:
            raise InvalidFlow(
                "nodeList", f"has {len(self.template_ids)} nodes for {self.rounds} rounds, at most one each"
            )
        if len(self.intents) > MAX_INTENTS:
            raise InvalidFlow("recallIntent", f"has {len(self.intents)} intent codes, at most {MAX_INTENTS}")
        for intent in self.intents:
            if not 1 <= len(intent) <= MAX_INTENT_LENGTH:
                raise InvalidFlow("recallIntent", f"an intent code has 1 to {MAX_INTENT_LENGTH} characters")
        return self

    @property
    def audience(self) -> Audience:
        """Who is recalled in every round."""
        return audience_of(self.recall_type, self.intents)

    def node_templates(self, parent_template_id: int) -> tuple[int, ...]:
        """The template of every round, in order: exactly ``rounds`` of them."""
        if not self.template_ids:
            return (parent_template_id,) * self.rounds
        missing = self.rounds - len(self.template_ids)
        return self.template_ids + (self.template_ids[-1],) * missing


def due_at(previous_finished_ms: int, interval_minutes: int, minute_seconds: float) -> int:
    """When a node may start, epoch ms: never before the whole interval has passed.

    ``minute_seconds`` is the length of a recall minute (60, but for demos and tests).
    """
    return previous_finished_ms + math.ceil(interval_minutes * minute_seconds * 1000)


def recall_task_name(parent_name: str, position: int, taken: Callable[[str], bool]) -> str:
    """The name of the task of the node at ``position`` (from 1): ``<parent name>-recall-<n>``.

    Shortened to 64 characters by cutting the parent's part; made unique by a counter when ``taken`` says so.
    """
    suffix = f"-recall-{position}"
    name = parent_name[: MAX_TASK_NAME - len(suffix)] + suffix
    attempt = 2
    while taken(name):
        tail = f"{suffix}-{attempt}"
        name = parent_name[: MAX_TASK_NAME - len(tail)] + tail
        attempt += 1
    return name
