"""A carrier dies in the middle of a task: few calls are spent, the rest wait, and when it is back all are dialled."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from e2e.campaign import Campaign, dialled_twice, invites
from e2e.processes import far_end, serving
from e2e.waiting import until
from ringback.model.breaker import MOST_UNANSWERED
from tests.parts.asterisk_process import asterisk

CPS = 200
#: What a dead trunk may cost: a good deal less than a second's worth of calls.
MOST_SPENT = CPS // 2

pytestmark = [pytest.mark.enable_socket, pytest.mark.crash]


@pytest.mark.parametrize(
    ("engine", "count"), [("asterisk", 5_000), pytest.param("sip", 1_000, marks=pytest.mark.sip)], ids=str
)
def test_a_carrier_that_dies_and_comes_back(tmp_path: Path, engine: str, count: int) -> None:
    # Mostly busy; one in twenty answers and hangs up at once.
    numbers = [f"99{number:06}{'60' if number % 20 else '55'}" for number in range(count)]
    log = tmp_path / "farend.jsonl"
    with contextlib.ExitStack() as stack:
        environ = {"RINGBACK_LOG_LEVEL": "warning", "RINGBACK_NO_REPLY_SECONDS": "2"}
        running = stack.enter_context(asterisk()) if engine == "asterisk" else None
        campaign = Campaign(tmp_path, {**environ, **(running.environ if running else {})})
        carrier = stack.enter_context(far_end(tmp_path, log))
        port = carrier.line_with("far end listening on ").rpartition(":")[2]
        campaign.furnish(port, cps=CPS, channels=400, template="name: t\nsteps:\n  - hangup\n")
        server = stack.enter_context(serving(tmp_path, campaign.environ))
        vendor = campaign.vendor(server)
        task_id = campaign.create(vendor, numbers)
        assert until(lambda: len(invites(log)) >= count * 0.3 or None, what="the first part of the task")
        carrier.kill()
        shut = until(lambda: _shut(campaign), what="the breaker to open")
        assert shut["reason"].startswith("no response to")
        shut_at = shut["open_since"]
        left = _queued(campaign, task_id)
        assert left > count * 0.4, "the rest of the list waits"
        assert until(lambda: _waits_for(campaign, task_id, "trunk out is shut"), what="the reason on waiting calls")
        assert until(lambda: _probing(campaign), what="a probe, in vain")
        # A slow machine may look at the second or third probe only.
        assert _queued(campaign, task_id) >= left - 3, "nothing but probes has left"
        stack.enter_context(far_end(tmp_path, log, port)).line_with("far end listening on ")
        assert until(lambda: campaign.finished(vendor, task_id), what="the task to finish", seconds=240)
        assert server.stop() == 0
    trunk = _trunk(campaign)
    assert (trunk["open"], trunk["openings"]) == (False, 1)
    assert dialled_twice(log) == []
    calls = campaign.calls(task_id)
    assert {call["callee"] for call in calls} == set(numbers)
    failed = [call for call in calls if call["outcome"] == "failed"]
    spent = {call["callee"] for call in failed}
    assert 0 < len(spent) < MOST_SPENT
    # How many had no end yet when it died depends on how fast it was; how many left after its last end does not.
    last_end = max(call["ended_at"] for call in calls if call["outcome"] == "busy" and call["ended_at"] < shut_at)
    after = [call for call in failed if call["started_at"] > last_end]
    assert len(after) <= MOST_UNANSWERED + 3, "those without a response, and the probes"
    seen = {entry.callee for entry in invites(log)}
    assert all(call["callee"] in seen for call in calls if call["outcome"] not in ("failed", "unknown"))
    crashed = running is not None and running.crashes
    lost = [call for call in calls if call["outcome"] == "unknown"]
    assert not lost or crashed, "none lost, unless Asterisk itself died"
    # The carrier takes busy numbers for busy and answers the others, before and after.
    known = [call for call in calls if call["callee"] not in spent and not (crashed and call["outcome"] == "unknown")]
    kinds = {(call["callee"][-2:], call["outcome"]) for call in known}
    assert kinds <= {("60", "busy"), ("55", "answered"), ("55", "no_answer"), ("55", "unreachable")}


def _trunk(campaign: Campaign) -> dict:
    (line,) = campaign.run("trunk", "list", "--json").splitlines()
    found: dict = json.loads(line)
    return found


def _shut(campaign: Campaign) -> dict | None:
    found = _trunk(campaign)
    return found if found["open"] else None


def _probing(campaign: Campaign) -> bool | None:
    return _trunk(campaign)["probing"] or None


def _queued(campaign: Campaign, task_id: int) -> int:
    return sum(call["state"] == "queued" for call in campaign.calls(task_id))


def _waits_for(campaign: Campaign, task_id: int, reason: str) -> bool | None:
    waiting = [call["reason"] for call in campaign.calls(task_id) if call["state"] == "queued"]
    return (bool(waiting) and all(one.startswith(reason) for one in waiting)) or None
