"""Killed with -9 in the middle of a round and started again: nobody is called twice in a task, nobody is lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from e2e.processes import Program, far_end, ringback, serving
from e2e.vendor import Vendor
from e2e.waiting import until
from ringback.farend.log import Invited, read_log

#: Persons, keys, busy ones that answer later, and refusals.
ENDINGS = ("00", "01", "02", "03", "40", "45", "55", "60", "61", "62", "63", "80", "85", "90", "94", "96")
NUMBERS = [f"99000{group}{ending}" for group in range(4) for ending in ENDINGS]


@pytest.mark.enable_socket
@pytest.mark.sip
@pytest.mark.crash
def test_kill_in_the_middle_of_a_round(tmp_path: Path) -> None:
    log = tmp_path / "farend.jsonl"
    environ = {"RINGBACK_MINUTE_SECONDS": "1", "RINGBACK_LOG_LEVEL": "warning"}
    with far_end(tmp_path, log) as carrier:
        port = carrier.line_with("far end listening on ").rpartition(":")[2]
        template_id = _furnish(tmp_path, port, environ)
        with serving(tmp_path, environ) as first:
            vendor = _vendor(first)
            created = vendor.post("/voice/group/call/send/agent", _request(template_id))
            assert created["code"] == 0, created
            parent = created["data"]
            flow = vendor.flow_of(parent)
            # Into the first recall round: some of its calls have reached the carrier, others have not.
            in_round = until(lambda: _seen_in_later_tasks(log, parent) >= 8 or None, what="calls of the first round")
            assert in_round
            first.kill()
        seen_before = _invites(log)
        with serving(tmp_path, environ) as second:
            vendor = _vendor(second)
            answer = until(lambda: _completed(vendor, flow), what="the flow to complete")
            assert second.stop() == 0
    invites = _invites(log)
    assert len(invites) > len(seen_before), "the restarted server dialled on"
    _check(tmp_path, environ, parent, answer, invites)


def _check(folder: Path, environ: dict[str, str], parent: int, answer: dict, invites: list[Invited]) -> None:
    """Compare the carrier's log with the store, call by call."""
    rounds = [parent, *(node["taskId"] for node in answer["data"]["nodeList"])]
    assert None not in rounds
    seen = Counter((entry.task, entry.callee) for entry in invites)
    assert [pair for pair, count in seen.items() if count > 1] == [], "dialled twice within one task"
    expected = set(NUMBERS)
    unknown = 0
    for task_id in rounds:
        calls = _calls(folder, environ, task_id)
        assert {call["callee"] for call in calls} == expected, "the round's numbers are those it had to recall"
        assert all(call["outcome"] for call in calls), "every call has an outcome"
        for call in calls:
            reached = (str(task_id), call["callee"]) in seen
            # What the carrier saw is stored; what it never saw can only be a call held by the process that was killed.
            assert reached or call["outcome"] == "unknown", call
            unknown += call["outcome"] == "unknown"
        expected = {call["callee"] for call in calls if call["outcome"] not in ("answered", "voicemail")}
    assert unknown > 0, "the kill came while calls were in the air"


def _furnish(folder: Path, port: str, environ: dict[str, str]) -> int:
    template = folder / "t.yaml"
    template.write_text('name: t\nsteps:\n  - gather: {say: "Press one.", timeout: 1}\n  - tag: "100"\n')
    for arguments in (
        ("account", "create", "me", "--api-key", "key1", "--api-secret", "secret1"),
        ("trunk", "add", "out", "--to", f"127.0.0.1:{port}", "--cps", "20", "--channels", "60"),
    ):
        done = ringback(*arguments, folder=folder, environ=environ)
        assert done.returncode == 0, done.stderr
    added = ringback("template", "add", str(template), folder=folder, environ=environ)
    assert added.returncode == 0, added.stderr
    return int(added.stdout.splitlines()[-1])


def _request(template_id: int) -> dict:
    return {
        "appId": "default",
        "taskName": "crash",
        "agentId": template_id,
        "maxRingingTime": 20,
        "numberInfoList": [{"calleeNumber": number} for number in NUMBERS],
        "recallFlow": {"recallType": 1, "recallInterval": 1, "recallNum": 2},
    }


def _vendor(server: Program) -> Vendor:
    return Vendor(server.line_with("ringback listening on ").split()[-1], "key1", "secret1")


def _invites(log: Path) -> list[Invited]:
    return [entry for entry in read_log(log) if isinstance(entry, Invited)]


def _seen_in_later_tasks(log: Path, parent: int) -> int:
    return sum(entry.task != str(parent) for entry in _invites(log))


def _completed(vendor: Vendor, flow: int) -> dict | None:
    answer = vendor.post("/voice/recallFlow/queryDetail", {"keyId": flow})
    return answer if answer["data"]["status"] == 2 else None


def _calls(folder: Path, environ: dict[str, str], task_id: int) -> list[dict]:
    shown = ringback("calls", str(task_id), "--json", folder=folder, environ=environ)
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]
