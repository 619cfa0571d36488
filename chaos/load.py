"""What the world is asked to do meanwhile: the campaign, repeated requests, and tasks that are paused and cancelled."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from chaos.evidence import Stop
from chaos.world import KEY, POLL_SECONDS, SECRET
from tests.e2e.vendor import Vendor

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.world import World

#: Answers of the vendor's door: done, there is a task of that name, and come again later.
DONE, EXISTS, TROUBLE = 0, -20, -18
#: How often a number with such an ending is in a task; most are answered, or rounds would be as long as the first.
ENDINGS: Final = {
    **{f"{ending:02}": 150 for ending in range(40)},
    **{f"{ending}": 120 for ending in range(40, 50)},
    **{f"{ending}": 80 for ending in range(50, 60)},
    **dict(zip(("60", "61", "62", "70", "71", "80", "85", "90"), (150, 300, 200, 25, 120, 150, 150, 150), strict=True)),
    **dict(zip(("94", "96", "97", "98", "99"), (80, 50, 25, 80, 50), strict=True)),
}
#: How long a request is tried again while nobody answers, seconds.
PATIENCE_SECONDS: Final = 90.0
#: More than are dialled before the task is cancelled.
STOPPED_NUMBERS: Final = 300
REPEATED_NUMBERS: Final = 5
SENDERS: Final = 4
MAIN: Final = "campaign"


def numbers(count: int, prefix: str, dice: random.Random, *, without: str = "") -> list[str]:
    """As many different numbers; ``prefix`` is theirs alone. ``without``: an ending that none has."""
    weights = {ending: weight for ending, weight in ENDINGS.items() if ending != without}
    endings = dice.choices(list(weights), weights=list(weights.values()), k=count)
    return [f"{prefix}{index:06}{ending}" for index, ending in enumerate(endings)]


class Load:
    """:meth:`start` makes the campaign and starts the rest in threads; :meth:`stop` ends those."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(seed)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._tasks = 0
        self._lock = threading.Lock()
        self.stops: list[Stop] = []
        self.asked_twice: dict[str, int] = {}
        #: What broke in a thread.
        self.errors: list[BaseException] = []

    def start(self, count: int, rounds: int, *, without: str = "") -> int:
        """Returns the campaign's task id. ``without``: an ending that none of its numbers has."""
        flow = {"recallType": 1, "recallInterval": 1, "recallNum": rounds}
        body = self._body(MAIN, numbers(count, "4930", self._dice, without=without), recallFlow=flow)
        answer = self._vendor(0).post("/voice/group/call/send/agent", body)
        if answer["code"] != DONE:
            raise RuntimeError(f"the campaign was refused: {answer}")
        for work in (self._repeat_requests, self._pause_and_cancel):
            thread = threading.Thread(target=self._guarded, args=(work, random.Random(self._dice.random())))
            thread.start()
            self._threads.append(thread)
        return int(answer["data"])

    def stop(self) -> None:
        """End the threads. What is under way is finished."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def cancel(self, task_ids: list[int]) -> None:
        """Cancel tasks, if they still can be."""
        for task_id in task_ids:
            self._asked(0, "/voice/group/call/cancel", {"taskIdList": [task_id]})

    def _guarded(self, work: Callable[[random.Random], None], dice: random.Random) -> None:
        try:
            while not self._over.wait(dice.uniform(1, 4)):
                work(dice)
        except BaseException as error:  # noqa: BLE001 - whoever ends the run reports it
            self.errors.append(error)

    # --- repeated requests ---

    def _repeat_requests(self, dice: random.Random) -> None:
        with self._lock:
            name = f"repeated{len(self.asked_twice):04}"
            self.asked_twice[name] = 0
        body = self._body(name, numbers(REPEATED_NUMBERS, f"41{len(self.asked_twice):04}", dice))
        with ThreadPoolExecutor(SENDERS) as pool:
            asked = [pool.submit(self._asked, n, "/voice/group/call/send/agent", body) for n in range(SENDERS)]
            answers = [one.result() for one in asked]
        self.asked_twice[name] = sum(answer is not None and answer["code"] == DONE for answer in answers)

    # --- pause and cancel ---

    def _pause_and_cancel(self, dice: random.Random) -> None:
        with self._lock:
            self._tasks += 1
            number = self._tasks
        body = self._body(f"stopped{number:04}", numbers(STOPPED_NUMBERS, f"43{number:04}", dice))
        answer = self._asked(number, "/voice/group/call/send/agent", body)
        if answer is None or answer["code"] not in {DONE, EXISTS}:
            raise RuntimeError(f"a task was refused: {answer}")
        if answer["code"] == EXISTS:
            return  # the answer to an earlier try was lost, and with it the id
        task_id = int(answer["data"])
        time.sleep(dice.uniform(1, 3))
        if self._command("pause", task_id):
            paused = Stop(kind="pause", task_id=task_id, from_ns=time.time_ns())
            self.stops.append(paused)
            time.sleep(dice.uniform(1, 3))
            paused.until_ns = time.time_ns()
            self._command("resume", task_id)
            time.sleep(dice.uniform(1, 3))
        answer = self._asked(number, "/voice/group/call/cancel", {"taskIdList": [task_id]})
        if answer is not None and answer["code"] == DONE:
            self.stops.append(Stop(kind="cancel", task_id=task_id, from_ns=time.time_ns()))

    def _command(self, what: str, task_id: int) -> bool:
        """`ringback task …`, again and again while the database is away. False when the task's state forbids it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._world.ringback("task", what, str(task_id))
            except RuntimeError as error:
                if "task" in str(error).partition(": ")[2] and "database" not in str(error):
                    return False
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return True

    # --- requests ---

    def _body(self, name: str, callees: list[str], **more: Any) -> dict[str, Any]:
        # A caller id of its own: so the carrier can tell tasks apart without believing our headers.
        caller = f"49{sum(map(ord, name)):05}{name[-4:] if name[-1].isdigit() else '0000'}"
        return {
            "appId": "default",
            "taskName": name,
            "displayNum": caller,
            "agentId": self._world.template_id,
            "maxRingingTime": 20,
            "numberInfoList": [{"calleeNumber": callee} for callee in callees],
            **more,
        }

    def _vendor(self, number: int) -> Vendor:
        return Vendor(self._world.apis[number % len(self._world.apis)].url, KEY, SECRET)

    def _asked(self, number: int, path: str, body: object) -> dict[str, Any] | None:
        """The answer of an API node; while it breaks the connection or its database is away, the other is asked the
        same. ``None`` when none answers for long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._vendor(number).post(path, body)
            except (OSError, ValueError):
                pass
            else:
                if answer["code"] != TROUBLE:
                    return answer
            number += 1
            time.sleep(POLL_SECONDS)
        return None
