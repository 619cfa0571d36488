"""A client in another language, written from the published rules alone, against a whole server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from e2e.campaign import Campaign
from e2e.processes import serving

CLIENT = Path(__file__).parent / "java" / "VendorClient.java"
SANDBOX = {"RINGBACK_TELEPHONY": "sandbox", "RINGBACK_LOG_LEVEL": "warning"}
JDK = shutil.which("javac")


@pytest.mark.enable_socket
@pytest.mark.skipif(JDK is None, reason="there is no JDK (javac) on this machine")
def test_a_java_client(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, SANDBOX)
    campaign.furnish("5060", cps=100, channels=10, template="name: t\nsteps:\n  - say: Hello.\n")
    assert JDK is not None
    subprocess.run([JDK, "-Xlint:all", "-Werror", "-encoding", "UTF-8", "-d", tmp_path, CLIENT], check=True)
    with serving(tmp_path, SANDBOX) as server:
        address = server.line_with("ringback listening on ").split()[-1]
        arguments = ["VendorClient", address, "key1", "secret1", str(campaign.template_id)]
        done = subprocess.run(
            ["java", "-cp", tmp_path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert "finished: 1 answered, 1 failed" in said
    assert "flow: recallNum 1, finishNum 0" in said
    assert [line.partition(": ")[2][:12] for line in said if line.startswith("refused")] == [
        "the same nam",
        "a second tim",
        "a wrong sign",
        "an old times",
    ]
    assert said[-1] == "done"
