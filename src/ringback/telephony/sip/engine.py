"""The embedded SIP engine: calls over SIP and RTP with nothing beside this program.

The native stack runs in worker processes, so that a crash of it loses one worker's calls and nothing else, and so that
its limits (one runtime a process, some 22 answered calls a second, about 100 live calls) are per worker.

A worker is bound to one local interface: loopback for a trunk on loopback, otherwise whichever the machine's routes
choose. It is bound by its first call and bound anew when it has none; where all workers are busy on another interface,
one more is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import platform
import sys
from typing import TYPE_CHECKING, Final

import structlog

from ringback.model.numbers import masked
from ringback.telephony.port import EngineUnavailable
from ringback.telephony.sip.addressing import address_call
from ringback.telephony.sip.worker_process import WorkerProcess, WornOut

if TYPE_CHECKING:
    from ringback.clock import Clock
    from ringback.model.engine_node import NodeState
    from ringback.telephony.port import DialOrder, Ended, Leg

#: The native stack has 255 places for audio, but its one signalling thread needs 40 ms to hang up an answered call: the
#: time limits on its commands, on stopping and on pings are made for at most this many at once.
MOST_LINES_PER_WORKER: Final = 150
#: A worker that dies sooner after its start than this is started again with a growing pause.
SHORT_LIFE_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

_NO_WORKER: Final = "no SIP worker process is up"
_NOT_BESIDE: Final = "the SIP worker process of the call to be connected has no free line"

_log = structlog.get_logger(__name__)


def available() -> str | None:
    """Why the embedded engine cannot run here, for people; ``None`` when it can. Cheap: loads nothing native."""
    if importlib.util.find_spec("baresip") is None:
        return (
            "the embedded SIP engine has no wheel for this platform "
            f"({sys.platform} {platform.machine()}); use Asterisk or the sandbox"
        )
    return None


class SipEngine:
    """Implements :class:`ringback.telephony.port.Engine`.

    Args:
        clock: The real clock: native calls know no other time.
        workers: Worker processes to start with.
        lines_per_worker: Most live calls of each.
        local_host: Local IP address to call from, for every trunk; ``None`` chooses by the trunk's address.
        detect_machines: Listen to the start of every answered call for an answering machine.
    """

    name = "sip"
    known_as = ""

    def __init__(
        self,
        clock: Clock,
        *,
        workers: int = 2,
        lines_per_worker: int = 100,
        local_host: str | None = None,
        detect_machines: bool = True,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be 1 or more, got {workers}")
        if not 1 <= lines_per_worker <= MOST_LINES_PER_WORKER:
            raise ValueError(f"lines_per_worker must be 1 to {MOST_LINES_PER_WORKER}, got {lines_per_worker}")
        self._clock = clock
        self._at_start = workers
        self._lines = lines_per_worker
        self._local_host = None if local_host is None else str(ipaddress.ip_address(local_host))
        self._detect_machines = detect_machines
        self._workers: list[WorkerProcess] = []
        self._keepers: set[asyncio.Task[None]] = set()
        self._adding = asyncio.Lock()
        self._running = False

    async def start(self) -> None:
        """Start the worker processes. Raises :class:`EngineUnavailable` with a reason for people."""
        reason = available()
        if reason is not None:
            raise EngineUnavailable(reason)
        self._running = True
        started = await asyncio.gather(*(self._add_worker() for _ in range(self._at_start)), return_exceptions=True)
        for failure in started:
            if isinstance(failure, BaseException):
                await self.stop()
                raise failure

    async def stop(self) -> None:
        """Hang up every call, end every process and free everything, in about ten seconds at most."""
        self._running = False
        keepers = list(self._keepers)
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._workers.clear()

    def free_lines(self) -> int:
        """How many more calls the living workers could take."""
        return sum(max(0, self._lines - worker.live_calls) for worker in self._living() if not worker.worn)

    def trouble(self) -> str:
        """Why no call can be placed: all worker processes have died, and new ones are being started."""
        return "" if self._living() else _NO_WORKER

    def node_states(self) -> list[NodeState]:
        """Has no nodes."""
        return []

    def drain(self, name: str, *, on: bool) -> None:
        """Has no nodes."""

    async def dial(self, order: DialOrder) -> Leg:
        """Send the INVITE and return; everything else arrives as events.

        Raises:
            ValueError: a part of the order cannot stand in a SIP request, or the call is up already; nothing was sent.
            EngineUnavailable: nothing was sent, so the call may be placed later.
        """
        address = address_call(order, self._local_host)
        while True:
            if order.beside is None:
                worker = self._pick(address.interface) or await self._add_bound_worker(address.interface)
            else:
                worker = self._beside(order.beside, address.interface)
            if any(other.has_call(order.call_id) for other in self._workers):
                raise ValueError(f"call {order.call_id} is up already")
            try:
                leg = await worker.dial(order, address)
            except WornOut:
                if order.beside is not None:
                    raise EngineUnavailable(_NOT_BESIDE) from None
                continue  # it is not picked again before its calls have ended
            _log.debug("dialled", call_id=order.call_id, callee=masked(order.callee), worker=worker.pid)
            return leg

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """Always ``None``: the calls of this engine die with the process that placed them, and tell nobody."""
        del of
        if any(worker.has_call(call_id) for worker in self._workers):
            _log.warning("asked to settle a call that is still up here", call_id=call_id)
        return None

    # --- workers ---

    def _living(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers if worker.alive]

    def _pick(self, interface: str) -> WorkerProcess | None:
        """The worker with the fewest live calls that can call from ``interface``, if there is one."""
        fit = [
            worker
            for worker in self._living()
            if worker.live_calls == 0
            or (worker.interface == interface and not worker.worn and worker.live_calls < self._lines)
        ]
        return min(fit, key=lambda worker: (worker.live_calls, worker.interface != interface), default=None)

    def _beside(self, call_id: int, interface: str) -> WorkerProcess:
        """The worker that has this call: only there can another be connected with it."""
        for worker in self._living():
            if worker.has_call(call_id):
                if worker.interface != interface:
                    # Loopback and the world are two interfaces.
                    raise EngineUnavailable("the phone and the trunk are not reached over the same network interface")
                if worker.worn or worker.live_calls >= self._lines:
                    raise EngineUnavailable(_NOT_BESIDE)
                return worker
        raise EngineUnavailable(f"call {call_id} is not up (any more)")

    async def _add_bound_worker(self, interface: str) -> WorkerProcess:
        async with self._adding:
            found = self._pick(interface)  # another dial may have added it meanwhile
            if found is not None:
                return found
            living = self._living()
            if not living:
                raise EngineUnavailable(_NO_WORKER)
            if any(worker.interface == interface for worker in living):
                raise EngineUnavailable("all SIP lines are in use, or wait for their calls to end")
            return await self._add_worker()

    async def _add_worker(self) -> WorkerProcess:
        worker = await self._start_worker()
        keeper = asyncio.get_running_loop().create_task(self._keep(worker))
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        return worker

    async def _start_worker(self) -> WorkerProcess:
        self._check_running()
        worker = await WorkerProcess.start(self._clock, detect_machines=self._detect_machines)
        try:
            self._check_running()
        except EngineUnavailable:
            await worker.stop()
            raise
        self._workers.append(worker)
        return worker

    def _check_running(self) -> None:
        if not self._running:
            raise EngineUnavailable("the SIP engine is not running")

    async def _keep(self, worker: WorkerProcess) -> None:
        """Replace the worker whenever its process ends."""
        pause = 0.0
        while True:
            started = self._clock.monotonic()
            await worker.gone()
            self._workers.remove(worker)
            if self._clock.monotonic() - started >= SHORT_LIFE_SECONDS:
                pause = 0.0
            while True:
                await self._clock.sleep(pause)
                pause = min(max(FIRST_PAUSE_SECONDS, 2 * pause), LONGEST_PAUSE_SECONDS)
                with contextlib.suppress(EngineUnavailable):
                    worker = await self._start_worker()
                    break
