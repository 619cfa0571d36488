"""Jobs of the older family: a list of numbers that grows, called again by number.

Each round of a job is a task of its own, so that no number is dialled twice within one task.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ringback.model.calendar import Calendar
from ringback.model.redial import Redial
from ringback.model.states import StateMachine


class JobState(StrEnum):
    """Where a job is."""

    NOT_STARTED = "not_started"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"  # no number is queued, in the air, or to be called again


class JobEvent(StrEnum):
    """What happens to a job."""

    STARTED = "started"
    PAUSED = "paused"
    COMPLETED = "completed"


JOB: StateMachine[JobState, JobEvent] = StateMachine(
    "job",
    JobState.NOT_STARTED,
    {
        (JobState.NOT_STARTED, JobEvent.STARTED): JobState.RUNNING,
        (JobState.PAUSED, JobEvent.STARTED): JobState.RUNNING,
        (JobState.RUNNING, JobEvent.PAUSED): JobState.PAUSED,
        (JobState.RUNNING, JobEvent.COMPLETED): JobState.COMPLETED,
    },
)


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is asked for. ``lines``: calls at once. ``redial`` ``None``: no number is called again."""

    name: str
    template_id: int
    application_id: int
    lines: int
    calendar: Calendar
    redial: Redial | None = None
    automatic: bool = False
    trunk_id: int | None = None
