"""The commands of docs/operating.md, run as printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.campaign import Campaign
from e2e.processes import serving
from e2e.waiting import until

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "operating.md").read_text()
SANDBOX = {"RINGBACK_TELEPHONY": "sandbox", "RINGBACK_LOG_LEVEL": "warning"}
NUMBERS = [f"99000{number:04}00" for number in range(600)]


def blocks(heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def shell(folder: Path, script: str) -> str:
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(folder),
            **SANDBOX,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.enable_socket
def test_commands_of_the_page(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=1, channels=1)
    (backup,) = blocks("Backup")
    restore, hold = blocks("Restore")
    show, *ways = blocks("Settle")
    (move,) = blocks("Moving the database")
    (why,) = blocks("Why a number was not dialled")
    with serving(tmp_path, SANDBOX) as server:
        task_id = campaign.create(campaign.vendor(server), NUMBERS)
        until(lambda: _states(campaign, task_id).count("ended") >= 20 or None, what="the first calls")
        told = shell(tmp_path, why.replace("explain 1 9900000000", f"explain {task_id} {NUMBERS[0]}"))
        as_json, _, for_people = told.partition("\n")
        assert json.loads(as_json)["rounds"][0]["rule"] == "parent_list"
        assert "in this round (parent_list): it is in the list of the task" in for_people
        assert "bytes, checked" in shell(tmp_path, backup)
        assert "it was held by hand" in shell(tmp_path, hold)
        server.kill()
    (tmp_path / "dialled.csv").write_text(f"callee\n{NUMBERS[-1]}\n")
    assert len(ways) == 3
    ended = []
    for way in ways:
        # Each of the three after a restore of its own.
        shell(tmp_path, restore)
        said = shell(tmp_path, show)
        assert "the database is held: it is a backup that was made at" in said
        assert all(command in said or "FILE" in said for command in way.splitlines())
        shell(tmp_path, way)
        assert "not held" in shell(tmp_path, show)
        ended.append(_states(campaign, task_id).count("queued"))
    by_list, by_all, by_none = ended
    assert (by_list, by_all) == (by_none - 1, 0)
    there = tmp_path / "there"
    there.mkdir()
    shell(tmp_path, f"ringback backup {there}/ringback.db")
    assert "goes on where it stopped" in shell(there, move)
    assert _states(Campaign(there, SANDBOX), task_id).count("queued") == by_none


def test_prices_and_balances_as_printed(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.run("account", "create", "acme")
    campaign.run("trunk", "add", "carrier", "--to", "127.0.0.1:5060")
    (commands,) = blocks("Prices and balances")
    said = shell(tmp_path, commands)
    assert "trunk carrier  0.023625 a minute, 20+20" in said
    assert said.endswith("35 EUR\n")


def _states(campaign: Campaign, task_id: int) -> list[str]:
    return [call["state"] for call in campaign.calls(task_id)]


def test_every_command_of_the_page_is_a_command() -> None:
    for line in re.findall(r"`(ringback [^`]*)`", PAGE):
        assert line.split()[1] in {"backup", "settle", "serve", "calls", "task", "balance", "account"}, line
    assert "ringback_held" in (ROOT / "src" / "ringback" / "api" / "metrics.py").read_text()
    assert json.dumps(".ringback") in (ROOT / "src" / "ringback" / "settings.py").read_text()
