"""What the operations that make tasks share: settings, numbers, storing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ringback.api.aside import build_aside
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import check_range, local_time
from ringback.api.itnio.money import check_funds
from ringback.model.numbers import parse_callee
from ringback.model.task import (
    DEFAULT_CALL_SECONDS,
    DEFAULT_RING_SECONDS,
    MAX_NAMED_PROBLEMS,
    MAX_NUMBERS,
    TEXT_NAMES,
    InvalidTask,
    Limits,
    NumberList,
    TaskSpec,
    build_numbers,
)
from ringback.model.text_variables import INFO, is_variable
from ringback.model.windows import MAX_WINDOWS, Window, parse_window
from ringback.store import accounts, candidates, tasks
from ringback.store.accounts import Application, NameTaken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ringback.api.itnio.door import Call
    from ringback.api.itnio.fields import NumberIn, TaskSettingsIn
    from ringback.api.itnio.voice_fields import VoiceTaskIn
    from ringback.store.database import Tx

MAX_CALL_SECONDS = 999


def caller_id(shown: str | int | None) -> str:
    """``displayNum``, which may be sent as a number."""
    return "" if shown is None else str(shown).strip()


def send_at(call: Call, asked: TaskSettingsIn | VoiceTaskIn) -> int | None:
    """When to start, epoch ms; ``None``: at once. Raises :class:`VendorError` (-22)."""
    return local_time(asked.sendTime, "sendTime", call.account.time_zone) if asked.sendTime else None


def limits_of(asked: TaskSettingsIn | VoiceTaskIn) -> Limits:
    """The limits of every call. Raises :class:`VendorError` (-22)."""
    ring = DEFAULT_RING_SECONDS if asked.maxRingingTime is None else asked.maxRingingTime
    longest = DEFAULT_CALL_SECONDS if asked.maxCalls is None else asked.maxCalls
    callout_rate = 1 if asked.calloutRate is None else asked.calloutRate
    return Limits(
        ring_seconds=check_range(ring, "maxRingingTime", 20, 120),
        call_seconds=check_range(longest, "maxCalls", 1, MAX_CALL_SECONDS),
        windows=windows_of(
            "allowSendTime",
            [(period.strTime, period.endTime) for period in asked.allowSendTime or ()],
            most=MAX_WINDOWS,
        ),
        record=check_range(asked.enableRecording or 0, "enableRecording", 0, 1) == 1,
        callout_rate=check_range(callout_rate, "calloutRate", 1, 100),
    )


def windows_of(field: str, periods: Sequence[tuple[str, str]], *, most: int) -> tuple[Window, ...]:
    """Periods of the day, each ``HH:MM`` twice. Raises :class:`VendorError` (-22)."""
    if len(periods) > most:
        raise bad(field, f"has {len(periods)} periods, at most {most}")
    windows = []
    for index, (start, end) in enumerate(periods):
        try:
            windows.append(parse_window(start, end))
        except ValueError as error:
            raise bad(f"{field}[{index}]", str(error)) from None
    return tuple(windows)


async def application_of(tx: Tx, call: Call, app_id: str) -> Application:
    """The application named. Raises :class:`VendorError` (-22)."""
    found = await accounts.application_of(tx, call.account.id, app_id)
    if found is None:
        raise bad("appId", f"there is no application {app_id!r}")
    return found


async def number_list(numbers: Sequence[NumberIn], needed: frozenset[str], *, field: str) -> NumberList:
    """The numbers, checked, each with the texts that it needs. Raises :class:`VendorError` (-22)."""
    check_count(numbers, field)
    _check_names(numbers, field)

    def build() -> NumberList:
        return build_numbers(_entries(numbers), field=field, needed_texts=needed)

    try:
        return await build_aside(build, len(numbers))
    except InvalidTask as error:
        raise VendorError(Code.PARAMETER, str(error)) from None


def check_count(numbers: Sequence[object], field: str) -> None:
    """Raises :class:`VendorError` (-22) when there are too many."""
    if len(numbers) > MAX_NUMBERS:
        raise bad(field, f"holds {len(numbers)} numbers, at most {MAX_NUMBERS}")


def checked(spec: TaskSpec) -> TaskSpec:
    """Itself. Raises :class:`VendorError` (-22)."""
    try:
        return spec.checked()
    except InvalidTask as error:
        raise VendorError(Code.PARAMETER, str(error)) from None


async def store_task(tx: Tx, call: Call, spec: TaskSpec, numbers: NumberList) -> int:
    """Store the task. Returns its id.

    Raises :class:`VendorError` (-10, -20, -22, -26), and then nothing may be committed.
    """
    await check_funds(tx, call)
    try:
        task_id = await tasks.create(tx, call.account.id, spec, numbers.calls, call.now_ms)
    except NameTaken as error:
        raise VendorError(Code.EXISTS, str(error)) from None
    await check_caller_id(tx, call, task_id)
    return task_id


async def check_caller_id(tx: Tx, call: Call, task_id: int) -> None:
    """A task whose caller id every trunk refuses would wait for ever. Raises :class:`VendorError` (-22)."""
    refused = await candidates.caller_id_refused(tx, task_id, engine=call.door.settings.telephony)
    if refused is not None:
        raise bad("displayNum", refused)


async def repeats_warning(numbers: Sequence[NumberIn], built: NumberList, *, field: str) -> str:
    """What to say about numbers that are there more than once; empty when none is."""
    repeats = len(built.duplicates)
    if not repeats:
        return ""
    places = await asyncio.to_thread(_first_repeats, numbers)
    named = ", ".join(f"{field}[{place}]" for place in places)
    also = f" and {repeats - len(places)} more" if repeats > len(places) else ""
    return f"{repeats} repeated numbers are dialled once: {named}{also}"


def _entries(numbers: Sequence[NumberIn]) -> Iterator[tuple[str, Mapping[str, str]]]:
    for number in numbers:
        texts = {name: value for name in TEXT_NAMES if (value := getattr(number, name)) is not None}
        if number.callInformation:
            texts |= {INFO + name: str(value) for name, value in number.callInformation.items() if value is not None}
        yield str(number.calleeNumber), texts


def _check_names(numbers: Sequence[NumberIn], field: str) -> None:
    """What a caller names must be a variable's name."""
    for at, number in enumerate(numbers):
        if number.callInformation is None:
            continue
        for name in number.callInformation:
            if not is_variable(INFO + name):
                raise bad(f"{field}[{at}].callInformation", "names have 1 to 64 letters, digits or _")


def _first_repeats(numbers: Sequence[NumberIn]) -> list[int]:
    """Where the first few repeated numbers stand."""
    seen = set()
    places = []
    for index, number in enumerate(numbers):
        callee = parse_callee(str(number.calleeNumber))
        if callee in seen:
            places.append(index)
            if len(places) == MAX_NAMED_PROBLEMS:
                break
        seen.add(callee)
    return places
