"""The commands of docs/api.md, run as printed, as somebody would who has read nothing else."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from e2e.test_operating import ROOT, shell
from tests.parts.asterisk_process import free_port

PAGE = (ROOT / "docs" / "api.md").read_text()
#: Shell that waits until the first round has run, which the page's reader does by looking again.
UNTIL_DONE = """
for _ in $(seq 100); do
  ask GET /flows/1 | grep -q '"position":1,"state":"completed"' && break
  sleep 0.2
done
"""


@pytest.mark.enable_socket
def test_commands_of_the_page(tmp_path: Path) -> None:
    key, start, look = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    said = shell(tmp_path, key)
    assert re.search(r"^\w{16}  crm  operator  every scope of its role$", said, flags=re.MULTILINE)
    port = free_port(socket.SOCK_STREAM)
    settings = f"export RINGBACK_LISTEN=127.0.0.1:{port} RINGBACK_MINUTE_SECONDS=0.01\n"
    script = (start + UNTIL_DONE + look).replace("127.0.0.1:8700", f"127.0.0.1:{port}")
    said = shell(tmp_path, settings + script)
    answers = [json.loads(line) for line in said.replace("}{", "}\n{").splitlines() if line.startswith("{")]
    made = [one for one in answers if one.keys() == {"id", "name"}]
    assert [one["name"] for one in made] == ["reminder", "second"]
    *_, task, busy, flow, explained = answers
    assert (task["name"], task["state"]) == ("bills", "finished")
    assert [one["number"] for one in busy["items"]] == ["493012345661"], "it is busy on its first call"
    assert [one["qualified"] for one in explained["rounds"]][:2] == [True, True]
    assert "ended busy" in explained["rounds"][1]["why"]
    first, second = flow["nodes"]
    assert (first["state"], first["qualified"]) == ("completed", 1), "the busy one was called again"
    # Whether somebody is called in the second depends on the hour.
    assert second["windows"] == [{"start": "09:00", "end": "18:00"}]
    assert "key.created  key:" in shell(tmp_path, "ringback audit acme")
