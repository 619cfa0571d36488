"""Killed with -9 in the middle of a round and started again: nobody is called twice in a task, nobody is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.campaign import Campaign, dialled_twice, invites
from e2e.processes import far_end, serving
from e2e.vendor import Vendor
from e2e.waiting import until
from tests.parts.asterisk_process import asterisk

#: Persons, keys, busy ones that answer later, and refusals.
ENDINGS = ("00", "01", "02", "03", "40", "45", "55", "60", "61", "62", "63", "80", "85", "90", "94", "96")
NUMBERS = [f"99000{group}{ending}" for group in range(4) for ending in ENDINGS]


ENVIRON = {"RINGBACK_MINUTE_SECONDS": "1", "RINGBACK_LOG_LEVEL": "warning"}

pytestmark = [pytest.mark.enable_socket, pytest.mark.sip, pytest.mark.crash]


def test_kill_in_the_middle_of_a_round(tmp_path: Path) -> None:
    kill_in_the_middle_of_a_round(tmp_path, ENVIRON)


def test_kill_in_the_middle_of_a_round_at_asterisk(tmp_path: Path) -> None:
    with asterisk() as running:
        environ = {**ENVIRON, **running.environ}
        campaign = kill_in_the_middle_of_a_round(tmp_path, environ)
        assert "0 active channels" in running.command("core show channels"), "nothing of the dead process lives on"
    hung_up = [call for call in campaign.all_calls if "the process that held the call died" in call["reason"]]
    assert hung_up, "calls that lived on at Asterisk were settled by asking it"


def kill_in_the_middle_of_a_round(folder: Path, environ: dict[str, str]) -> Story:
    log = folder / "farend.jsonl"
    campaign = Story(folder, environ)
    with far_end(folder, log) as carrier:
        campaign.furnish(carrier.line_with("far end listening on ").rpartition(":")[2], cps=20, channels=60)
        with serving(folder, environ) as first:
            vendor = campaign.vendor(first)
            flow = {"recallType": 1, "recallInterval": 1, "recallNum": 2}
            parent = campaign.create(vendor, NUMBERS, recallFlow=flow)
            key = vendor.flow_of(parent)
            # Into the first recall round: some of its calls have reached the carrier, others have not.
            in_round = until(lambda: _seen_in_later_tasks(log, parent) >= 8 or None, what="calls of the first round")
            assert in_round
            first.kill()
        seen_before = len(invites(log))
        with serving(folder, environ) as second:
            vendor = campaign.vendor(second)
            answer = until(lambda: _completed(vendor, key), what="the flow to complete")
            assert second.stop() == 0
    assert len(invites(log)) > seen_before, "the restarted server dialled on"
    assert dialled_twice(log) == []
    campaign.check(parent, answer, log)
    return campaign


class Story(Campaign):
    """Compares the carrier's log with the store, call by call."""

    all_calls: list[dict]

    def check(self, parent: int, answer: dict, log: Path) -> None:
        """Every round has the right numbers, and every call of it an outcome that the carrier's log bears out."""
        rounds = [parent, *(node["taskId"] for node in answer["data"]["nodeList"])]
        assert None not in rounds
        seen = {(entry.task, entry.callee) for entry in invites(log)}
        expected = set(NUMBERS)
        self.all_calls = []
        for task_id in rounds:
            calls = self.calls(task_id)
            assert {call["callee"] for call in calls} == expected, "the round's numbers are those it had to recall"
            assert all(call["outcome"] for call in calls), "every call has an outcome"
            for call in calls:
                # What the carrier never saw can only be a call held by the process that was killed.
                assert (str(task_id), call["callee"]) in seen or call["outcome"] == "unknown", call
            expected = {call["callee"] for call in calls if call["outcome"] not in ("answered", "voicemail")}
            self.all_calls += calls
        died = [call for call in self.all_calls if "held the call died" in call["reason"]]
        assert died, "the kill came while calls were in the air"


def _seen_in_later_tasks(log: Path, parent: int) -> int:
    return sum(entry.task != str(parent) for entry in invites(log))


def _completed(vendor: Vendor, flow: int) -> dict | None:
    answer = vendor.post("/voice/recallFlow/queryDetail", {"keyId": flow})
    return answer if answer["data"]["status"] == 2 else None
