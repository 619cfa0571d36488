"""The engines that the suite runs against: to add one, write its function and name it in ENGINES."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from ringback.clock import Clock
from ringback.telephony.asterisk.address import read_addresses
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import Engine
from ringback.telephony.sandbox import SandboxEngine
from ringback.telephony.sip.engine import SipEngine
from tests.parts.asterisk_process import asterisk as running_asterisk
from tests.telephony.conformance.case import NO_WIRE, Case, Feature, Number


@contextlib.asynccontextmanager
async def sandbox(clock: Clock) -> AsyncIterator[Engine]:
    """Calls in memory."""
    yield SandboxEngine(clock)


@contextlib.asynccontextmanager
async def sip(clock: Clock) -> AsyncIterator[Engine]:
    """The embedded engine."""
    engine = SipEngine(clock, workers=2)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def asterisk(clock: Clock) -> AsyncIterator[Engine]:
    """A real Asterisk."""
    with running_asterisk() as process:
        engine = AsteriskEngine(clock, read_addresses(process.address), SoundFolder(process.sounds))
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


#: Name to what runs it. The key is ``Engine.name``.
ENGINES: Final[Mapping[str, Callable[[Clock], AbstractAsyncContextManager[Engine]]]] = {
    "sandbox": sandbox,
    "sip": sip,
    "asterisk": asterisk,
}

#: Which features each engine has: the cases that need one run for the engines named here, and only for them.
HAVE: Final[Mapping[Feature, frozenset[str]]] = {
    Feature.RECORDING: frozenset({"sip", "asterisk"}),
    Feature.TRANSFER: frozenset({"sip", "asterisk"}),
}

#: Engines without SIP: the number table is all they can do. They run under the virtual clock.
WITHOUT_WIRE: Final = frozenset({"sandbox"})

_MARKS: Final[Mapping[str, tuple[pytest.MarkDecorator, ...]]] = {
    "sandbox": (),
    "sip": (pytest.mark.enable_socket, pytest.mark.sip),
}


def marks(engine: str) -> tuple[pytest.MarkDecorator, ...]:
    """What a test that runs this engine is marked with."""
    return _MARKS.get(engine, (pytest.mark.enable_socket,))


def why_not(engine: str, case: Case) -> str | None:
    """Why the engine does not run this case; ``None``: it does."""
    if engine in WITHOUT_WIRE and not isinstance(case.carrier, Number):
        return NO_WIRE
    if case.needs is not None and engine not in HAVE[case.needs]:
        return f"has no {case.needs}"
    return None
