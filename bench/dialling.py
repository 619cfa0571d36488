"""A dialler in a process of its own: Ringback's roles on a stand-in engine, with a few instants written down.

``python -m bench.dialling URL SHORTEST LONGEST [conductor]`` (0 0: every call is busy at once). It reads one word a
line and answers each with a line of JSON; it ends in good order when its input does. Run by :class:`Dialling`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import structlog

from bench.processes import cpu_seconds, rss_mb, waited_seconds
from bench.stand_in import StandIn
from ringback.cli.garbage import collect_seldom
from ringback.clock import RealClock
from ringback.roles import dialler as dialler_module
from ringback.roles.conductor import Conductor
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.leasing import Leasing
from ringback.roles.library import TemplateLibrary
from ringback.roles.results import ResultBuffer
from ringback.store.opening import open_store
from ringback.voice.speech import Speech

if TYPE_CHECKING:
    from ringback.store.leases import LeaseBatch

ROOT = Path(__file__).parent.parent
STOP_SECONDS = 120


class Dialling:
    """Such a process. Use as an asynchronous context manager."""

    def __init__(
        self, url: str, seconds: tuple[float, float] = (0.0, 0.0), *, conductor: bool = False, profile: str = ""
    ) -> None:
        self._arguments = [url, *map(str, seconds), *(["conductor"] if conductor else [])]
        self._profile = ["-m", "cProfile", "-o", profile] if profile else []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self._profile, "-m", "bench.dialling", *self._arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        await self.ask("ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def ask(self, *words: object) -> Any:
        """The answer to a question, see :meth:`_Watched.answer`. Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the dialler ended")
        return json.loads(answer)

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(self._process.pid)

    @property
    def waited_seconds(self) -> float:
        """How long it has waited for a processor so far."""
        return waited_seconds(self._process.pid)

    @property
    def rss_mb(self) -> float:
        """Its memory."""
        return rss_mb(self._process.pid)


class _Watched:
    """What was written down since the last reset. Times are seconds."""

    def __init__(self, engine: StandIn) -> None:
        self.engine = engine
        self.reset()

    def reset(self) -> None:
        """Forget what came before."""
        self.began = self.engine.count
        self.results: list[float] = []
        self.ticks: list[float] = []
        self.leases: list[float] = []
        self.leased = 0
        self.starts: list[tuple[float, float, int]] = []

    def answer(self, word: str, *more: str) -> Any:
        """``reset``; ``stats``: counts, and how late results, ticks and leases were; ``starts``: when the conductor
        started nodes (began and ended, epoch seconds, how many); ``after TASK AT_US``: calls placed later than that.
        """
        match word:
            case "reset":
                self.reset()
            case "stats":
                return {
                    "placed": self.engine.count - self.began,
                    "results": self.results,
                    "ticks": self.ticks,
                    "leases": self.leases,
                    "leased": self.leased,
                }
            case "starts":
                return self.starts
            case "after":
                task_id, at_us = map(int, more)
                return sum(at > at_us for at in self.engine.placed[task_id])
        return None


def _watch(watched: _Watched) -> type[Conductor]:
    """Put ours in the place of the roles that are to be watched. Returns the conductor to run."""

    class WatchedBuffer(ResultBuffer):
        async def _write(self, group: Any) -> list[int]:
            finished = await super()._write(group)
            now = time.monotonic()
            due = watched.engine.due
            watched.results += [now - due.pop(one.call_id) for one in group.results if one.call_id in due]
            return finished

    class WatchedLeasing(Leasing):
        planned: float | None = None

        async def take(self, **arguments: Any) -> LeaseBatch:
            began = time.monotonic()
            if self.planned is not None:
                watched.ticks.append(began - self.planned)
            batch = await super().take(**arguments)
            watched.leases.append(time.monotonic() - began)
            watched.leased += len(batch.leases)
            return batch

        def seconds_until(self, wake_us: int | None, poll_seconds: float) -> float:
            seconds = super().seconds_until(wake_us, poll_seconds)
            self.planned = time.monotonic() + seconds
            return seconds

    class WatchedConductor(Conductor):
        async def _start(self, limit: int, *, only: int | None = None) -> int:
            began = time.time()
            started = await super()._start(limit, only=only)
            watched.starts.append((began, time.time(), started))
            return started

    dialler_module.ResultBuffer = WatchedBuffer  # type: ignore[misc]  # the dialler makes its own
    dialler_module.Leasing = WatchedLeasing  # type: ignore[misc] - the bench watches it at work
    return WatchedConductor


async def main(url: str, shortest: str, longest: str, *more: str) -> None:
    """Run the roles until the input ends."""
    # As `ringback serve` does.
    collect_seldom()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    clock = RealClock()
    engine = StandIn((float(shortest), float(longest)) if float(longest) else None)
    watched = _Watched(engine)
    conductor_class = _watch(watched)
    store = await open_store(url, clock)
    library = TemplateLibrary(store, Speech(clock, None))
    dialler = Dialler(store, engine, clock, library, DiallerSettings(drain_seconds=0.0))
    running = [asyncio.create_task(dialler.run())]
    conductor = conductor_class(store, clock) if "conductor" in more else None
    if conductor is not None:
        running.append(asyncio.create_task(conductor.run()))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    answering = asyncio.create_task(_answer(reader, watched))
    await asyncio.wait([answering, *running], return_when=asyncio.FIRST_COMPLETED)
    dialler.stop()
    if conductor is not None:
        conductor.stop()
    await asyncio.gather(*running)
    await store.close()


async def _answer(reader: asyncio.StreamReader, watched: _Watched) -> None:
    while line := await reader.readline():
        print(json.dumps(watched.answer(*line.decode().split())), flush=True)


if __name__ == "__main__":
    # Ctrl-C is for whoever started this; the end of the input ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.chdir(ROOT)
    asyncio.run(main(*sys.argv[1:]))
