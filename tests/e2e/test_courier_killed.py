"""A real courier, a real receiver that fails in every way, and kill -9 in between: every report arrives."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from e2e.campaign import Campaign
from e2e.processes import Program
from e2e.receiver import FAILURES, Receiver
from e2e.waiting import until
from tests.parts.postgres_process import PostgresProcess

NUMBERS = [f"49301{number:04}{ending}" for number in range(40) for ending in ("60", "85")]

pytestmark = [pytest.mark.enable_socket, pytest.mark.crash]


def serve(stack: contextlib.ExitStack, folder: Path, environ: dict[str, str], *roles: str) -> Program:
    named = [part for role in roles for part in ("--role", role)]
    listen = ["--listen", "127.0.0.1:0"] if "api" in roles else []
    return stack.enter_context(
        Program(["-m", "ringback.cli", "serve", *listen, *named], folder=folder, environ=environ)
    )


def story(folder: Path, url: str) -> None:
    environ = {
        "RINGBACK_DATABASE_URL": url,
        "RINGBACK_TELEPHONY": "sandbox",
        "RINGBACK_TAKEOVER_SECONDS": "6",
        "RINGBACK_LOG_LEVEL": "warning",
        "RINGBACK_REPORT_NETWORKS": "127.0.0.0/8",
    }
    campaign = Campaign(folder, environ)
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        server = serve(stack, folder, environ, "api", "dialler", "conductor")
        vendor = campaign.vendor_of_new_account(server)
        said = campaign.run("report", "add", "me", receiver.url)
        assert re.search(r"^secret    whsec_", said, flags=re.MULTILINE)
        task_id = campaign.create(vendor, NUMBERS)
        until(lambda: campaign.finished(vendor, task_id), what="the task")
        assert receiver.taken == {}, "nobody delivers yet"
        courier = serve(stack, folder, environ, "courier")
        until(lambda: sum(receiver.taken.values()) >= 10 or None, what="the first reports")
        courier.kill()
        taken = len(receiver.taken)
        assert taken < len(NUMBERS) + 1
        second = serve(stack, folder, environ, "courier")
        until(lambda: len(receiver.taken) == len(NUMBERS) + 1 or None, what="all reports", seconds=240)
        assert receiver.failed.keys() == set(FAILURES), "each had its turn"
        calls = {body["data"]["call_id"] for body in receiver.bodies.values() if body["type"] == "call.ended"}
        assert len(calls) == len(NUMBERS)
        until(lambda: " 0 waiting" in campaign.run("report", "failures") or None, what="their marks")
        assert second.stop() == 0


def test_every_report_arrives_on_sqlite(tmp_path: Path) -> None:
    story(tmp_path, f"sqlite:///{tmp_path / 'ringback.db'}")


def test_every_report_arrives_on_postgresql(tmp_path: Path, postgres_server: PostgresProcess) -> None:
    postgres_server.create_database("reports")
    try:
        url = postgres_server.url("reports")
        assert Campaign(tmp_path, {"RINGBACK_DATABASE_URL": url}).run("migrate")
        story(tmp_path, url)
    finally:
        postgres_server.drop_database("reports")
