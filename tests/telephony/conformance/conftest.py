"""All cases of an engine run once, at the same time; each test looks at one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.telephony.conformance.run import Seen, run

Runs = Callable[[str], dict[str, Seen]]


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    """What came of each case of an engine. Runs them when they are first asked for."""
    done: dict[str, dict[str, Seen]] = {}
    broken: dict[str, BaseException] = {}

    def of(engine: str) -> dict[str, Seen]:
        if engine in broken:
            raise broken[engine]
        if engine not in done:
            try:
                done[engine] = run(engine, tmp_path_factory.mktemp(engine))
            except BaseException as error:
                broken[engine] = error
                raise
        return done[engine]

    return of
