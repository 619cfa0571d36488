"""The demo, as `make demo` runs it: without a terminal it ends by itself, and checks itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.processes import ringback


@pytest.mark.enable_socket
@pytest.mark.sip
def test_demo_completes(tmp_path: Path) -> None:
    done = ringback("demo", folder=tmp_path, timeout=180)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Every call ended as its number calls for" in done.stdout
    answer = json.loads(done.stdout[done.stdout.index("{\n") : done.stdout.rindex("}\n") + 2])
    assert answer["data"]["status"] == 2
    assert [node["nodeStatus"] for node in answer["data"]["nodeList"]] == [2, 2, 2]
    assert list(tmp_path.glob("*.db")) == [], "the demo leaves nothing behind"
