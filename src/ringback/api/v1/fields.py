"""What bodies share: instants, periods of the day, numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from ringback.api.v1.paging import MAX_ID
from ringback.api.v1.problems import FieldError, Kind, Problem, invalid
from ringback.model.task import InvalidTask
from ringback.model.text_variables import is_variable
from ringback.model.windows import Window, parse_window

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
#: With its offset: an instant without one would be guessed at.
Instant = Annotated[datetime, msgspec.Meta(tz=True, description="ISO 8601 with an offset.")]
TimeOfDay = Annotated[str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$", examples=["09:00"])]

#: What the rules call a member, and what it is called here.
_NAMES = {
    "taskName": "name",
    "displayNum": "caller_id",
    "allowSendTime": "windows",
    "recallInterval": "nodes.interval_minutes",
    "recallNum": "nodes",
    "recallIntent": "nodes.audience.intents",
    "nodeList": "nodes",
}


class WindowIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A period of the day in the callee's own time zone: ``start`` included, ``end`` excluded."""

    start: TimeOfDay
    end: TimeOfDay


class NumberIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A number with country code, and the values of the variables that templates use: ``text1`` to ``text10`` and
    ``info.NAME``.
    """

    number: Annotated[str, msgspec.Meta(min_length=1, max_length=32, examples=["493012345600"])]
    variables: dict[str, str] = {}


def moment(at_ms: int) -> datetime:
    """An instant for an answer: UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def moment_or_none(at_ms: int | None) -> datetime | None:
    """The same of what may not have happened."""
    return None if at_ms is None else moment(at_ms)


def epoch_ms(at: datetime, field: str) -> int:
    """An instant of a request. Raises :class:`Problem` for one that no clock shows."""
    found = round(at.timestamp() * 1000)
    if not 0 <= found < 32_503_680_000_000:
        raise invalid(field, "must lie between 1970 and 2999")
    return found


def windows_of(asked: list[WindowIn], field: str, most: int) -> tuple[Window, ...]:
    """Windows of a request. Raises :class:`Problem`."""
    if len(asked) > most:
        raise invalid(field, f"has {len(asked)} periods, at most {most}")
    found = []
    for at, one in enumerate(asked):
        try:
            found.append(parse_window(one.start, one.end))
        except ValueError as error:
            raise invalid(f"{field}[{at}]", str(error)) from None
    return tuple(found)


def windows_shown(windows: tuple[Window, ...]) -> list[WindowIn]:
    """Windows of an answer."""
    return [WindowIn(_time_of_day(one.start), _time_of_day(one.end)) for one in windows]


def check_variables(numbers: list[NumberIn], field: str) -> None:
    """Raises :class:`Problem` for a name that is no variable's."""
    for at, number in enumerate(numbers):
        for name in number.variables:
            if not is_variable(name):
                raise invalid(f"{field}[{at}].variables", "names are text1 to text10 and info.NAME")


def refused(error: InvalidTask) -> Problem:
    """What a rule refused, under the names of this door."""
    field = _NAMES.get(error.field, error.field)
    text = str(error).removeprefix(f"{error.field}: ")
    return Problem(Kind.INVALID, f"{field}: {text}", errors=[FieldError(field, text)])


def _time_of_day(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
