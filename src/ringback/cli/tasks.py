"""`ringback task`: what is running, and pause, resume, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ringback.cli.common import MAX_ID, UserError, iso, opened, run, settings
from ringback.clock import RealClock
from ringback.roles.control import cancel_tasks, pause_task, resume_task
from ringback.store import outlook, provenance, tasks
from ringback.store.tasks import TaskNotFound, TaskWrongState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.clock import Clock
    from ringback.store.database import Store

app = typer.Typer(help="Tasks: group calls.", no_args_is_help=True)

TaskId = Annotated[int, typer.Argument(help="Id of the task.", min=1, max=MAX_ID)]


@app.command("list")
def show() -> None:
    """List the tasks that are not over, and why one that is calling stands still."""

    async def work() -> tuple[list[tasks.Task], dict[int, str], str]:
        in_force = settings()
        async with opened(in_force) as store, store.read() as tx:
            now_us = RealClock().now_us()
            waiting = await outlook.waiting_reasons(tx, engine=in_force.telephony, now_us=now_us)
            return await tasks.running(tx), waiting, await provenance.why_held(tx)

    running, waiting, held = run(work())
    for task in running:
        why = waiting.get(task.id) or held or (f"starts {iso(task.send_at)}" if task.started_at is None else "")
        typer.echo(
            f"{task.id}  {task.name}  {task.state}  {task.called + task.skipped} of {task.total} done, "
            f"{task.active} in the air{'  (' + why + ')' if why else ''}"
        )


@app.command("pause")
def pause(task_id: TaskId) -> None:
    """Suspend a task. When the command returns, no new call of it starts."""
    _change(lambda store, clock: pause_task(store, clock, task_id))


@app.command("resume")
def resume(task_id: TaskId) -> None:
    """Go on with a suspended task."""
    minute_seconds = settings().minute_seconds
    _change(lambda store, clock: resume_task(store, clock, task_id, minute_seconds=minute_seconds))


@app.command("cancel")
def cancel(task_id: TaskId) -> None:
    """Cancel a task. When the command returns, no new call of it starts; calls in the air end."""
    _change(lambda store, clock: cancel_tasks(store, clock, [task_id]))


def _change(change: Callable[[Store, Clock], Awaitable[None]]) -> None:
    async def work() -> None:
        clock = RealClock()
        async with opened(settings(), clock) as store:
            try:
                await change(store, clock)
            except (TaskNotFound, TaskWrongState) as error:
                raise UserError(str(error)) from None

    run(work())
