"""The short form of `make chaos`: fewer numbers, a handful of faults, the same comparison."""

from __future__ import annotations

import pytest

from chaos.report import show
from chaos.run import Plan, Run
from tests.parts.parts import ASTERISK, require, require_postgres

PLAN = Plan(
    minutes=3.0,  # the most it may take on a slow machine; it ends when the campaign does
    numbers=1_500,
    rounds=2,
    rate=80.0,
    faults=("kill -9 dialler1", "freeze dialler2", "kill -9 PostgreSQL", "kill -9 api1"),
    small_disk=False,
    long_rings=False,
)


@pytest.mark.enable_socket
@pytest.mark.crash
def test_no_promise_breaks_while_things_are_killed(capsys: pytest.CaptureFixture[str]) -> None:
    require(ASTERISK)
    require_postgres()
    result = Run(PLAN).go()
    show(result)
    said = capsys.readouterr().out
    assert {check.promise: check.broken for check in result.checks if check.broken} == {}, said
    assert set(result.made) == set(PLAN.faults or ()), said
    checked = {check.promise: check.checked for check in result.checks}
    assert [promise for promise, count in checked.items() if not count] == [], said
