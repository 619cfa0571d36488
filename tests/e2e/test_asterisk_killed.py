"""Asterisk killed with -9 in the middle of a task and started again: no number twice, none lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.campaign import Campaign, dialled_twice, invites
from e2e.processes import far_end, serving
from e2e.waiting import until
from tests.parts.asterisk_process import asterisk

#: Persons, busy ones, refusals, and some that ring unanswered.
ENDINGS = ("00", "10", "40", "55", "60", "80", "85", "90", "94", "70")
NUMBERS = [f"99000{group:02}{ending}" for group in range(25) for ending in ENDINGS]


@pytest.mark.enable_socket
@pytest.mark.crash
def test_asterisk_killed_in_the_middle_of_a_task(tmp_path: Path) -> None:
    log = tmp_path / "farend.jsonl"
    with far_end(tmp_path, log) as carrier, asterisk() as running:
        campaign = Campaign(tmp_path, {"RINGBACK_LOG_LEVEL": "warning", **running.environ})
        campaign.furnish(carrier.line_with("far end listening on ").rpartition(":")[2], cps=25, channels=60)
        with serving(tmp_path, campaign.environ) as server:
            vendor = campaign.vendor(server)
            task_id = campaign.create(vendor, NUMBERS)
            assert until(lambda: len(invites(log)) >= 80 or None, what="the first calls")
            running.kill()
            before = len(invites(log))
            running.start()
            assert until(lambda: campaign.finished(vendor, task_id), what="the task to finish")
            assert server.stop() == 0
    assert len(invites(log)) > before, "dialling went on by itself"
    assert dialled_twice(log) == []
    calls = campaign.calls(task_id)
    assert {call["callee"] for call in calls} == set(NUMBERS)
    assert all(call["outcome"] for call in calls), "none lost"
    seen = {entry.callee for entry in invites(log)}
    lost = [call for call in calls if call["outcome"] == "unknown"]
    assert lost, "the kill came while calls were in the air"
    assert all(call["callee"] in seen or call["outcome"] == "unknown" for call in calls)
