"""The older AI voice jobs: made, filled with numbers, started, stopped, deleted, listed; and their records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.api.itnio.answers import Page, page_of
from ringback.api.itnio.door import Call, Success, post_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.families import JOBS
from ringback.api.itnio.fields import local_text, paging
from ringback.api.itnio.job_fields import (
    ChannelOut,
    DialogFlowOut,
    ImportedOut,
    ImportIn,
    JobAddIn,
    JobEditIn,
    JobIn,
    JobOut,
    JobQueryIn,
    NoCallIn,
    NumberOut,
    OfApplicationIn,
    PropertiesIn,
    WithdrawIn,
)
from ringback.api.itnio.job_settings import application_id_of, job_asked
from ringback.api.itnio.money import check_funds
from ringback.model.job import JobState
from ringback.model.numbers import InvalidNumber, parse_callee
from ringback.model.task import MAX_NUMBERS, InvalidTask, NumberList, build_numbers
from ringback.model.text_variables import INFO, is_variable
from ringback.roles.control import delete_job, pause_job
from ringback.store import appending, jobs, lookups_of_jobs, templates, trunks
from ringback.store.accounts import NameTaken
from ringback.store.appending import TaskClosed, TaskFull
from ringback.store.database import News
from ringback.store.jobs import JobNotFound, JobWrongState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx
    from ringback.store.jobs import Job

#: How a job's state is written.
STATUS = {
    JobState.NOT_STARTED: "NOT_STARTED",
    JobState.RUNNING: "RUNNING",
    JobState.PAUSED: "PAUSED",
    JobState.COMPLETED: "COMPLETED",
}


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    largest = door.settings.max_body_megabytes
    return [
        *post_route(door, "/dialogFlowList", OfApplicationIn, dialog_flows, answers=list[DialogFlowOut], family=JOBS),
        *post_route(door, "/channelList", OfApplicationIn, channels, answers=list[ChannelOut], family=JOBS),
        *post_route(door, "/properties", PropertiesIn, properties, answers=list[str], family=JOBS),
        *post_route(door, "/taskAdd", JobAddIn, add, answers=int, family=JOBS),
        *post_route(door, "/taskEdit", JobEditIn, edit, family=JOBS),
        *post_route(
            door, "/importCustomer", ImportIn, import_customers, answers=ImportedOut, family=JOBS, max_megabytes=largest
        ),
        *post_route(door, "/importCustomer/del", WithdrawIn, withdraw, answers=int, family=JOBS, max_megabytes=largest),
        *post_route(door, "/taskStart", JobIn, start, family=JOBS),
        *post_route(door, "/taskStop", JobIn, stop, family=JOBS),
        *post_route(door, "/taskDel", JobIn, delete, family=JOBS),
        *post_route(door, "/taskList", JobQueryIn, listed, answers=Page[JobOut], family=JOBS),
        *post_route(door, "/taskNoCall", NoCallIn, not_called, answers=Page[NumberOut], family=JOBS),
    ]


async def dialog_flows(call: Call, asked: OfApplicationIn) -> Success:
    """The agent templates that the account may use."""
    async with call.door.store.read() as tx:
        await application_id_of(tx, call, asked.appId)
        found = await templates.of_account(tx, call.account.id)
    return Success([DialogFlowOut(template_id, name) for template_id, name in found])


async def channels(call: Call, asked: OfApplicationIn) -> Success:
    """The trunks that the account may use."""
    async with call.door.store.read() as tx:
        await application_id_of(tx, call, asked.appId)
        found = await trunks.usable_by(tx, call.account.id)
    return Success([ChannelOut(trunk_id, name) for trunk_id, name in found.items()])


async def properties(call: Call, asked: PropertiesIn) -> Success:
    """The variables that an agent template uses, which every number needs."""
    async with call.door.store.read() as tx:
        await application_id_of(tx, call, asked.appId)
        stored = await templates.usable(tx, call.account.id, asked.dialogFlowId)
    if stored is None:
        raise bad("dialogFlowId", f"there is no agent template {asked.dialogFlowId}")
    return Success([name.removeprefix(INFO) for name in stored.template.text_variables()])


async def add(call: Call, asked: JobAddIn) -> Success:
    """Make a job without numbers. ``data`` is its id. One of mode AUTO runs at once, as far as its calendar allows."""
    async with call.door.store.write() as tx:
        spec = await job_asked(tx, call, asked)
        await check_funds(tx, call)
        try:
            job_id = await jobs.create(tx, call.account.id, spec, call.now_ms)
        except NameTaken as error:
            raise VendorError(Code.EXISTS, str(error)) from None
    call.door.store.announce(News.WORK)
    return Success(job_id)


async def edit(call: Call, asked: JobEditIn) -> Success:
    """Replace the settings of a job that does not run."""
    async with call.door.store.write() as tx:
        of = await _job(tx, call, asked.jobId, lock=True)
        spec = await job_asked(tx, call, asked)
        try:
            await jobs.edit(tx, of, spec, call.now_ms)
        except JobWrongState as error:
            raise VendorError(Code.VALIDATION, f"jobId: {error}") from None
        except NameTaken as error:
            raise VendorError(Code.EXISTS, str(error)) from None
    return Success()


async def import_customers(call: Call, asked: ImportIn) -> Success:
    """Add numbers to a job, before it starts or while it runs. ``data`` says how many, and which it had already."""
    async with call.door.store.write() as tx:
        of = await _job(tx, call, asked.jobId, lock=True)
        numbers = await _numbers(tx, of, asked)
        try:
            done = await appending.append(
                tx,
                call.account.id,
                of.first_task_id,
                numbers.calls,
                call.now_ms,
                minute_seconds=call.door.settings.minute_seconds,
            )
        except TaskClosed:
            raise VendorError(Code.VALIDATION, f"jobId: job {of.id} is {of.state} and takes no more") from None
        except TaskFull as error:
            raise VendorError(Code.LIMIT, f"customerList: {error}") from None
    call.door.store.announce(News.WORK)
    return Success(ImportedOut(done.added, [*numbers.duplicates, *done.repeated]))


async def withdraw(call: Call, asked: WithdrawIn) -> Success:
    """Take numbers out that have not been called. ``data`` is how many."""
    callees = []
    for at, number in enumerate(asked.calledPhoneNumberList):
        try:
            callees.append(parse_callee(str(number)))
        except InvalidNumber as error:
            raise bad(f"calledPhoneNumberList[{at}]", str(error)) from None
    async with call.door.store.write() as tx:
        of = await _job(tx, call, asked.jobId, lock=True)
        count = await appending.withdraw(
            tx,
            call.account.id,
            of.first_task_id,
            callees,
            call.now_ms,
            minute_seconds=call.door.settings.minute_seconds,
        )
    call.door.store.announce(News.WORK)
    return Success(count)


async def start(call: Call, asked: JobIn) -> Success:
    """Let a job call, from the first time or again after a stop."""
    async with call.door.store.write() as tx:
        await check_funds(tx, call)
        of = await _job(tx, call, asked.jobId, lock=True)
        try:
            await jobs.start(tx, of, call.now_ms, minute_seconds=call.door.settings.minute_seconds)
        except JobWrongState as error:
            raise VendorError(Code.VALIDATION, f"jobId: {error}") from None
    call.door.store.announce(News.WORK)
    return Success()


async def stop(call: Call, asked: JobIn) -> Success:
    """Pause a job: when the answer comes, no new call of it can start, redials included."""
    try:
        await pause_job(call.door.store, call.door.clock, asked.jobId, account_id=call.account.id)
    except JobNotFound as error:
        raise VendorError(Code.NOT_FOUND, f"jobId: {error}") from None
    except JobWrongState as error:
        raise VendorError(Code.VALIDATION, f"jobId: {error}") from None
    return Success()


async def delete(call: Call, asked: JobIn) -> Success:
    """Take a job away: when the answer comes, no new call of it can start. Its records stay."""
    try:
        await delete_job(call.door.store, call.door.clock, asked.jobId, account_id=call.account.id)
    except JobNotFound as error:
        raise VendorError(Code.NOT_FOUND, f"jobId: {error}") from None
    return Success()


async def listed(call: Call, wanted: JobQueryIn) -> Success:
    """The account's jobs, newest first."""
    limit, offset = paging(wanted.current, wanted.size)
    async with call.door.store.read() as tx:
        application_id = None
        if wanted.params.appId is not None:
            application_id = await application_id_of(tx, call, wanted.params.appId)
        total, found = await jobs.page(
            tx,
            call.account.id,
            application_id=application_id,
            name_part=(wanted.params.name or "").strip(),
            limit=limit,
            offset=offset,
        )
        names = {one.spec.template_id: await templates.get(tx, one.spec.template_id) for one in found}
        trunk_names = await trunks.usable_by(tx, call.account.id)
    records = []
    for one in found:
        template = names[one.spec.template_id]
        records.append(
            JobOut(
                jobId=one.id,
                name=one.name,
                dialogFlowName="" if template is None else template.template.name,
                jobPhoneNumberName=None if one.spec.trunk_id is None else trunk_names.get(one.spec.trunk_id),
                robotCount=one.spec.lines,
                mode="AUTO" if one.spec.automatic else "MANUAL",
                hangupSms=template is not None and template.template.sms is not None,
                taskTotal=one.total,
                taskCompleted=one.completed,
                status=STATUS[one.state],
                isDialogFlowUnbind=template is None or template.retired,
                createTime=local_text(one.created_at, call.account.time_zone),
            )
        )
    return Success(page_of(total, wanted.current, wanted.size, records))


async def not_called(call: Call, wanted: NoCallIn) -> Success:
    """The numbers of a job that have not been called yet, in their order."""
    limit, offset = paging(wanted.current, wanted.size)
    async with call.door.store.read() as tx:
        of = await _job(tx, call, wanted.jobId)
        total, found = await lookups_of_jobs.not_called(tx, of.first_task_id, limit=limit, offset=offset)
    return Success(page_of(total, wanted.current, wanted.size, [NumberOut(callee) for callee in found]))


async def _job(tx: Tx, call: Call, job_id: int, *, lock: bool = False) -> Job:
    try:
        return await jobs.get(tx, call.account.id, job_id, lock=lock)
    except JobNotFound as error:
        raise VendorError(Code.NOT_FOUND, f"jobId: {error}") from None


async def _numbers(tx: Tx, of: Job, asked: ImportIn) -> NumberList:
    if len(asked.customerList) > MAX_NUMBERS:
        raise bad("customerList", f"holds {len(asked.customerList)} numbers, at most {MAX_NUMBERS}")
    for at, customer in enumerate(asked.customerList):
        for name in customer.properties or ():
            if not is_variable(name) and not is_variable(INFO + name):
                raise bad(f"customerList[{at}].properties", "names have 1 to 64 letters, digits or _")
    stored = await templates.get(tx, of.spec.template_id)
    needed = frozenset() if stored is None else frozenset(stored.template.text_variables())
    try:
        return build_numbers(_entries(asked), field="customerList", member="calledPhoneNumber", needed_texts=needed)
    except InvalidTask as error:
        raise VendorError(Code.PARAMETER, str(error)) from None


def _entries(asked: ImportIn) -> Iterator[tuple[str, Mapping[str, str]]]:
    for customer in asked.customerList:
        given = customer.properties or {}
        texts = {name if is_variable(name) else INFO + name: value for name, value in given.items()}
        if customer.customerPersonName:
            texts.setdefault(INFO + "customerPersonName", customer.customerPersonName)
        yield str(customer.calledPhoneNumber), texts
