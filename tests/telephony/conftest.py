"""One embedded engine for all tests of a module that place calls with it."""

from __future__ import annotations

import asyncio

import pytest

from ringback.clock import RealClock
from ringback.telephony.sip.engine import SipEngine


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner):
    engine = SipEngine(RealClock(), workers=1)
    runner.run(engine.start())
    yield engine
    runner.run(engine.stop())
