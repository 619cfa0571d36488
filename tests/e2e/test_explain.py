"""`ringback explain` against a server in the sandbox: a flow from its first call to its last round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.campaign import Campaign
from e2e.processes import ringback, serving
from e2e.waiting import until

SANDBOX = {"RINGBACK_TELEPHONY": "sandbox", "RINGBACK_MINUTE_SECONDS": "1", "RINGBACK_LOG_LEVEL": "warning"}
BUSY, PERSON, BUSY_ONCE = "4930123460", "4930123400", "4930123461"


@pytest.mark.enable_socket
def test_the_whole_chain_is_told(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    with serving(tmp_path, SANDBOX) as server:
        vendor = campaign.vendor_of_new_account(server)
        flow = {"recallType": 1, "recallInterval": 1, "recallNum": 2}
        task_id = campaign.create(vendor, [BUSY, PERSON, BUSY_ONCE], recallFlow=flow)

        def told(number: str) -> list[dict[str, object]]:
            found = json.loads(campaign.run("explain", str(task_id), number, "--json"))
            assert (found["callee"], found["task_id"], found["job_id"]) == (number.removeprefix("+"), task_id, None)
            rounds: list[dict[str, object]] = found["rounds"]
            return rounds

        until(lambda: told(BUSY)[2]["node_state"] == "completed" or None, what="the end of the flow")
        busy, person, once = told(BUSY), told(f"+{PERSON}"), told(BUSY_ONCE)
        assert [one["rule"] for one in busy] == ["parent_list", "failed", "failed"]
        assert [one["qualified"] for one in busy] == [True, True, True]
        assert [one["rule"] for one in person] == ["parent_list", "not_failed", "not_in_previous_round"]
        assert [one["rule"] for one in once] == ["parent_list", "failed", "not_failed"]
        first = busy[0]["call"]
        assert isinstance(first, dict)
        assert (first["outcome"], first["sip_code"], first["trunk"]) == ("busy", 486, "sandbox")
        assert str(first["started_at"]).endswith("Z")
        text = campaign.run("explain", str(task_id), BUSY_ONCE)
        assert text.splitlines()[0] == f"{BUSY_ONCE} of task {task_id}, recall flow 1"
        assert "not in this round (not_failed): the call of round 1 was answered, which is not failed" in text
        stranger = ringback("explain", str(task_id), "4930999999", folder=tmp_path, environ=SANDBOX)
        assert stranger.returncode == 1
        assert stranger.stderr.strip() == f"error: task {task_id} does not have the number 4930999999"
