"""A real Asterisk for the tests of this folder that need one."""

from __future__ import annotations

import pytest

from tests.parts.asterisk_process import AsteriskProcess
from tests.parts.parts import ASTERISK, require


@pytest.fixture(scope="module")
def asterisk():
    """One Asterisk for all tests of a module. Without the program: skipped, and under CI failed."""
    require(ASTERISK)
    with AsteriskProcess() as process:
        yield process


@pytest.fixture
def two_asterisks():
    """Two of its own for a test that breaks them."""
    require(ASTERISK)
    with AsteriskProcess() as first, AsteriskProcess() as second:
        yield first, second
