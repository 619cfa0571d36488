"""Numbers that join a task later, one request or one file at a time, and numbers that are taken out."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.params import FromQuery, JSONBody

from ringback.api.v1.door import By, Caller, needs
from ringback.api.v1.fields import NumberIn
from ringback.api.v1.new_task import number_list
from ringback.api.v1.number_file import FileKind, LineError, read_numbers
from ringback.api.v1.once import Made, once
from ringback.api.v1.problems import Kind, Problem, not_found
from ringback.api.v1.tasks import TaskId
from ringback.model.api_key import Scope
from ringback.model.task import MAX_NUMBERS, NewCall
from ringback.store import appending, tasks, templates
from ringback.store.appending import TaskClosed, TaskFull
from ringback.store.database import News, Tx
from ringback.store.tasks import TaskNotFound

_CHANGES = (Kind.NOT_FOUND, Kind.CONFLICT, Kind.KEY_REUSED, Kind.TOO_LARGE)


class NumbersIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers to add."""

    numbers: Annotated[list[NumberIn], msgspec.Meta(min_length=1, max_length=MAX_NUMBERS)]


class NumbersOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers to take out."""

    numbers: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MAX_NUMBERS)]


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """How many numbers joined, and which were there already."""

    added: int
    repeated: list[str]


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a file: lines that were read, numbers that joined, numbers that were there already, and lines at
    fault (the first 1,000; ``faulty`` counts all).
    """

    lines: int
    added: int
    repeated: int
    faulty: int
    errors: list[LineError]


class Withdrawn(msgspec.Struct, frozen=True):
    """How many numbers were taken out; those that had been dialled, or were not there, are not among them."""

    withdrawn: int


@post("/tasks/{task_id:int}/numbers", status_code=200, tags=["numbers"], **needs(Scope.TASKS_WRITE, statuses=_CHANGES))
async def add_numbers(
    request: Request[Any, Any, Any], caller: By, task_id: TaskId, data: JSONBody[NumbersIn]
) -> Made[Joined]:
    """Add numbers to a task that is not over. One that the task has already is not dialled again."""
    numbers = await number_list(data.numbers, await _needed(caller, task_id), field="numbers")

    async def work(tx: Tx) -> Joined:
        done = await _append(tx, caller, task_id, numbers.calls)
        return Joined(added=done.added, repeated=[*numbers.duplicates, *done.repeated])

    made = await once(request, caller, work, status=200)
    caller.store.announce(News.WORK)
    return made


@post(
    "/tasks/{task_id:int}/numbers/file",
    status_code=200,
    tags=["numbers"],
    **needs(Scope.TASKS_WRITE, statuses=(*_CHANGES, Kind.MEDIA_TYPE)),
)
async def upload_numbers(
    request: Request[Any, Any, Any], caller: By, task_id: TaskId, skip_faulty: FromQuery[bool] = False
) -> Uploaded:
    """Add the numbers of a file: `text/csv` with a header line (`number`, and variables), or `application/jsonl` with
    an object of the form of `numbers` on each line.

    A file with a line at fault adds nothing, unless `skip_faulty` is true: then the other lines' numbers join.
    """
    kind = FileKind.of(request.headers.get("content-type", ""))
    needed = await _needed(caller, task_id)
    most = caller.house.settings.max_body_megabytes * 1_000_000
    read = await read_numbers(request.stream(), kind, needed, most_bytes=most)
    added = repeated = 0
    if read.calls and (skip_faulty or not read.faulty):
        async with caller.store.write() as tx:
            done = await _append(tx, caller, task_id, read.calls)
        added, repeated = done.added, len(done.repeated) + read.repeated
        caller.store.announce(News.WORK)
    return Uploaded(lines=read.lines, added=added, repeated=repeated, faulty=read.faulty, errors=read.errors)


@post(
    "/tasks/{task_id:int}/numbers/withdraw",
    status_code=200,
    tags=["numbers"],
    **needs(Scope.TASKS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def withdraw_numbers(caller: By, task_id: TaskId, data: JSONBody[NumbersOut]) -> Withdrawn:
    """Take numbers out of a task that have not been dialled."""
    minute = caller.house.settings.minute_seconds
    async with caller.store.write() as tx:
        try:
            taken = await appending.withdraw(
                tx, caller.account_id, task_id, data.numbers, caller.now_ms, minute_seconds=minute
            )
        except TaskNotFound:
            raise not_found("task", task_id) from None
    return Withdrawn(taken)


@post(
    "/tasks/{task_id:int}/close",
    status_code=204,
    tags=["numbers"],
    **needs(Scope.TASKS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def close_task(caller: By, task_id: TaskId) -> None:
    """No more numbers come: a task that takes more finishes when it has none left."""
    async with caller.store.write() as tx:
        try:
            await appending.close(
                tx,
                caller.account_id,
                task_id,
                caller.now_ms,
                minute_seconds=caller.house.settings.minute_seconds,
            )
        except TaskNotFound:
            raise not_found("task", task_id) from None
    caller.store.announce(News.WORK)


async def _needed(caller: Caller, task_id: int) -> frozenset[str]:
    """The variables that whoever joins must have: those of the task's template."""
    async with caller.store.read() as tx:
        task = await tasks.get(tx, task_id, account_id=caller.account_id)
        if task is None:
            raise not_found("task", task_id)
        stored = await templates.get(tx, task.template_id)
    return frozenset() if stored is None else frozenset(stored.template.text_variables())


async def _append(tx: Tx, caller: Caller, task_id: int, calls: list[NewCall]) -> appending.Appended:
    try:
        return await appending.append(
            tx, caller.account_id, task_id, calls, caller.now_ms, minute_seconds=caller.house.settings.minute_seconds
        )
    except TaskNotFound:
        raise not_found("task", task_id) from None
    except (TaskClosed, TaskFull) as error:
        raise Problem(Kind.CONFLICT, str(error)) from None
