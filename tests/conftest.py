"""For every test: in CI, a test that was skipped is a failure, for nobody reads skips there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from ringback.telephony.sip.engine import available
from tests.parts.postgres_process import PostgresProcess, postgres

# How long an example takes says how busy the machine is: it runs other tests at the same time.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    """A PostgreSQL of this test process's own, started when first asked for. Who asks needs ``enable_socket``."""
    with postgres() as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, loudly, what needs the embedded SIP engine where it has no wheel."""
    missing = available()
    for item in items:
        if missing and item.get_closest_marker("sip"):
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when something was skipped under CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = len(reporter.stats.get("skipped", [])) if reporter else 0
    if skipped and os.environ.get("CI") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\n{skipped} tests were skipped: in CI that is a failure")
