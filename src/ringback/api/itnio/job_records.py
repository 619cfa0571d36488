"""``aivoice/recordQuery``: what came of the calls of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.api.itnio.answers import Page, page_of
from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import bad
from ringback.api.itnio.families import JOBS
from ringback.api.itnio.fields import local_text, local_time, paging
from ringback.api.itnio.job_fields import JobRecordOut, JobRecordQueryIn
from ringback.api.itnio.job_settings import application_id_of
from ringback.model.result_status import status_of
from ringback.model.text_variables import INFO
from ringback.store import lookups_of_jobs

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.lookups_of_jobs import JobCall

LONGEST_MS = 31 * 86_400_000


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    return post_route(door, "/recordQuery", JobRecordQueryIn, query, answers=Page[JobRecordOut], family=JOBS)


async def query(call: Call, wanted: JobRecordQueryIn) -> Success:
    """The calls of the account's jobs that ended in a period, newest first."""
    limit, offset = paging(wanted.current, wanted.size)
    zone = call.account.time_zone
    start = local_time(wanted.params.startTime, "params.startTime", zone)
    end = local_time(wanted.params.endTime, "params.endTime", zone)
    if end < start:
        raise bad("params.endTime", "is before params.startTime")
    if end - start > LONGEST_MS:
        raise bad("params.endTime", "is more than 31 days after params.startTime")
    async with call.door.store.read() as tx:
        application_id = await application_id_of(tx, call, wanted.params.appId)
        total, found = await lookups_of_jobs.calls(
            tx,
            call.account.id,
            application_id=application_id,
            job_id=wanted.params.jobId,
            ended_from=start,
            ended_to=end + 999,
            limit=limit,
            offset=offset,
        )
    return Success(page_of(total, wanted.current, wanted.size, [_record(one, zone) for one in found]))


def _record(one: JobCall, zone: str) -> JobRecordOut:
    of = one.call
    given = {name.removeprefix(INFO): value for name, value in one.texts.items()}
    return JobRecordOut(
        keyId=of.id,
        appId=of.app_id,
        callId=str(of.id),
        callRecordId=of.id,
        robotCount=one.lines,
        callJobId=one.job_id,
        dialogFlowId=of.template_id,
        tenantPhoneNumberId=one.trunk_id,
        calledPhoneNumber=of.callee,
        hangupBy=of.hung_up_by,
        customerPersonName=given.pop("customerPersonName", None),
        analysisBasis=of.reason,
        resultStatus=str(status_of(of.outcome)),
        startTime=None if of.started_at is None else local_text(of.started_at, zone),
        endTime=local_text(of.ended_at, zone),
        chatDuration=(of.talk_ms or 0) // 1000,
        chargedDuration=0 if of.line is None else of.line.charged_seconds(of.talk_ms),
        chatRound=0,
        attributes=[],
        customerConcern=[],
        properties=given,
        intentLevelDetailName=of.intent,
        fullAudioUrl=None,
        customerAudioUrl=None,
        dynamicProperties={},
        redialTimes=one.round,
    )
