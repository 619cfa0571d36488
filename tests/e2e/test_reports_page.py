"""The commands of docs/reports.md, run as printed; and what the commands refuse."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from e2e.processes import ringback
from e2e.test_operating import ROOT, shell

PAGE = (ROOT / "docs" / "reports.md").read_text()


def test_commands_of_the_page(tmp_path: Path) -> None:
    assert ringback("account", "create", "acme", folder=tmp_path).returncode == 0
    add, look, provider = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    made = shell(tmp_path, add)
    found = re.search(r"receiver  1\nsecret    (whsec_\S+)", made)
    assert found is not None
    assert len(base64.b64decode(found[1].removeprefix("whsec_"))) == 24
    assert "1  acme  events  https://crm.example.com/ringback  every application  call.ended, task.finished" in made
    said = shell(tmp_path, look)
    assert "0 waiting (0 have failed), 0 given up" in said
    assert "0 reports are sent again" in said
    assert "whsec_" not in shell(tmp_path, provider) + said
    standing = [json.loads(line) for line in shell(tmp_path, "ringback report failures --json").splitlines()]
    assert [(one["receiver"], one["form"], one["pending"]) for one in standing] == [(1, "events", 0), (2, "sms", 0)]
    assert "disabled: by command" in shell(tmp_path, "ringback report disable 2; ringback report list --account acme")
    assert shell(tmp_path, "ringback report remove 2; ringback report list").count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "nobody", "http://x"), "there is no account 'nobody'"),
        (("add", "acme", "ftp://x"), "URL must be http://HOST"),
        (("add", "acme", "http://"), "URL must be http://HOST"),
        (("add", "acme", "http://x:port"), "URL must be http://HOST"),
        (("add", "acme", "http://a b"), "URL must be http://HOST"),
        (("add", "acme", "http://me:word@x"), "URL must be http://HOST"),
        (("add", "acme", "http://x:0"), "URL must have a port from 1 to 65535, has 0"),
        (("add", "acme", "http://127.1"), "URL must have an address as four decimal numbers, has 127.1"),
        (
            ("add", "acme", "http://10.1.2.3/x"),
            "URL is refused: the address of 10.1.2.3 is not one that reports may go to (setting report_networks)",
        ),
        (("add", "acme", "http://[::ffff:8.8.8.8]"), "URL is refused: the address of [::ffff:8.8.8.8] is not one"),
        (("add", "acme", "http://x", "--form", "xml"), "--form must be one of events"),
        (("add", "acme", "http://x", "--event", "call.begun"), "--event must be one of call.ended"),
        (("add", "acme", "http://x", "--form", "single", "--event", "call.ended"), "--event: a receiver of the form"),
        (("add", "acme", "http://x", "--app", "nope"), "--app: there is no application 'nope'"),
        (("add", "acme", "http://x", "--token", "t"), "--token: only a receiver of the form sms"),
        (("list", "--account", "nobody"), "--account: there is no account"),
        (("remove", "9"), "there is no receiver 9"),
        (("enable", "9"), "there is no receiver 9"),
        (("disable", "9"), "there is no receiver 9"),
        (("replay",), "say what to send again"),
    ],
)
def test_refused_commands(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert ringback("account", "create", "acme", folder=tmp_path).returncode == 0
    done = ringback("report", *arguments, folder=tmp_path)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_receiver_in_an_allowed_network_can_be_added(tmp_path: Path) -> None:
    assert ringback("account", "create", "acme", folder=tmp_path).returncode == 0
    environ = {"RINGBACK_REPORT_NETWORKS": "10.1.0.0/16"}
    asked = ("report", "add", "acme", "http://10.1.2.3/x")
    assert ringback(*asked, folder=tmp_path).returncode == 1
    assert "receiver  1\n" in ringback(*asked, folder=tmp_path, environ=environ).stdout
