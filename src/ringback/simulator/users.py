"""Users: they make tasks, repeat requests, pause, edit and cancel, also in the very instant in which a round starts.

What has returned to them is what the promises are about; so it is entered in the book here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ringback.model.task import TaskSpec, build_numbers
from ringback.roles.control import cancel_tasks, pause_task, resume_task
from ringback.simulator.book import MadeFlow, MadeTask
from ringback.simulator.plan import Wish
from ringback.store import flow_edits, flows, tasks, templates
from ringback.store.accounts import NameTaken
from ringback.store.database import News
from ringback.store.flows import CancelBy, FlowNotFound, FlowWrongState
from ringback.store.refusals import is_passing
from ringback.store.tasks import TaskNotFound, TaskWrongState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ringback.simulator.plan import Deed, TaskPlan
    from ringback.simulator.world import World
    from ringback.store.flows import FlowDetail

T = TypeVar("T")

_TRIES = 8
_AGAIN_SECONDS = 1.0
_REFUSED = (TaskNotFound, TaskWrongState, FlowNotFound, FlowWrongState, NameTaken)


class GaveUp(Exception):
    """The store refused too often."""


class Users:
    """All of them, at the office."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._book = world.book
        self._clock = world.clock_of(world.office)
        self._store = world.office_store
        #: By the index of the plan.
        self._made: dict[int, MadeTask] = {}

    async def make(self, index: int, plan: TaskPlan) -> None:
        """Make a task when its time has come."""
        await self._clock.sleep(plan.at)
        try:
            await self._patiently(lambda: self._create(index, plan))
        except NameTaken:
            # An earlier try was committed after all, and nobody has told us.
            await self._find(index, plan)
        except GaveUp:
            self._world.tell(f"users: task {plan.name!r} could not be made")

    async def do(self, deed: Deed) -> None:
        """Do something when its time has come. What is refused is refused."""
        await self._clock.sleep(deed.at)
        made = self._made.get(deed.task)
        if made is None:
            return
        if deed.at_due:
            await self._until_due(made, deed.offset)
        try:
            await self._do(deed, made)
        except _REFUSED as refusal:
            self._world.tell(f"users: {deed.wish} refused: {refusal}")
        except GaveUp:
            self._world.tell(f"users: {deed.wish} given up")

    async def resume_all(self) -> None:
        """At the end of the run nothing stays suspended."""
        for row in self._world.census().tasks:
            if row.state == "suspended":
                await self._resume(row.id)

    async def _create(self, index: int, plan: TaskPlan) -> None:
        stage = self._world.stage
        now_ms = self._clock.now_ms()
        template_id = stage.templates[plan.template]
        spec = TaskSpec(
            name=plan.name,
            template_id=template_id,
            application_id=stage.application,
            send_at=None if plan.send_in is None else now_ms + round(plan.send_in * 1000),
            limits=plan.limits,
        )
        numbers = build_numbers(((one, {}) for one in plan.numbers), field="numbers", needed_texts=frozenset())
        flow_id = None
        async with self._store.write() as tx:
            task_id = await tasks.create(tx, stage.account, spec, numbers.calls, now_ms)
            if plan.flow is not None:
                flow_id = await flows.create(
                    tx, stage.account, task_id, plan.flow, parent_template_id=template_id, now_ms=now_ms
                )
        self._enter(index, MadeTask(task_id, plan, flow_id))
        self._store.announce(News.WORK)

    async def _find(self, index: int, plan: TaskPlan) -> None:
        found = self._world.census()
        task = next(one for one in found.tasks if one.name == plan.name)
        flow = next((one for one in found.flows if one.parent_task_id == task.id), None)
        self._enter(index, MadeTask(task.id, plan, None if flow is None else flow.id))

    def _enter(self, index: int, made: MadeTask) -> None:
        self._made[index] = self._book.made[made.id] = made
        if made.flow_id is not None and made.plan.flow is not None:
            self._book.flows[made.flow_id] = MadeFlow(made.flow_id, made.plan.flow)
        self._world.tell(f"users: task {made.id} {made.plan.name!r}, {len(made.plan.numbers)} numbers")

    async def _do(self, deed: Deed, made: MadeTask) -> None:
        self._world.tell(f"users: {deed.wish}, task {made.id}, flow {made.flow_id}")
        match deed.wish:
            case Wish.PAUSE:
                await self._pause(made.id, deed.seconds)
            case Wish.CANCEL_TASK:
                await self._cancel(made.id)
            case Wish.PAUSE_ROUND | Wish.CANCEL_ROUND:
                round_task = self._latest_round(made)
                if round_task is not None and deed.wish is Wish.PAUSE_ROUND:
                    await self._pause(round_task, deed.seconds)
                elif round_task is not None:
                    await self._cancel(round_task)
            case Wish.EDIT_FLOW:
                await self._edit(made, deed)
            case Wish.CANCEL_FLOW | Wish.CANCEL_FLOW_OF_TASK | Wish.CANCEL_NODE:
                await self._cancel_flow(made, deed)
            case Wish.REPEAT:
                await self._repeat(made)
            case Wish.RETIRE_TEMPLATE:
                await self._patiently(lambda: self._retire(made))

    async def _pause(self, task_id: int, seconds: float) -> None:
        await self._patiently(lambda: pause_task(self._store, self._clock, task_id))
        self._book.stopped[task_id] = "pause"
        await self._clock.sleep(seconds)
        await self._resume(task_id)

    async def _resume(self, task_id: int) -> None:
        if self._book.stopped.get(task_id) == "pause":
            del self._book.stopped[task_id]
        try:
            await self._patiently(lambda: resume_task(self._store, self._clock, task_id))
        except _REFUSED as refusal:
            self._world.tell(f"users: resume refused: {refusal}")

    async def _cancel(self, task_id: int) -> None:
        await self._patiently(lambda: cancel_tasks(self._store, self._clock, [task_id]))
        self._book.stopped[task_id] = "cancel"

    async def _edit(self, made: MadeTask, deed: Deed) -> None:
        if made.flow_id is None:
            return
        flow_id, known = made.flow_id, self._book.flows[made.flow_id]

        async def edit() -> tuple[FlowDetail, FlowDetail]:
            async with self._store.write() as tx:
                before = await flows.detail(tx, flow_id)
                await flow_edits.edit(
                    tx, self._world.stage.account, flow_id, deed.flow, now_ms=self._clock.now_ms(), minute_seconds=60
                )
                after = await flows.detail(tx, flow_id)
            assert before is not None
            assert after is not None
            return before, after

        # Until it has returned, nobody knows which of the two is stored.
        known.in_doubt = True
        before, after = await self._patiently(edit)
        known.in_doubt = False
        known.spec = deed.flow
        self._store.announce(News.WORK)
        kept = {node.position: node.id for node in before.nodes if node.state == "pending"}
        for node in after.nodes:
            if kept.get(node.position, node.id) != node.id:
                known.moved.append(f"an edit of flow {flow_id} gave node {node.position} another key")
        known.cancelled &= {node.id for node in after.nodes}

    async def _cancel_flow(self, made: MadeTask, deed: Deed) -> None:
        if made.flow_id is None:
            return
        nodes = [node for node in self._world.census().nodes if node.flow_id == made.flow_id]
        by, key = CancelBy.FLOW, made.flow_id
        if deed.wish is Wish.CANCEL_FLOW_OF_TASK:
            by, key = CancelBy.PARENT_TASK, made.id
        elif deed.wish is Wish.CANCEL_NODE:
            by, key = CancelBy.NODE_ONWARD, nodes[round(deed.seconds) % len(nodes)].id

        async def cancel() -> None:
            async with self._store.write() as tx:
                await flows.cancel(tx, self._world.stage.account, by, key, self._clock.now_ms())

        await self._patiently(cancel)
        first = next(node.position for node in nodes if by is not CancelBy.NODE_ONWARD or node.id == key)
        self._book.flows[made.flow_id].cancelled |= {node.id for node in nodes if node.position >= first}

    async def _repeat(self, made: MadeTask) -> None:
        """The same request once more is refused, and changes nothing."""
        index = next(index for index, one in self._made.items() if one is made)
        await self._patiently(lambda: self._create(index, made.plan))
        self._world.violated("nothing lost", f"a task named {made.plan.name!r} was made twice")

    async def _retire(self, made: MadeTask) -> None:
        async with self._store.write() as tx:
            await templates.retire(tx, self._world.stage.templates[made.plan.template], self._clock.now_ms())

    def _latest_round(self, made: MadeTask) -> int | None:
        rounds = [node.task_id for node in self._world.census().nodes if node.flow_id == made.flow_id]
        return max((task_id for task_id in rounds if task_id is not None), default=None)

    async def _until_due(self, made: MadeTask, offset: float) -> None:
        due = [
            node.due_at
            for node in self._world.census().nodes
            if node.flow_id == made.flow_id and node.state == "pending" and node.due_at is not None
        ]
        if due:
            await self._clock.sleep((due[0] - self._clock.now_ms()) / 1000 + offset)

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do it; a store that refuses for now is asked again. Raises :class:`GaveUp`, and what the store refuses."""
        for _ in range(_TRIES):
            try:
                return await act()
            except Exception as error:
                if not is_passing(error):
                    raise
            await self._clock.sleep(_AGAIN_SECONDS)
        raise GaveUp
