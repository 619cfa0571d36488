"""A task as it is asked for: one template, one list of numbers, one set of limits; and what a valid one looks like."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ringback.model.calendar import Calendar
from ringback.model.numbers import InvalidNumber, parse_callee, zone_key
from ringback.model.text_variables import cut
from ringback.model.windows import MAX_WINDOWS, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_NUMBERS = 200_000
MIN_NAME = 2
MAX_NAME = 64
MAX_CALLER_ID_DIGITS = 20
TEXT_NAMES = tuple(f"text{number}" for number in range(1, 11))
#: Problems with numbers are counted in full but only so many are named in an error.
MAX_NAMED_PROBLEMS = 10

DEFAULT_RING_SECONDS = 60
DEFAULT_CALL_SECONDS = 300


class TaskKind(StrEnum):
    """Which operation made a task; its recall rounds are of the same kind."""

    AGENT = "agent"  # a group call with an agent template
    VOICE = "voice"  # a group call that plays a file or a text
    CODE = "code"  # one spoken text, such as a verification code
    GROUP = "group"  # one file to a few numbers
    PHONE = "phone"  # a phone of ours is called first, and then connected with the number
    JOB = "job"  # a job of the older family, with redial by number


class InvalidTask(ValueError):
    """The task asked for is not allowed. ``field`` names the member at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every call of a task; a recall task inherits it.

    ``ring_seconds``: how long it may ring. ``call_seconds``: after that the call is hung up. ``lines``: calls at the
    same time, ``None`` for as many as the trunk has. ``windows``: when callees may be called, empty for always.
    ``calendar``: further rules of when, of a job.
    """

    ring_seconds: int = DEFAULT_RING_SECONDS
    call_seconds: int = DEFAULT_CALL_SECONDS
    lines: int | None = None
    windows: tuple[Window, ...] = ()
    record: bool = False
    callout_rate: int = 1
    calendar: Calendar | None = None


class NewCall(msgspec.Struct, frozen=True, gc=False):
    """One number of a new task. ``texts`` is a JSON object of its text variables, or ``None``."""

    callee: str
    zone: str
    texts: str | None


class NumberList(msgspec.Struct, frozen=True):
    """Numbers ready to be stored, in the order given, each once; ``duplicates`` holds the repeated ones left out."""

    calls: list[NewCall]
    duplicates: list[str]


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A group call as it is asked for, numbers apart. ``send_at`` is epoch ms, ``None`` for at once.

    ``called_info`` is told again with every result. ``report_last``: of a number that is recalled, only the last result
    is reported. ``takes_more``: it does not finish while it has no number left, for more may come.
    """

    name: str
    template_id: int
    application_id: int
    caller_id: str = ""
    send_at: int | None = None
    limits: Limits = Limits()
    kind: TaskKind = TaskKind.AGENT
    called_info: str = ""
    report_last: bool = False
    takes_more: bool = False

    def checked(self) -> TaskSpec:
        """Itself, when everything is in range. Raises :class:`InvalidTask`."""
        check_name(self.name, field="taskName")
        if self.caller_id and not (
            self.caller_id.isascii() and self.caller_id.isdecimal() and len(self.caller_id) <= MAX_CALLER_ID_DIGITS
        ):
            raise InvalidTask("displayNum", f"must be 0 to {MAX_CALLER_ID_DIGITS} digits")
        if len(self.limits.windows) > MAX_WINDOWS:
            raise InvalidTask("allowSendTime", f"has {len(self.limits.windows)} periods, at most {MAX_WINDOWS}")
        return self


def check_name(name: str, *, field: str) -> None:
    """What a task or a job may be called. Raises :class:`InvalidTask`."""
    if not MIN_NAME <= len(name) <= MAX_NAME:
        raise InvalidTask(field, f"must have {MIN_NAME} to {MAX_NAME} characters, has {len(name)}")
    # Blanks other than the plain one are welcome: Chinese names hold the wide one.
    if any(not one.isprintable() and unicodedata.category(one) != "Zs" for one in name):
        raise InvalidTask(field, "must not hold control characters")


class NumberProblems:
    """Collects what is wrong with a list of numbers: counts all, names the first few."""

    def __init__(self) -> None:
        self.count = 0
        self._named: list[str] = []

    def add(self, where: str, message: str) -> None:
        """One more problem at ``where``."""
        self.count += 1
        if len(self._named) < MAX_NAMED_PROBLEMS:
            self._named.append(f"{where} {message}")

    def __str__(self) -> str:
        more = self.count - len(self._named)
        return "; ".join(self._named) + (f"; and {more} more" if more else "")


class InvalidText(ValueError):
    """The value of the text variable ``name`` cannot be stored; the text says why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


_encode = msgspec.json.Encoder().encode


def stored_texts(texts: Mapping[str, str]) -> str | None:
    """A number's text variables as they are stored: a JSON object, values cut to what counts; ``None`` for none.

    Raises :class:`InvalidText`.
    """
    if not texts:
        return None
    kept = {name: cut(name, value) for name, value in texts.items()}
    try:
        return _encode(kept).decode()
    except UnicodeEncodeError as error:
        name = next(name for name, value in kept.items() if error.object in value)
        raise InvalidText(name, "is not Unicode text") from None


def build_numbers(
    entries: Iterable[tuple[str, Mapping[str, str]]],
    *,
    field: str,
    member: str = "calleeNumber",
    needed_texts: frozenset[str],
) -> NumberList:
    """Check every number and its text variables; drop repeats.

    ``entries`` are (number, texts) pairs; ``field`` is what the caller names the list and ``member`` the number in each
    entry; ``needed_texts`` are the variables that the template uses. Raises :class:`InvalidTask` that names the entries
    at fault (the first few).
    """
    calls: list[NewCall] = []
    duplicates: list[str] = []
    seen: set[str] = set()
    problems = NumberProblems()
    for index, (text, texts) in enumerate(entries):
        try:
            callee = parse_callee(text)
        except InvalidNumber as error:
            problems.add(f"{field}[{index}].{member}", str(error))
            continue
        missing = needed_texts - texts.keys() if needed_texts else None
        if missing:
            problems.add(f"{field}[{index}].{min(missing)}", "is missing, and the template uses it")
            continue
        if callee in seen:
            duplicates.append(callee)
            continue
        try:
            stored = stored_texts(texts)
        except InvalidText as error:
            problems.add(f"{field}[{index}].{error.name}", str(error))
            continue
        seen.add(callee)
        calls.append(NewCall(callee, zone_key(callee), stored))
    if problems.count:
        raise InvalidTask(field, f"{problems.count} of the numbers cannot be used: {problems}")
    if not calls:
        raise InvalidTask(field, "must hold at least one number")
    return NumberList(calls, duplicates)
