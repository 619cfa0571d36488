"""Shows a task and its recall flow until all is done: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ringback.cli.common import UserError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.cli.vendor_client import VendorClient
    from ringback.clock import Clock

LOOK_EVERY_SECONDS = 0.5
#: How often a question is asked before its failure is the user's problem: for about a minute.
MOST_TRIES = 120
#: Task statuses (vendor's numbers) that nothing follows.
TASK_OVER = frozenset({2, 3, 4})
#: Flow statuses that nothing follows.
FLOW_OVER = frozenset({2, 3, 4})

_FLOW_WORDS = {0: "pending", 1: "in progress", 2: "completed", 3: "cancelled", 4: "exception"}
_TASK_WORDS = {
    0: "waiting",
    1: "calling",
    2: "finished",
    3: "submission failed",
    4: "cancelled",
    5: "suspended",
    6: "submitting",
}


class Rounds:
    """Follows the parent task and every round's task."""

    def __init__(self, client: VendorClient, clock: Clock, task_id: int, flow_id: int | None) -> None:
        self._client = client
        self._clock = clock
        self._task_id = task_id
        self._flow_id = flow_id

    async def follow(self, *, bars: bool | None = None) -> tuple[int, int | None]:
        """Show progress until all is done. Returns the final statuses of task and flow (vendor's numbers).

        ``bars``: draw bars; default: when standard output is a terminal.
        """
        view = _Bars() if (sys.stdout.isatty() if bars is None else bars) else _Lines()
        with view:
            while True:
                task = await self._task(self._task_id)
                view.show("first round", task)
                flow = None
                if self._flow_id is not None:
                    flow = await self._flow(self._flow_id)
                    for number, node in enumerate(flow["nodeList"], start=1):
                        if node["taskId"] is not None:
                            view.show(f"recall {number}", await self._task(node["taskId"]))
                flow_status = None if flow is None else flow["status"]
                over = task["status"] in TASK_OVER if flow is None else flow_status in FLOW_OVER
                if over:
                    view.say(_TASK_WORDS[task["status"]] if flow is None else f"flow {_FLOW_WORDS[flow['status']]}")
                    return task["status"], flow_status
                await self._clock.sleep(LOOK_EVERY_SECONDS)

    async def _patiently(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """The answer's data; a server that does not answer for a while is asked again."""
        for _ in range(MOST_TRIES - 1):
            try:
                return await _data(ask)
            except UserError:
                await self._clock.sleep(LOOK_EVERY_SECONDS)
        return await _data(ask)

    async def _flow(self, flow_id: int) -> dict[str, Any]:
        body = {"keyId": flow_id}
        return await self._patiently(lambda: self._client.post("/voice/recallFlow/queryDetail", body))

    async def _task(self, task_id: int) -> dict[str, Any]:
        return await self._patiently(lambda: self._client.get(f"/voice/group/call/detail/{task_id}"))


async def _data(ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    data: dict[str, Any] = (await ask())["data"]
    return data


def _figures(task: dict[str, Any]) -> str:
    return f"{task['success']} answered, {task['fail']} failed"


class _Lines:
    """A line whenever something changed."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[Any, ...]] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, name: str, task: dict[str, Any]) -> None:
        # A tenth of a task is worth a line; each number is not.
        tenths = 10 * task["callTotal"] // max(1, task["numCnt"])
        now = (task["status"], tenths)
        if self._said.get(name) != now:
            self._said[name] = now
            self.say(
                f"{name}: {_TASK_WORDS[task['status']]}, "
                f"{task['callTotal']} of {task['numCnt']} called, {_figures(task)}"
            )

    def say(self, text: str) -> None:
        typer.echo(text)


class _Bars:
    """A bar per round."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, name: str, task: dict[str, Any]) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=task["numCnt"], figures="")
        self._progress.update(self._bars[name], completed=task["callTotal"], figures=_figures(task))

    def say(self, text: str) -> None:
        self._progress.console.print(text)
