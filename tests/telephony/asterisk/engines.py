"""An engine on fake Asterisks, for tests: started, and stopped whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import msgspec

from ringback.clock import RealClock
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import Destination, DialOrder, Ended
from tests.telephony.asterisk.fake_ari import FakeAri


def channel(call_id):
    return f"ringback-{call_id:016}"


def order(call_id, **parts):
    destination = Destination(host="10.0.0.9", port=5060)
    return DialOrder(**{
        "call_id": call_id, "task_id": 7, "callee": "4917", "caller_id": "4930", "destination": destination, **parts,
    })  # fmt: skip


def make_engine(*addresses, **parts):
    folder = SoundFolder(Path(tempfile.mkdtemp(prefix="ringback-sounds-")))
    return AsteriskEngine(RealClock(), addresses, folder, **{"detect_machines": False, **parts})


def run(story, *, nodes=1, prepare=None, options=None, **parts):
    """Runs ``story(engine, ari, …)``. ``prepare(ari, …)`` comes before the start; ``options``: of each address."""

    async def with_engine():
        async with contextlib.AsyncExitStack() as stack:
            aris = [await stack.enter_async_context(FakeAri()) for _ in range(nodes)]
            if prepare is not None:
                prepare(*aris)
            chosen = options or [{}] * nodes
            addresses = [msgspec.structs.replace(ari.address, **one) for ari, one in zip(aris, chosen, strict=True)]
            engine = make_engine(*addresses, **parts)
            await engine.start()
            try:
                await story(engine, *aris)
            finally:
                await engine.stop()

    asyncio.run(with_engine())


async def until(holds, seconds=10.0):
    """Wait for what no event tells: looked at every turn of the loop's timers."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.005)


async def events_of(leg):
    """Every event to the end."""
    events = []
    async with asyncio.timeout(10):
        while not events or not isinstance(events[-1], Ended):
            events.append(await leg.next_event())
    return events
