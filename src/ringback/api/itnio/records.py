"""``recordGroup`` and ``recordGroupQuery``: what came of calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from ringback.api.itnio.answers import Page, page_of
from ringback.api.itnio.door import Call, Success, get_route, post_route
from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import paging, path_id
from ringback.model.billing import money_text
from ringback.model.numbers import country
from ringback.model.task import TaskKind
from ringback.store import call_records

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.call_records import ReportedCall

LONGEST_PERIOD = timedelta(days=31)
OLDEST = timedelta(days=62)
DEFAULT_SIZE = 25
#: The calls of jobs have records of their own.
KINDS = frozenset(TaskKind) - {TaskKind.JOB}


class PeriodIn(msgspec.Struct, frozen=True):
    """``params`` of ``recordGroupQuery``: ISO 8601 with an offset."""

    strTime: str
    endTime: str


class RecordQueryIn(msgspec.Struct, frozen=True):
    """``recordGroupQuery``."""

    params: PeriodIn
    current: int = 1
    size: int = DEFAULT_SIZE


class RecordOut(msgspec.Struct, frozen=True, kw_only=True):
    """A call that ended. Times are ISO 8601 with an offset, durations seconds, amounts text."""

    voiceId: str
    callee: str
    displayNum: str
    code: str
    submitTime: str
    callTime: str | None
    ringingTime: str | None
    answerTime: str | None
    hangupTime: str
    callDuration: int
    chargedDuration: int
    terminationCode: str
    terminationReason: str
    sipCode: str
    cost: str
    billPeriod: str
    rate: str
    baseCost: str
    voiceFileId: str | None
    feedbackValue: str
    calledInfo: str
    settleRate: str
    quoteExchange: str
    settlePay: str
    currency: str


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return [
        *get_route(door, "/recordGroup", one, answers=RecordOut),
        *post_route(door, "/recordGroupQuery", RecordQueryIn, query, answers=Page[RecordOut]),
    ]


async def one(call: Call, key: str) -> Success:
    """The record of one call, by its ``voiceId``."""
    call_id = path_id(key, "voiceId", "the id of a call")
    async with call.door.store.read() as tx:
        found = await call_records.of_account(tx, call.account.id, call_id)
    if found is None:
        raise bad("voiceId", f"there is no record {key}")
    return Success(record(found, call.account.time_zone))


async def query(call: Call, wanted: RecordQueryIn) -> Success:
    """The account's calls that ended in a period, newest first."""
    limit, offset = paging(wanted.current, wanted.size)
    start = _instant(wanted.params.strTime, "params.strTime")
    end = _instant(wanted.params.endTime, "params.endTime")
    if end < start:
        raise bad("params.endTime", "is before params.strTime")
    if end - start > LONGEST_PERIOD:
        raise bad("params.endTime", f"is more than {LONGEST_PERIOD.days} days after params.strTime")
    now = datetime.fromtimestamp(call.now_ms / 1000, UTC)
    if start < now - OLDEST:
        raise bad("params.strTime", f"is more than two months ({OLDEST.days} days) ago")
    async with call.door.store.read() as tx:
        total, found = await call_records.page(
            tx,
            call.account.id,
            ended_from=round(start.timestamp() * 1000),
            ended_to=round(end.timestamp() * 1000) + 999,
            kinds=KINDS,
            limit=limit,
            offset=offset,
        )
    records = [record(each, call.account.time_zone) for each in found]
    return Success(page_of(total, wanted.current, wanted.size, records))


def record(of: ReportedCall, time_zone: str) -> RecordOut:
    """The record of a call, its times in that zone."""
    zone = ZoneInfo(time_zone)

    def text(at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(zone).isoformat()

    rate = "0" if of.line is None else money_text(of.line.rate_micros)
    cost = "0" if of.line is None else money_text(of.line.cost_micros(of.talk_ms))
    return RecordOut(
        voiceId=str(of.id),
        callee=of.callee,
        displayNum=of.caller_id,
        code=country(of.callee) or "",
        submitTime=text(of.submitted_at),
        callTime=None if of.started_at is None else text(of.started_at),
        ringingTime=None if of.ringing_at is None else text(of.ringing_at),
        answerTime=None if of.answered_at is None else text(of.answered_at),
        hangupTime=text(of.ended_at),
        callDuration=(of.talk_ms or 0) // 1000,
        chargedDuration=0 if of.line is None else of.line.charged_seconds(of.talk_ms),
        terminationCode=termination_code(of),
        terminationReason="success" if of.answered else of.reason or str(of.outcome),
        sipCode="" if of.sip_code is None else str(of.sip_code),
        cost=cost,
        billPeriod="" if of.line is None else of.line.period,
        rate=rate,
        baseCost=cost,
        voiceFileId=of.file_played,
        feedbackValue=of.keys[:1] or "-1",
        calledInfo=of.called_info,
        settleRate=rate,
        quoteExchange="1",
        settlePay=cost,
        currency=of.currency,
    )


def termination_code(of: ReportedCall) -> str:
    """The SIP code, 200 for a call that was answered (the newer of the two published forms); "-1" when none came."""
    if of.answered:
        return "200"
    return "-1" if of.sip_code is None else str(of.sip_code)


def _instant(text: str, field: str) -> datetime:
    wrong = bad(field, "must be a time with an offset like 2026-01-31T09:00:00+08:00")
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise wrong from None
    if moment.tzinfo is None or not 1970 <= moment.year <= 2999:
        raise wrong
    return moment
