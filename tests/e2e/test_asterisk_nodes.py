"""Asterisks as an operator sees and steers them: drained, restarted and undrained under a task, or all away."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest

from e2e.campaign import Campaign, dialled_twice, invites
from e2e.processes import far_end, ringback, serving
from e2e.waiting import until
from tests.parts.asterisk_process import AsteriskProcess, asterisk, free_port

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
PRINTED_NODE = "pbx1:8088"
#: Short calls: persons who listen or press, busy ones, refusals.
ENDINGS = ("00", "40", "10", "60", "45", "80", "20", "85")
NUMBERS = [f"99000{group:03}{ending}" for group in range(100) for ending in ENDINGS]


def recipe() -> list[list[str]]:
    """The README's commands that restart an Asterisk without losing a call."""
    blocks = re.findall(r"^```console\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "systemctl restart asterisk" in block]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in block.splitlines()]


def nodes(campaign: Campaign) -> dict[str, dict[str, Any]]:
    listed = [json.loads(line) for line in campaign.run("asterisk", "nodes", "--json").splitlines()]
    return {one["name"]: one for one in listed}


def name_of(process: AsteriskProcess) -> str:
    return process.address.rpartition("@")[2]


@pytest.mark.enable_socket
def test_an_asterisk_is_restarted_under_a_task_and_no_call_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "farend.jsonl"
    with far_end(tmp_path, log) as carrier, asterisk() as first, asterisk() as second:
        settings = {**first.environ, "RINGBACK_ASTERISK": f"{first.address},{second.address}"}
        campaign = Campaign(tmp_path, {"RINGBACK_LOG_LEVEL": "warning", **settings})
        campaign.furnish(carrier.line_with("far end listening on ").rpartition(":")[2], cps=10, channels=200)
        one, other = name_of(first), name_of(second)

        def states() -> tuple[str, str]:
            listed = nodes(campaign)
            return listed[one]["state"], listed[other]["state"]

        with serving(tmp_path, campaign.environ) as server:
            vendor = campaign.vendor(server)
            task_id = campaign.create(vendor, NUMBERS)
            assert until(lambda: len(invites(log)) >= 60 or None, what="the first calls")
            assert until(lambda: nodes(campaign)[one]["live_calls"] or None, what="calls at the first")
            done = []
            before: dict[str, dict[str, Any]] = {}
            for program, *arguments in recipe():
                here = [one if word == PRINTED_NODE else word for word in arguments]
                if program == "ringback":
                    said = campaign.run(*here)
                    assert "no dialler runs" not in said
                if here[:2] == ["asterisk", "drain"]:
                    assert f"{one} takes no new calls" in said
                    before = nodes(campaign)
                    assert before[one]["draining"]
                elif here == ["asterisk", "nodes"]:
                    assert until(lambda: states() == ("drained", "well") or None, what="its last call to end")
                    assert re.search(rf"{re.escape(one)}\W+drained", campaign.run(*here))
                    after = nodes(campaign)
                    assert after[one]["placed"] == before[one]["placed"], "no call since the command returned"
                    assert after[other]["placed"] > before[other]["placed"], "the task goes on"
                elif "restart" in here:
                    first.stop()
                    assert until(lambda: nodes(campaign)[one]["reason"] or None, what="the dialler to miss it")
                    assert states() == ("drained", "well")
                    first.start()
                done.append(here[-2:])
            assert done[-1] == ["undrain", one]
            grown = before[one]["placed"]
            assert until(lambda: nodes(campaign)[one]["placed"] > grown or None, what="calls at the first again")
            assert not campaign.finished(vendor, task_id), "all of it happened under the task"
            campaign.run("trunk", "set", "out", "--cps", "50")
            assert until(lambda: campaign.finished(vendor, task_id), what="the task to finish")
            assert states() == ("well", "well")
            assert server.stop() == 0
    assert dialled_twice(log) == []
    assert {entry.callee for entry in invites(log)} == set(NUMBERS)
    calls = campaign.calls(task_id)
    assert {call["callee"] for call in calls} == set(NUMBERS)
    assert {call["outcome"] for call in calls} == {"answered", "busy", "rejected", "unreachable"}, "none unknown"
    persons = [call for call in calls if call["callee"][-2:] in ("00", "10", "20", "40", "45")]
    assert {call["outcome"] for call in persons} == {"answered"}
    assert {call["hung_up_by"] for call in persons} == {"ringback"}, "each conversation came to its own end"


@pytest.mark.enable_socket
def test_when_every_asterisk_is_away_the_task_says_so(tmp_path: Path) -> None:
    name = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    settings = {"RINGBACK_TELEPHONY": "asterisk", "RINGBACK_ASTERISK": f"http://ringback:secret@{name}"}
    campaign = Campaign(tmp_path, {"RINGBACK_LOG_LEVEL": "error", **settings})
    campaign.furnish(5060, cps=15, channels=80)
    done = ringback("asterisk", "drain", name, folder=tmp_path, environ=campaign.environ)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "a dialler on Asterisk must have run first" in done.stderr
    why = f"no Asterisk is well: {name}: connection refused"
    with serving(tmp_path, campaign.environ) as server:
        vendor = campaign.vendor(server)
        flow = {"recallType": 1, "recallInterval": 1, "recallNum": 1}
        task_id = campaign.create(vendor, NUMBERS[:3], recallFlow=flow)
        assert until(lambda: {call["reason"] for call in campaign.calls(task_id)} == {why} or None, what="the reason")
        assert why in campaign.run("task", "list")
        assert json.loads(campaign.run("flow", "1", "--json"))["reason"] == why
        assert nodes(campaign)[name]["state"] == "trouble"
        assert nodes(campaign)[name]["reason"] == "connection refused"
        done = ringback("asterisk", "drain", "pbx:1", folder=tmp_path, environ=campaign.environ)
        assert f"there is no node 'pbx:1'; there are {name}" in done.stderr
        assert f"{name} takes no new calls and is drained" in campaign.run("asterisk", "drain", name)
        assert nodes(campaign)[name]["state"] == "drained"
        said = campaign.run("asterisk", "undrain", name)
        assert said == f"{name} takes calls when it is well again: connection refused\n"
        assert server.stop() == 0
    assert campaign.run("asterisk", "drain", name) == f"no dialler runs; from its start on, {name} takes no new calls\n"
    assert nodes(campaign)[name]["state"] == "unknown"
    assert {call["reason"] for call in campaign.calls(task_id)} == {"no dialler runs"}
