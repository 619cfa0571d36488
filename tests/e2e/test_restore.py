"""A real server loses its hours: the database is put back, dials nobody, is settled, and nobody is dialled twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from e2e.campaign import Campaign, invites
from e2e.processes import Program, far_end, ringback, serving
from e2e.waiting import until

ENVIRON = {"RINGBACK_MINUTE_SECONDS": "1", "RINGBACK_LOG_LEVEL": "warning"}
SANDBOX = {**ENVIRON, "RINGBACK_TELEPHONY": "sandbox"}
#: Persons, keys, busy ones and refusals.
ENDINGS = ("00", "01", "40", "55", "60", "80", "85", "90", "94", "96")
NUMBERS = [f"9900{group:02}{ending}" for group in range(16) for ending in ENDINGS]


@pytest.mark.enable_socket
@pytest.mark.sip
@pytest.mark.crash
@pytest.mark.parametrize("copied", ["by ringback backup", "by cp"])
@pytest.mark.parametrize("put_back", ["over the file", "in its place"])
def test_a_restored_database_dials_nobody_a_second_time(tmp_path: Path, copied: str, put_back: str) -> None:
    log = tmp_path / "farend.jsonl"
    database = tmp_path / "ringback.db"
    copy = tmp_path / "elsewhere" / "copy.db"
    copy.parent.mkdir()
    campaign = Campaign(tmp_path, ENVIRON)
    with far_end(tmp_path, log) as carrier:
        campaign.furnish(carrier.line_with("far end listening on ").rpartition(":")[2], cps=10, channels=60)

        # The first life: the copy is made in the middle of the task, and the server dials on until it is lost.
        with serving(tmp_path, ENVIRON) as first:
            parent = campaign.create(campaign.vendor(first), NUMBERS)
            _until_dialled(log, 15)
            seen_before_copy = len(invites(log))
            if copied == "by cp":
                assert first.stop() == 0
                shutil.copy(database, copy)
            else:
                campaign.run("backup", str(copy))
                _until_dialled(log, len(invites(log)) + 20)
                first.kill()
        if copied == "by cp":
            with serving(tmp_path, ENVIRON) as first:
                _until_dialled(log, seen_before_copy + 20)
                first.kill()
        in_first_life = len(invites(log))
        lost = [entry.callee for entry in invites(log)[seen_before_copy:]]
        assert len(lost) >= 20

        # Put back. Without a word from the operator it never dials, however often it is started.
        for tail in ("-wal", "-shm"):
            Path(f"{database}{tail}").unlink(missing_ok=True)
        if put_back == "over the file":
            database.write_bytes(copy.read_bytes())
        else:
            shutil.copy(copy, tmp_path / "new.db")
            (tmp_path / "new.db").replace(database)
        for _ in range(2):
            with serving(tmp_path, ENVIRON) as held:
                vendor = campaign.vendor(held)
                said = held.line_with("ringback dials nobody: the database is held: ")
                # The dialler has looked, and waits.
                until(lambda: "nothing_is_dialled" in held.error_log.read_text() or None, what="the dialler to say so")
                _check_that_it_says_why(campaign, vendor._base_url, parent, said)
                refused = ringback("settle", "--all-dialled", folder=tmp_path, environ=ENVIRON)
                assert "already dials with this database; stop it first" in refused.stderr
                assert held.stop() == 0
            assert len(invites(log)) == in_first_life

        # Settled by the carrier's list, it goes on with the others.
        shown = campaign.run("settle")
        assert "queued numbers of 1 tasks" in shown
        assert "--dialled FILE" in shown
        listed = tmp_path / "cdr.csv"
        listed.write_text("start,callee\n" + "".join(f"2026-01-05,+{callee}\n" for callee in lost))
        assert "ended as unknown" in campaign.run("settle", "--dialled", str(listed))
        with serving(tmp_path, ENVIRON) as second:
            vendor = campaign.vendor(second)
            until(lambda: campaign.finished(vendor, parent), what="the task to finish")
            assert second.stop() == 0
    dialled = Counter((entry.task, entry.callee) for entry in invites(log))
    assert dialled == Counter((str(parent), callee) for callee in NUMBERS), "everybody once, over both lives"
    calls = {call["callee"]: call for call in campaign.calls(parent)}
    assert all(call["outcome"] for call in calls.values())
    unknown = {callee for callee, call in calls.items() if call["outcome"] == "unknown"}
    # The first of them may have ended before the copy was made: making it took a moment.
    assert set(lost[-10:]) <= unknown
    assert "restored copy of the database" in calls[lost[-1]]["reason"]
    assert calls[lost[-1]]["trunk"] is None


def _until_dialled(log: Path, count: int) -> None:
    until(lambda: len(invites(log)) >= count or None, what=f"{count} calls at the carrier")


def _check_that_it_says_why(campaign: Campaign, base_url: str, task_id: int, said: str) -> None:
    why = said.removeprefix("ringback dials nobody: ")
    assert why.endswith("(see `ringback settle`)")
    waiting = [call for call in campaign.calls(task_id) if call["state"] == "queued"]
    assert waiting
    assert {call["reason"] for call in waiting} == {why}
    assert why in campaign.run("task", "list")
    with urllib.request.urlopen(f"{base_url}/health/ready", timeout=60) as answer:
        assert (answer.status, answer.read().decode()) == (200, why)
    with urllib.request.urlopen(f"{base_url}/metrics", timeout=60) as answer:
        assert "ringback_held 1.0" in answer.read().decode().splitlines()


def _fails(folder: Path, *arguments: str, text: str) -> None:
    done = ringback(*arguments, folder=folder, environ=SANDBOX)
    assert done.returncode == 1
    assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_what_settle_refuses(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=1, channels=1)
    assert "nothing to settle" in campaign.run("settle")
    for way in ("--nothing-lost", "--all-dialled"):
        _fails(tmp_path, "settle", way, text="the database is not held")
    _fails(tmp_path, "settle", "--hold", "--nothing-lost", text="give one of")
    assert "it was held by hand" in campaign.run("settle", "--hold")
    assert "it was held before" in campaign.run("settle", "--hold")
    listed = tmp_path / "list"
    for content, text in (
        ("", "there is no number in it"),
        ("\n \n", "there is no number in it"),
        ("49301234567\n4930 1234\n\n+\n", "line 2: may hold digits only\n  line 4: may hold digits only"),
        ("caller,callee\n1,49301234567\n2\n", "line 3: no number"),
        ("1,49301234567\n", "line 1: several columns need a first line that names one of them callee"),
        ("49301234567\n", "not one of these numbers may have been dialled"),
    ):
        listed.write_text(content)
        _fails(tmp_path, "settle", "--dialled", "list", text=text)
    listed.write_bytes(b"\xff\xfe")
    _fails(tmp_path, "settle", "--dialled", "list", text="codec can't decode")
    _fails(tmp_path, "settle", "--dialled", "nowhere", text="No such file")
    _fails(tmp_path, "run", "nowhere.yaml", text="No such file")
    assert "goes on where it stopped" in campaign.run("settle", "--nothing-lost")


def test_a_campaign_from_a_file_says_at_once_that_nothing_is_dialled(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=1, channels=1)
    (tmp_path / "numbers.csv").write_text("49301234500\n")
    (tmp_path / "c.yaml").write_text("name: c\nnumbers: numbers.csv\ntemplate: t.yaml\n")
    campaign.run("settle", "--hold")
    done = ringback("run", "c.yaml", folder=tmp_path, environ={**SANDBOX, "RINGBACK_LISTEN": "127.0.0.1:0"})
    assert (done.returncode, done.stderr.count("the database is held: it was held by hand")) == (1, 2), done.stderr


@pytest.mark.enable_socket
def test_holding_by_hand_stops_a_running_server(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, {**SANDBOX, "RINGBACK_IDLE_POLL_SECONDS": "0.1"})
    campaign.furnish("5060", cps=1, channels=1)
    with serving(tmp_path, campaign.environ) as server:
        vendor = campaign.vendor(server)
        task_id = campaign.create(vendor, [f"99000{number:03}00" for number in range(500)])
        until(lambda: _called(campaign, task_id) >= 5 or None, what="the first calls")
        campaign.run("settle", "--hold")
        held_at = _called(campaign, task_id)
        until(lambda: "nothing_is_dialled" in server.error_log.read_text() or None, what="the dialler to notice")
        assert _called(campaign, task_id) == held_at < 500
        assert server.stop() == 0
    assert _called(campaign, task_id) == held_at


def _called(campaign: Campaign, task_id: int) -> int:
    return sum(call["state"] != "queued" for call in campaign.calls(task_id))


@pytest.mark.enable_socket
def test_a_backup_while_the_server_runs(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=1, channels=1)
    with serving(tmp_path, SANDBOX) as server:
        vendor = campaign.vendor(server)
        task_id = campaign.create(vendor, [f"99000{number:03}00" for number in range(200)])
        assert "bytes, checked" in campaign.run("backup", "copy.db")
        _fails(tmp_path, "backup", "copy.db", text="exists already; a backup overwrites nothing")
        until(lambda: campaign.finished(vendor, task_id), what="the task to finish")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT total FROM task").fetchall() == [(200,)]
    there = {**SANDBOX, "RINGBACK_DATABASE_URL": f"sqlite:///{tmp_path}/copy.db"}
    calls = ringback("calls", str(task_id), "--json", folder=tmp_path, environ=there).stdout.splitlines()
    reasons = {call["reason"] for call in map(json.loads, calls) if call["state"] == "queued"}
    assert all("it is a backup" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite://", "a database in memory cannot be backed up"),
        ("sqlite:///nowhere.db", "there is no database file nowhere.db"),
        ("postgresql://ringback@127.0.0.1/ringback", "PostgreSQL is backed up with pg_dump or pg_basebackup"),
    ],
)
def test_what_cannot_be_backed_up(tmp_path: Path, url: str, text: str) -> None:
    done = ringback("backup", "copy.db", folder=tmp_path, environ={"RINGBACK_DATABASE_URL": url})
    assert done.returncode == 1
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_witness_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=1, channels=1)
    (tmp_path / ".ringback").write_text("no folder")
    with Program(["-m", "ringback.cli", "serve", "--role", "dialler"], folder=tmp_path, environ=SANDBOX) as server:
        assert server.process is not None
        assert server.process.wait(60) == 1
        assert "error: state: the witness of the database cannot be written" in server.error_log.read_text()
