"""The commands of trunks, routes and denied prefixes: what they store, what they print, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ringback.cli.main import app
from ringback.clock import RealClock
from ringback.store import trunks
from ringback.store.opening import open_store
from ringback.telephony.port import Destination, DialOrder
from ringback.telephony.sip.addressing import address_call


class Shell:
    """Runs commands in this process on a database of their own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ringback.db"
        self._runner = CliRunner(env={"RINGBACK_DATABASE_URL": f"sqlite:///{self.path}", "RINGBACK_TELEPHONY": "sip"})

    def try_(self, *arguments: str) -> Result:
        return self._runner.invoke(app, list(arguments))

    def do(self, *arguments: str) -> str:
        done = self.try_(*arguments)
        assert done.exit_code == 0, done.output
        return done.output

    def fails(self, *arguments: str, text: str) -> None:
        done = self.try_(*arguments)
        assert done.exit_code != 0, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert text in done.output, done.output
        assert len(done.output.strip().splitlines()) < 12

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.do(*arguments, "--json").splitlines()]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def test_a_trunk_with_all_its_rules(shell: Shell) -> None:
    shell.do("account", "create", "acme")
    shell.do(
        *("trunk", "add", "c", "--to", "127.0.0.1:5060", "--account", "acme", "--strip", "+49", "--prefix", "+"),
        *("--caller-id", "4930001", "--caller-id", "4930002"),
    )
    (trunk,) = shell.listed("trunk", "list")
    assert trunk == trunk | {
        "name": "c",
        "engine": "sip",
        "host": "127.0.0.1",
        "port": 5060,
        "user": "",
        "calls_per_second": 5.0,
        "channels": 30,
        "busy": 0,
        "account": "acme",
        "strip": "49",
        "prefix": "+",
        "caller_ids": "auto",
        "numbers": ["4930001", "4930002"],
    }
    shell.do("trunk", "set", "c", "--shared", "--strip", "", "--caller-id", "4930009", "--caller-ids", "any")
    (trunk,) = shell.listed("trunk", "list")
    assert (trunk["account"], trunk["strip"], trunk["prefix"]) == (None, "", "+")
    assert (trunk["caller_ids"], trunk["numbers"]) == ("any", ["4930009"])
    shell.do("trunk", "set", "c", "--cps", "2")
    assert shell.listed("trunk", "list") == [trunk | {"calls_per_second": 2.0}]
    shell.do("trunk", "set", "c", "--account", "acme", "--caller-ids", "auto")
    assert "acme" in shell.do("trunk", "list")
    assert shell.do("trunk", "caller-ids", "c", "--add", "4930008", "--remove", "4930009") == "4930008\n"
    assert shell.listed("trunk", "caller-ids", "c") == [{"trunk": "c", "number": "4930008"}]
    shell.do("trunk", "remove", "c")
    assert shell.do("trunk", "list") == ""


def test_routes(shell: Shell) -> None:
    shell.do("account", "create", "acme")
    shell.do("trunk", "add", "a", "--to", "127.0.0.1:5060")
    shell.do("trunk", "add", "b", "--to", "127.0.0.1:5061", "--account", "acme")
    shell.do("route", "add", "", "a")
    shell.do("route", "add", "49", "b", "--account", "acme", "--priority", "2", "--weight", "3")
    assert shell.listed("route", "list") == [
        {"prefix": "", "trunk": "a", "account": None, "priority": 0, "weight": 1},
        {"prefix": "49", "trunk": "b", "account": "acme", "priority": 2, "weight": 3},
    ]
    assert "all numbers  trunk a" in shell.do("route", "list")
    shell.fails("trunk", "remove", "a", text="routes go through")
    shell.fails("trunk", "set", "a", "--account", "acme", text="routes of others")
    shell.fails("route", "add", "44", "b", text="belongs to one account")
    shell.fails("route", "add", "", "a", text="already")
    shell.fails("route", "remove", "49", "b", text="there is no shared route '49' to trunk b")
    shell.do("route", "remove", "49", "b", "--account", "acme")
    shell.do("route", "remove", "", "a")
    assert shell.listed("route", "list") == []


def test_denied_prefixes(shell: Shell) -> None:
    shell.do("account", "create", "acme")
    assert [one["prefix"] for one in shell.listed("deny", "list")] == ["870", "878", "881", "882", "883", "979"]
    assert "0 that were queued" in shell.do("deny", "add", "4490", "--account", "acme")
    shell.fails("deny", "add", "881", text="PREFIX 881 is denied already")
    assert {"prefix": "4490", "account": "acme", "note": ""} in shell.listed("deny", "list")
    assert "881  all accounts  ITU-T E.164" in shell.do("deny", "list")
    shell.fails("deny", "remove", "4490", text="is not denied to all")
    shell.do("deny", "remove", "4490", "--account", "acme")
    shell.do("deny", "remove", "881")
    assert "881" not in [one["prefix"] for one in shell.listed("deny", "list")]


TO = ("--to", "127.0.0.1:5060")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("trunk", "add", "t", *TO, "--account", "nobody"), "--account: there is no account 'nobody'"),
        (("trunk", "add", "t", *TO, "--strip", "4a"), "--strip must be"),
        (("trunk", "add", "t", *TO, "--strip", "1" * 19), "--strip must be"),
        (("trunk", "add", "t", *TO, "--prefix", "0-0"), "--prefix must be"),
        (("trunk", "add", "t", *TO, "--prefix", "1" * 13), "--prefix must be"),
        (("trunk", "add", "t", *TO, "--caller-id", "+49"), "--caller-id must be"),
        (("trunk", "add", "t", *TO, "--caller-id", ""), "--caller-id must be"),
        (("trunk", "add", "t", *TO, "--caller-ids", "some"), "--caller-ids must be one of"),
        (("trunk", "set", "c", "--strip", "x"), "--strip must be"),
        (("trunk", "set", "c", "--prefix", "++"), "--prefix must be"),
        (("trunk", "set", "c", "--account", "nobody"), "--account: there is no account"),
        (("trunk", "set", "c", "--account", "acme", "--shared"), "--shared"),
        (("trunk", "set", "c", "--caller-ids", ""), "--caller-ids must be one of"),
        (("trunk", "set", "nowhere", "--cps", "1"), "there is no trunk 'nowhere'"),
        (("trunk", "caller-ids", "nowhere"), "there is no trunk 'nowhere'"),
        (("trunk", "caller-ids", "c", "--add", "12 3"), "--add must be"),
        (("trunk", "caller-ids", "c", "--remove", "x"), "--remove must be"),
        (("trunk", "caller-ids", "c", "--remove", "77"), "--remove: trunk c does not own 77"),
        (("route", "add", "4 9", "c"), "PREFIX must be"),
        (("route", "add", "+49", "c"), "PREFIX must be"),
        (("route", "add", "49", "nowhere"), "there is no trunk 'nowhere'"),
        (("route", "add", "49", "c", "--account", "nobody"), "--account: there is no account"),
        (("route", "add", "49", "c", "--priority", "1001"), "--priority must be"),
        (("route", "add", "49", "c", "--weight", "0"), "--weight must be"),
        (("route", "remove", "49", "c"), "there is no shared route '49' to trunk c"),
        (("deny", "add", ""), "PREFIX must be"),
        (("deny", "add", "8x"), "PREFIX must be"),
        (("deny", "add", "44", "--account", "nobody"), "--account: there is no account"),
        (("deny", "remove", "44"), "PREFIX 44 is not denied"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(shell: Shell, arguments: tuple[str, ...], text: str) -> None:
    shell.do("account", "create", "acme")
    shell.do("trunk", "add", "c", *TO)
    before = _dump(shell.path)
    shell.fails(*arguments, text=text)
    assert _dump(shell.path) == before


def _dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def test_why_numbers_wait_is_told_number_by_number(shell: Shell) -> None:
    shell.do("account", "create", "acme")
    shell.do("trunk", "add", "c", *TO, "--cps", "0.001")
    shell.do("route", "add", "44", "c")
    with sqlite3.connect(shell.path) as connection:
        connection.executescript(
            """
            INSERT INTO template (name, body, created_at) VALUES ('t', '{}', 0);
            INSERT INTO task (account_id, application_id, name, template_id, state, limits, send_at, total, queued,
                created_at, modified_at) VALUES (1, 1, 'n', 1, 'calling', '{}', 0, 2, 2, 0, 0);
            INSERT INTO call (task_id, callee, zone, route_prefix) VALUES (1, '442012345600', 'Europe/London', '44');
            INSERT INTO call (task_id, callee, zone, route_prefix) VALUES (1, '493012345600', 'Europe/Berlin', '');
            INSERT INTO lane (task_id, zone, route_prefix, queued) VALUES (1, 'Europe/London', '44', 1);
            INSERT INTO lane (task_id, zone, route_prefix, queued) VALUES (1, 'Europe/Berlin', '', 1);
            """
        )
    connection.close()
    assert {one["callee"]: one["reason"] for one in shell.listed("calls", "1")} == {
        "442012345600": "no dialler runs",
        "493012345600": "no route for numbers that begin with 49",
    }
    # Denied from another process: skipped at once, and the task is done when nothing is left.
    assert "1 that were queued are skipped" in shell.do("deny", "add", "44")
    assert "1 that were queued are skipped" in shell.do("deny", "add", "493")
    assert {one["reason"] for one in shell.listed("calls", "1")} == {
        "numbers that begin with 44 are denied",
        "numbers that begin with 493 are denied",
    }
    with sqlite3.connect(shell.path) as connection:
        assert connection.execute("SELECT state, skipped FROM task").fetchall() == [("finished", 2)]
    connection.close()


HOSTILE = [
    "x\r\nX-Evil: 1",
    "x\n",
    "x;transport=tcp",
    'x"',
    "x>",
    "x<sip:y>",
    "x\\",
    "x\0",
    "x y",
    "x@y",
    "49\r\n",
    "49;x=1",
    "49%0d",
    "+49>",
    "٤٩",
]
hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(st.sampled_from('09+aZ_.-@:;<>"\\ \r\n\t\0%?&=,/[]é٤'), min_size=1, max_size=12)
)
OPTIONS = ("host", "--user", "--password", "--strip", "--prefix", "--caller-id")


@pytest.mark.parametrize("option", OPTIONS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=hostile)
def test_no_option_of_a_trunk_reaches_a_request_unchecked(shell: Shell, option: str, value: str) -> None:
    given_ = {"--to": "sip.example.net:5060", "--user": "u", "--password": "p"}
    if option == "host":
        given_["--to"] = f"{value}:5060"
    else:
        given_[option] = value
    done = shell.try_("trunk", "add", "t", *[f"{name}={text}" for name, text in given_.items()])
    if done.exit_code != 0:
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert ("--to" if option == "host" else option) in done.output
        assert asyncio.run(_stored(shell.path)) is None
        return
    try:
        stored = asyncio.run(_stored(shell.path))
        assert stored is not None
        (numbers,) = [one["numbers"] for one in shell.listed("trunk", "list")]
        address = address_call(
            DialOrder(
                call_id=1,
                task_id=1,
                callee=stored.prefix + "493012345600".removeprefix(stored.strip),
                caller_id=next(iter(numbers), ""),
                destination=Destination(
                    host=stored.host, port=stored.port, user=stored.username, password=stored.password
                ),
            )
        )
        assert re.fullmatch(r"sip:\+?[0-9]{1,32}@(\[[0-9a-f:.]+\]|[0-9A-Za-z_.-]+):5060", address.request_uri)
        line = address.account.line()
        assert line.isprintable()
        assert re.fullmatch(
            r"<sip:[0-9A-Za-z+_.-]+@(\[[0-9a-f:.]+\]|[0-9A-Za-z_.-]+)>;[^<>]*", line.partition(";auth_pass")[0]
        )
        assert line.count('"') in (0, 2)
    finally:
        shell.do("trunk", "remove", "t")


async def _stored(path: Path) -> trunks.Trunk | None:
    store = await open_store(f"sqlite:///{path}", RealClock())
    try:
        async with store.read() as tx:
            return await trunks.by_name(tx, "t")
    finally:
        await store.close()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("command", [("route", "add"), ("deny", "add"), ("route", "remove"), ("deny", "remove")])
def test_hostile_prefixes_are_refused(shell: Shell, command: tuple[str, ...], value: str) -> None:
    shell.do("trunk", "add", "c", *TO)
    shell.fails(*command, value, *(["c"] if command[0] == "route" else []), text="PREFIX must be")
