"""Several processes on one PostgreSQL, as docs/operating.md tells, and the way there from SQLite."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path

import pytest

from e2e.campaign import Campaign
from e2e.processes import Program, ringback
from e2e.vendor import Vendor
from e2e.waiting import until
from tests.parts.postgres_process import PostgresProcess

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operating.md").read_text()
PRINTED_URL = "postgresql://ringback:PASSWORD@db.example.net/ringback"
NUMBERS = [f"49301{number:04}{ending}" for number in range(30) for ending in ("00", "60", "85")]
FLOW = {"recallType": 1, "recallInterval": 1, "recallNum": 1}

pytestmark = [pytest.mark.enable_socket, pytest.mark.crash]


def commands(heading: str) -> list[list[str]]:
    """The `ringback` commands of a section, without the word itself."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return [line.split()[1:] for block in blocks for line in block.splitlines() if line.startswith("ringback ")]


def environ(url: str) -> dict[str, str]:
    return {
        "RINGBACK_DATABASE_URL": url,
        "RINGBACK_TELEPHONY": "sandbox",
        "RINGBACK_TAKEOVER_SECONDS": "6",
        "RINGBACK_LOG_LEVEL": "warning",
        # Short rounds: a recall minute is a second.
        "RINGBACK_MINUTE_SECONDS": "1",
    }


@contextlib.contextmanager
def database(server: PostgresProcess, name: str):
    server.create_database(name)
    yield server.url(name)
    server.drop_database(name)


def serve(stack: contextlib.ExitStack, arguments: list[str], folder: Path, settings: dict[str, str]) -> Program:
    at_a_free_port = ["127.0.0.1:0" if one == "0.0.0.0:8700" else one for one in arguments]
    return stack.enter_context(Program(["-m", "ringback.cli", *at_a_free_port], folder=folder, environ=settings))


def test_the_processes_of_the_page_run_a_campaign_though_a_dialler_dies(
    tmp_path: Path, postgres_server: PostgresProcess
) -> None:
    migrate, api, dialler, conductor, courier, registrar = (
        command[: command.index("#")] if "#" in command else command
        for command in commands("PostgreSQL and several machines")
    )
    assert f"RINGBACK_DATABASE_URL={PRINTED_URL}" in PAGE
    with database(postgres_server, "several") as url, contextlib.ExitStack() as stack:
        settings = environ(url) | {"RINGBACK_REGISTRAR": "127.0.0.1:0"}
        refused = ringback(*dialler, folder=tmp_path, environ=settings)
        assert "the database is empty; run `ringback migrate`" in refused.stderr
        assert "testsecret" not in refused.stderr
        done = ringback(*migrate, folder=tmp_path, environ=settings)
        assert "is up to date" in done.stdout, done.stderr
        campaign = Campaign(tmp_path, settings)
        campaign.furnish("5060", cps=8, channels=50)
        doors = [serve(stack, api, tmp_path, settings) for _ in range(2)]
        urls = [door.line_with("ringback listening on ").rpartition(" ")[2] for door in doors]
        first, second = [serve(stack, dialler, tmp_path, settings) for _ in range(2)]
        others = [serve(stack, role, tmp_path, settings) for role in (conductor, courier, registrar)]
        for program in (first, second, *others):
            assert "testsecret" not in program.line_with("ringback ready")
        task_id = campaign.create(Vendor(urls[0], "key1", "secret1"), NUMBERS, recallFlow=FLOW)

        def talking() -> int | None:
            # Calls that last for a while, and not only those that are refused at once.
            found = postgres_server.sql(
                "SELECT pid FROM worker JOIN call ON call.worker_id = worker.id WHERE call.state = 'in_progress' "
                "GROUP BY pid HAVING count(*) > 1 LIMIT 1",
                "several",
            )
            return int(found) if found.strip() else None

        pid = until(talking, what="people at one of the diallers")
        first, second = sorted((first, second), key=lambda dialler: dialler.process.pid != pid)
        first.kill()

        def flow_is_over() -> bool | None:
            return postgres_server.sql("SELECT state FROM flow", "several").strip() == "completed" or None

        until(flow_is_over, what="the end of the flow", seconds=90)
        calls = campaign.calls(task_id)
        assert len(calls) == len(NUMBERS)
        assert {call["state"] for call in calls} == {"ended"}
        assert "unknown" in {call["outcome"] for call in calls}
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(60) == 0
        assert postgres_server.sql("SELECT count(*) FROM worker WHERE ended_at IS NULL", "several").strip() == "0"


def test_a_takeover_before_a_stuck_transaction_ends_is_refused(
    tmp_path: Path, postgres_server: PostgresProcess
) -> None:
    with database(postgres_server, "hasty") as url:
        settings = environ(url) | {"RINGBACK_TAKEOVER_SECONDS": "5"}
        ringback("migrate", folder=tmp_path, environ=settings)
        refused = ringback("serve", "--role", "conductor", folder=tmp_path, environ=settings)
        assert refused.returncode == 1
        assert "takeover_seconds must be more than 5 with PostgreSQL" in refused.stderr


def test_from_sqlite_to_postgresql(tmp_path: Path, postgres_server: PostgresProcess) -> None:
    ((move, printed),) = commands("From SQLite to PostgreSQL")
    assert printed == PRINTED_URL
    sandbox = {name: value for name, value in environ("").items() if name != "RINGBACK_DATABASE_URL"}
    campaign = Campaign(tmp_path, sandbox)
    campaign.furnish("5060", cps=5, channels=5)
    with contextlib.ExitStack() as stack:
        server = serve(stack, ["serve", "--listen", "127.0.0.1:0"], tmp_path, sandbox)
        door = server.line_with("ringback listening on ").rpartition(" ")[2]
        task_id = campaign.create(Vendor(door, "key1", "secret1"), NUMBERS, recallFlow=FLOW)
        until(lambda: "ended" in {call["state"] for call in campaign.calls(task_id)} or None, what="a first call")
        server.kill()
    before = campaign.calls(task_id)
    with database(postgres_server, "moved") as url, contextlib.ExitStack() as stack:
        done = ringback(move, url, folder=tmp_path, environ=sandbox)
        assert done.returncode == 0, done.stderr
        assert "1 accounts, 1 tasks, 90 calls and 1 recall flows are in" in done.stdout
        assert "testsecret" not in done.stdout + done.stderr
        assert "is not empty" in ringback(move, url, folder=tmp_path, environ=sandbox).stderr
        settings = environ(url)
        there = Campaign(tmp_path, settings)
        assert there.calls(task_id) == before
        serve(stack, ["serve", "--listen", "127.0.0.1:0"], tmp_path, settings)

        def flow_is_over() -> bool | None:
            return postgres_server.sql("SELECT state FROM flow", "moved").strip() == "completed" or None

        until(flow_is_over, what="the end of the flow", seconds=90)
        after = {call["callee"]: call for call in there.calls(task_id)}
        assert {call["state"] for call in after.values()} == {"ended"}
        for call in before:
            if call["state"] in ("dialling", "in_progress"):
                assert after[call["callee"]]["outcome"] == "unknown"
