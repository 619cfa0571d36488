"""The `ringback` command: what it prints, and one clear line for everything that is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.processes import Program, ringback, serving
from e2e.vendor import Vendor
from e2e.waiting import until

SANDBOX = {"RINGBACK_TELEPHONY": "sandbox", "RINGBACK_MINUTE_SECONDS": "1", "RINGBACK_LOG_LEVEL": "warning"}


def _fails(folder: Path, *arguments: str, text: str, environ: dict[str, str] | None = None) -> None:
    done = ringback(*arguments, folder=folder, environ=environ)
    assert done.returncode != 0
    assert text in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) < 12, done.stderr


def _template(folder: Path) -> Path:
    path = folder / "t.yaml"
    path.write_text("name: t\nsteps:\n  - say: Hello ${text1}\n")
    return path


def test_account_trunk_template(tmp_path: Path) -> None:
    created = ringback("account", "create", "acme", "--time-zone", "Asia/Shanghai", folder=tmp_path)
    assert created.returncode == 0, created.stderr
    assert "api secret" in created.stdout
    listed = ringback("account", "list", folder=tmp_path).stdout
    secret = created.stdout.partition("api secret")[2].split()[0]
    assert "Asia/Shanghai" in listed
    assert secret not in listed
    assert ringback("account", "set", "acme", "--allow-ip", "10.0.0.0/8", folder=tmp_path).returncode == 0
    assert "10.0.0.0/8" in ringback("account", "list", folder=tmp_path).stdout
    added = ringback("trunk", "add", "c", "--to", "127.0.0.1:5060", "--cps", "2.5", folder=tmp_path)
    assert added.returncode == 0, added.stderr
    assert "2.5 calls/s" in ringback("trunk", "list", folder=tmp_path).stdout
    assert ringback("trunk", "remove", "c", folder=tmp_path).returncode == 0
    template = ringback("template", "add", str(_template(tmp_path)), folder=tmp_path)
    assert template.stdout.splitlines()[-1] == "1"
    assert ringback("template", "check", str(_template(tmp_path)), folder=tmp_path).returncode == 0
    silent = tmp_path / "silent.yaml"
    silent.write_text("language: tlh\nsteps:\n  - say: nuqneH\n")
    for command in ("add", "check"):
        _fails(tmp_path, "template", command, str(silent), text="language: espeak-ng has no voice for 'tlh' here")
    assert "silent" not in ringback("template", "list", folder=tmp_path).stdout
    assert ringback("template", "retire", "1", folder=tmp_path).returncode == 0
    assert "(retired)" in ringback("template", "list", folder=tmp_path).stdout


def test_a_shut_trunk_is_explained_and_can_be_reset(tmp_path: Path) -> None:
    ringback("trunk", "add", "c", "--to", "127.0.0.1:5060", folder=tmp_path)

    def listed() -> dict[str, object]:
        (line,) = ringback("trunk", "list", "--json", folder=tmp_path).stdout.splitlines()
        found: dict[str, object] = json.loads(line)
        return found

    found = listed()
    assert found == found | {
        "name": "c",
        "engine": "sip",
        "host": "127.0.0.1",
        "port": 5060,
        "calls_per_second": 5.0,
        "channels": 30,
        "busy": 0,
        "open": False,
        "open_since": None,
        "reason": None,
        "next_try_at": None,
        "probing": False,
        "openings": 0,
    }
    for command in (("trunk", "reset", "c"), ("trunk", "set", "c", "--to", "127.0.0.1:5070")):
        with contextlib.closing(sqlite3.connect(tmp_path / "ringback.db")) as database, database:
            database.execute(
                "UPDATE breaker SET strikes = 10, failures = 5, cause = 'no response', opened_at = 1767600000000,"
                " retry_at = 1767600010000, tries = 1, openings = openings + 1"
            )
        text = ringback("trunk", "list", folder=tmp_path).stdout
        assert "open since 2026-01-05T08:00:00.000Z: no response to 5 calls in a row, next try " in text
        assert listed()["open_since"] == "2026-01-05T08:00:00.000Z"
        done = ringback(*command, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert listed()["open"] is False
    assert listed()["openings"] == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("trunk", "reset", "t"), "there is no trunk 't'"),
        (("account", "create", "a", "--time-zone", "Mars/Olympus"), "--time-zone"),
        (("account", "create", "a", "--envelope", "purple"), "--envelope"),
        (("account", "create", "a", "--allow-ip", "300.1.1.1"), "--allow-ip"),
        (("account", "create", "a", "--api-key", "x y z w"), "--api-key"),
        (("account", "set", "nobody"), "there is no account"),
        (("trunk", "add", "t", "--to", "nowhere"), "--to must be HOST:PORT"),
        (("trunk", "add", "t", "--to", "h;x:5060"), "--to"),
        (("trunk", "add", "t", "--to", "h:5060", "--cps", "0"), "--cps"),
        (("trunk", "add", "t", "--to", "h:5060", "--channels", "0"), "--channels"),
        (("trunk", "add", "t", "--to", "h:5060", "--user", "a>\r\nX: y"), "--user"),
        (("trunk", "remove", "t"), "there is no trunk"),
        (("template", "add", "missing.yaml"), "missing.yaml"),
        (("template", "retire", "7"), "there is no template 7"),
        (("task", "pause", "7"), "there is no task 7"),
        (("explain", "7", "4930123460"), "there is no task 7"),
        (("explain", "7", "x"), "NUMBER may hold digits only"),
        (("task", "cancel", "7"), "there is no task 7"),
        (("calls", "7"), "there is no task 7"),
        (("flow", "7"), "there is no recall flow 7"),
        (("serve", "--listen", "nowhere"), "listen"),
        (("serve", "--role", "postman"), "postman"),
        (("run", "missing.yaml"), "missing.yaml"),
        (("farend", "--listen", "nowhere"), "HOST:PORT"),
    ],
)
def test_wrong_words_get_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    _fails(tmp_path, *arguments, text=text)


def test_names_are_unique(tmp_path: Path) -> None:
    for arguments in (("account", "create", "a"), ("trunk", "add", "a", "--to", "127.0.0.1:5060")):
        assert ringback(*arguments, folder=tmp_path).returncode == 0
        _fails(tmp_path, *arguments, text="exists already")


def test_settings_that_are_wrong_are_named(tmp_path: Path) -> None:
    _fails(tmp_path, "task", "list", text="RINGBACK_COLOUR", environ={"RINGBACK_COLOUR": "blue"})
    _fails(tmp_path, "task", "list", text="RINGBACK_TELEPHONY", environ={"RINGBACK_TELEPHONY": "pigeon"})
    (tmp_path / "ringback.toml").write_text("minute_seconds = -1\n")
    _fails(tmp_path, "task", "list", text="minute_seconds")
    (tmp_path / "ringback.toml").write_text("minute_seconds = \n")
    _fails(tmp_path, "task", "list", text="ringback.toml")


def test_database_that_cannot_be_used(tmp_path: Path) -> None:
    def url(name: str) -> dict[str, str]:
        return {"RINGBACK_DATABASE_URL": f"sqlite:///{tmp_path}/{name}"}

    (tmp_path / "text.db").write_text("this is no database, whatever its name may be" * 100)
    _fails(tmp_path, "task", "list", text="not a Ringback database", environ=url("text.db"))
    _fails(tmp_path, "task", "list", text="folder", environ=url("missing/x.db"))
    (tmp_path / "folder.db").mkdir()
    _fails(tmp_path, "task", "list", text="cannot be opened", environ=url("folder.db"))
    assert ringback("task", "list", folder=tmp_path, environ=url("new.db")).returncode == 0
    with sqlite3.connect(tmp_path / "new.db") as changed:
        changed.execute("UPDATE alembic_version SET version_num = '9999'")
    changed.close()
    _fails(tmp_path, "task", "list", text="upgrade", environ=url("new.db"))
    assert ringback("task", "list", folder=tmp_path, environ=url("held.db")).returncode == 0
    holder = sqlite3.connect(tmp_path / "held.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    _fails(tmp_path, "account", "create", "a", text="locked", environ=url("held.db"))
    holder.close()
    _fails(tmp_path, "task", "list", text="not supported", environ={"RINGBACK_DATABASE_URL": "mysql://h/x"})


@pytest.mark.enable_socket
def test_serve_says_when_the_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        _fails(tmp_path, "serve", "--listen", address, text="in use", environ=SANDBOX)


@pytest.mark.enable_socket
def test_two_diallers_on_one_database_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, SANDBOX) as first:
        first.line_with("ringback ready")
        _fails(tmp_path, "serve", "--listen", "127.0.0.1:0", text="already dials", environ=SANDBOX)
        assert first.stop() == 0


@pytest.mark.enable_socket
def test_server_outlives_the_reader_of_its_log(tmp_path: Path) -> None:
    """A closed standard error (a pipe whose reader ended) loses log lines and nothing else."""
    reader, writer = os.pipe()
    environ = {**os.environ, **SANDBOX, "RINGBACK_LISTEN": "127.0.0.1:0", "RINGBACK_LOG_LEVEL": "debug"}
    server = subprocess.Popen(
        [sys.executable, "-m", "ringback.cli", "serve"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    try:
        os.close(writer)
        assert server.stdout is not None
        assert any(line.startswith("ringback ready") for line in server.stdout)
        os.close(reader)
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


@pytest.mark.enable_socket
def test_asterisk_is_not_in_this_version(tmp_path: Path) -> None:
    _fails(
        tmp_path, "serve", text="asterisk", environ={"RINGBACK_TELEPHONY": "asterisk", "RINGBACK_LISTEN": "127.0.0.1:0"}
    )


@pytest.mark.enable_socket
def test_run_on_an_own_server(tmp_path: Path) -> None:
    """Bad lines are listed and stop nothing else; the exit code says that the flow completed."""
    assert ringback("account", "create", "me", folder=tmp_path, environ=SANDBOX).returncode == 0
    _template(tmp_path)
    (tmp_path / "n.csv").write_text(
        "number,text1\n4930123400,Ada\nnonsense,Bad\n4930123485,Grace\n4930123400,Again\n\n12,Short\n4930123461,Barbara\n"
    )
    (tmp_path / "c.yaml").write_text(
        "name: camp\nnumbers: n.csv\ntemplate: t.yaml\nring_seconds: 20\n"
        "recall: {rounds: 2, interval_minutes: 1, who: failed}\n"
    )
    done = ringback("run", "c.yaml", folder=tmp_path, environ=SANDBOX, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("n.csv")] == [
        "n.csv, line 3",
        "n.csv, line 5",
        "n.csv, line 7",
    ]
    assert "flow completed" in done.stdout
    flow = json.loads(ringback("flow", "1", "--json", folder=tmp_path, environ=SANDBOX).stdout)
    assert [node["qualified"] for node in flow["nodes"]] == [2, 1]
    assert flow["nodes"][0]["skipped"] == {"answered": 1}
    assert flow["nodes"][0]["ended"] == {"answered": 1, "unreachable": 1}
    calls = [
        json.loads(line)
        for line in ringback("calls", "1", "--json", folder=tmp_path, environ=SANDBOX).stdout.splitlines()
    ]
    assert list(calls[0])[:13] == [
        *("callee", "outcome", "sip_code", "q850_cause", "ring_ms", "talk_ms", "hung_up_by", "keys", "intent"),
        *("trunk", "started_at", "ended_at", "reason"),
    ]
    assert {call["recording"] for call in calls} == {None}
    assert {call["callee"]: call["outcome"] for call in calls} == {
        "4930123400": "answered",
        "4930123485": "unreachable",
        "4930123461": "busy",
    }
    assert "answered" in ringback("calls", "1", folder=tmp_path, environ=SANDBOX).stdout
    assert "completed" in ringback("flow", "1", folder=tmp_path, environ=SANDBOX).stdout


@pytest.mark.parametrize(
    ("campaign", "numbers", "text"),
    [
        ("name: [", "4930123400\n", "c.yaml:1"),
        ("name: camp\nnumbers: n.csv\n", "4930123400\n", "template"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\ncolour: red\n", "4930123400\n", "colour"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\nring_seconds: soon\n", "4930123400\n", "c.yaml:4"),
        ("name: camp\nnumbers: other.csv\ntemplate: t.yaml\n", "4930123400\n", "other.csv"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\n", "hello\n", "no line has a number"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\n", "number,colour\n4930123400,red\n", "n.csv:1"),
        ("name: camp\nnumbers: n.csv\ntemplate: other.yaml\n", "4930123400\n", "other.yaml"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\nring_seconds: 5\n", "4930123400,Ada\n", "maxRingingTime"),
        ("name: camp\nnumbers: n.csv\ntemplate: t.yaml\n", "4930123400\n", "text1"),
    ],
)
@pytest.mark.enable_socket
def test_campaign_that_is_wrong(tmp_path: Path, campaign: str, numbers: str, text: str) -> None:
    assert ringback("account", "create", "me", folder=tmp_path, environ=SANDBOX).returncode == 0
    _template(tmp_path)
    (tmp_path / "c.yaml").write_text(campaign)
    (tmp_path / "n.csv").write_text(numbers)
    _fails(tmp_path, "run", "c.yaml", text=text, environ=SANDBOX)


@pytest.mark.enable_socket
def test_pause_resume_cancel_and_restart_of_a_server(tmp_path: Path) -> None:
    """From another process: a pause holds, and a stopped server goes on where it was."""
    assert (
        ringback("account", "create", "me", "--api-key", "key1", "--api-secret", "sec1", folder=tmp_path).returncode
        == 0
    )
    ringback("template", "add", str(_template(tmp_path)), folder=tmp_path)
    with serving(tmp_path, SANDBOX) as server:
        vendor = _client(server)
        numbers = [{"calleeNumber": f"49301{number:04d}85", "text1": "x"} for number in range(1000)]
        created = vendor.post(
            "/v3/voice/group/call/send/agent",
            {"appId": "default", "taskName": "many", "scriptId": 1, "numberInfoList": numbers},
        )
        task = created["data"]

        def called() -> int:
            return int(vendor.get(f"/voice/group/call/detail/{task}")["data"]["callTotal"])

        until(lambda: called() > 20 or None, what="some calls")
        assert ringback("task", "pause", str(task), folder=tmp_path, environ=SANDBOX).returncode == 0
        until(lambda: _in_the_air(tmp_path, task) == 0 or None, what="calls in the air to end")
        paused = called()
        assert "suspended" in ringback("task", "list", folder=tmp_path, environ=SANDBOX).stdout
        shown = ringback("calls", str(task), "--json", folder=tmp_path, environ=SANDBOX).stdout.splitlines()
        assert sum(json.loads(line)["outcome"] is not None for line in shown) == paused
        assert any(json.loads(line)["reason"] == "the task is suspended" for line in shown)
        assert ringback("task", "resume", str(task), folder=tmp_path, environ=SANDBOX).returncode == 0
        until(lambda: called() > paused or None, what="calls after the resume")
        assert server.stop() == 0
    with serving(tmp_path, SANDBOX) as server:
        vendor = _client(server)
        before = called()
        until(lambda: called() > before or None, what="calls after the restart")
        answer = vendor.post("/voice/group/call/cancel", {"taskIdList": [task]})
        assert answer["code"] == 0, answer
        assert server.stop() == 0
    outcomes = [json.loads(line)["outcome"] for line in _calls(tmp_path, task)]
    assert "unknown" not in outcomes
    assert None in outcomes


def _client(server: Program) -> Vendor:
    return Vendor(server.line_with("ringback listening on ").split()[-1], "key1", "sec1")


def _calls(folder: Path, task: int) -> list[str]:
    return ringback("calls", str(task), "--json", folder=folder, environ=SANDBOX).stdout.splitlines()


def _in_the_air(folder: Path, task: int) -> int:
    return sum(json.loads(line)["state"] in ("dialling", "in_progress") for line in _calls(folder, task))
