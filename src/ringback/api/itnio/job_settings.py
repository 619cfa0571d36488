"""A job as it is asked for, checked: its calendar and its redial."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import check_range, local_time
from ringback.api.itnio.task_settings import windows_of
from ringback.model.calendar import Calendar, Dates
from ringback.model.job import JobSpec
from ringback.model.redial import Redial
from ringback.model.result_status import ResultStatus
from ringback.model.task import InvalidTask, check_name
from ringback.model.windows import Window, parse_window
from ringback.store import accounts, templates, trunks

if TYPE_CHECKING:
    from ringback.api.itnio.door import Call
    from ringback.api.itnio.job_fields import DatePeriodIn, JobSettingsIn
    from ringback.store.database import Tx

MODES = ("MANUAL", "AUTO")
#: The vendor's: no job calls earlier or later in the callee's day.
EARLIEST, LATEST = 9 * 60, 20 * 60
MAX_ROBOTS = 10_000
MAX_PERIODS = 3
MAX_REDIALS = 10
MAX_REDIAL_MINUTES = 1_440
#: The family's own code for an application that is not there.
NO_APPLICATION = -37


async def application_id_of(tx: Tx, call: Call, app_id: str) -> int:
    """The application named. Raises :class:`VendorError` (-37)."""
    found = await accounts.application_of(tx, call.account.id, app_id)
    if found is None:
        raise VendorError(NO_APPLICATION, f"appId: there is no application {app_id!r}")
    return found.id


async def job_asked(tx: Tx, call: Call, asked: JobSettingsIn) -> JobSpec:
    """The job asked for. Raises :class:`VendorError` (-22, -37)."""
    application_id = await application_id_of(tx, call, asked.appId)
    if await templates.usable(tx, call.account.id, asked.dialogFlowId) is None:
        raise bad("dialogFlowId", f"there is no agent template {asked.dialogFlowId}")
    if asked.jobPhoneNumberId is not None:
        usable = await trunks.usable_by(tx, call.account.id)
        if asked.jobPhoneNumberId not in usable:
            raise bad("jobPhoneNumberId", f"there is no channel {asked.jobPhoneNumberId}")
    mode = MODES[0] if asked.mode is None else asked.mode
    if mode not in MODES:
        raise bad("mode", f"must be {' or '.join(MODES)}, got {mode[:20]!r}")
    name = asked.name.strip()
    try:
        check_name(name, field="name")
    except InvalidTask as error:
        raise VendorError(Code.PARAMETER, str(error)) from None
    return JobSpec(
        name=name,
        template_id=asked.dialogFlowId,
        application_id=application_id,
        lines=check_range(asked.robotCount, "robotCount", 1, MAX_ROBOTS),
        calendar=_calendar(call, asked),
        redial=_redial(asked),
        automatic=mode == MODES[1],
        trunk_id=asked.jobPhoneNumberId,
    )


def _calendar(call: Call, asked: JobSettingsIn) -> Calendar:
    zone = call.account.time_zone
    days = frozenset(check_range(day, f"daysOfWeek[{at}]", 1, 7) for at, day in enumerate(asked.daysOfWeek or ()))
    start = local_time(asked.startDateTime, "startDateTime", zone) if asked.startDateTime else None
    end = local_time(asked.endDateTime, "endDateTime", zone) if asked.endDateTime else None
    if start is not None and end is not None and end <= start:
        raise bad("endDateTime", "is not after startDateTime")
    return Calendar(
        windows=(_daily(asked),),
        pauses=windows_of(
            "inactiveTimeList",
            [(period.startTime, period.endTime) for period in asked.inactiveTimeList or ()],
            most=MAX_PERIODS,
        ),
        days=days,
        closed=_closed(asked.inactiveDateList or []),
        from_ms=start,
        until_ms=end,
    )


def _daily(asked: JobSettingsIn) -> Window:
    """The time of day in which the job calls; never outside the vendor's hours."""
    try:
        window = parse_window(asked.dailyStartDateTime or "09:00", asked.dailyEndDateTime or "20:00")
    except ValueError as error:
        raise bad("dailyStartDateTime", str(error)) from None
    if window.start < EARLIEST:
        raise bad("dailyStartDateTime", "must not be before 09:00")
    if window.end > LATEST or window.end <= window.start:
        raise bad("dailyEndDateTime", "must be after the start and not after 20:00")
    return window


def _closed(periods: list[DatePeriodIn]) -> tuple[Dates, ...]:
    if len(periods) > MAX_PERIODS:
        raise bad("inactiveDateList", f"has {len(periods)} periods, at most {MAX_PERIODS}")
    closed = []
    for at, period in enumerate(periods):
        try:
            closed.append(Dates(date.fromisoformat(period.startDate), date.fromisoformat(period.endDate)))
        except ValueError as error:
            raise bad(f"inactiveDateList[{at}]", f"must be two dates such as 2026-01-31: {error}") from None
    return tuple(closed)


def _redial(asked: JobSettingsIn) -> Redial | None:
    if not asked.redial:
        return None
    conditions = set()
    for at, text in enumerate(asked.redialCondition or ()):
        try:
            conditions.add(ResultStatus(text))
        except ValueError:
            raise bad(f"redialCondition[{at}]", f"must be one of {', '.join(ResultStatus)}") from None
    if not conditions:
        raise bad("redialCondition", "must hold at least one result status")
    if asked.redialTimes is None:
        raise bad("redialTimes", "is missing")
    if asked.redialInterval is None:
        raise bad("redialInterval", "is missing")
    return Redial(
        conditions=frozenset(conditions),
        interval_minutes=check_range(asked.redialInterval, "redialInterval", 1, MAX_REDIAL_MINUTES),
        times=check_range(asked.redialTimes, "redialTimes", 1, MAX_REDIALS),
    )
