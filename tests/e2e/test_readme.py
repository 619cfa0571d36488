"""The README's commands, run as printed: the only changes are the carrier's address and the port."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.processes import Program

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
PRINTED_TRUNK = "sip.example.net:5060"
PRINTED_PORT = "8700"
WAIT_FOR_SERVER = """
for try in $(seq 200); do
  curl --silent --fail http://127.0.0.1:8700/health/ready >/dev/null && break; sleep 0.1
done
"""
WAIT_FOR_FLOW = """
for try in $(seq 200); do
  request /voice/recallFlow/queryDetail '{"keyId": 1}' | grep -q '"recallType":1,"status":2' && break; sleep 1
done
"""


def _blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.enable_socket
@pytest.mark.sip
def test_commands_of_the_readme(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for tool in ("curl", "md5sum", "bash"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed, so the README's commands cannot be run")
    arguments = ["-m", "ringback.farend", "--listen", "127.0.0.1:0", "--user", "acme", "--password", "s3cret"]
    with Program(arguments, folder=tmp_path) as carrier:
        sip_port = carrier.line_with("far end listening on ").rpartition(":")[2]
        script = "set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + "\n".join(_blocks())
        script = script.replace("ringback serve &\n", f"ringback serve &\n{WAIT_FOR_SERVER}\n")
        # The first task must be over before its server is stopped.
        script = script.replace("kill %1", f"{WAIT_FOR_FLOW}\nkill %1")
        port = str(_free_port())
        script = script.replace(PRINTED_TRUNK, f"127.0.0.1:{sip_port}").replace(PRINTED_PORT, port)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={
                "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(tmp_path),
                "RINGBACK_MINUTE_SECONDS": "1",
                "RINGBACK_LISTEN": f"127.0.0.1:{port}",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count('"code":0') == 3, done.stdout
    assert done.stdout.count("flow completed") == 2, "both campaigns ran to their end"


def test_make_targets_of_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z-]+)", document.read_text())) - {"bench-"}
        assert named <= targets, f"{document.name} names {named - targets}"


def test_settings_of_the_readme_are_the_settings() -> None:
    import msgspec

    from ringback.settings import Settings

    section = README.partition("## Settings")[2].partition("\n## ")[0]
    of_one_word = ("telephony", "listen", "registrar", "recordings", "asterisk", "state")
    listed = {name for name in re.findall(r"`([a-z_]+)`", section) if "_" in name or name in of_one_word}
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert listed - {"log_format"} <= fields | {"espeak"}
    assert fields <= listed


def test_table_of_test_numbers_is_the_table() -> None:
    """Every number of the README's table does what its row says."""
    from ringback.model.sandbox_numbers import behaviour

    words = {
        "person": "a person answers",
        "presses_key": "presses",
        "voicemail": "voicemail",
        "hangs_up": "hangs up at once",
        "rings_on": "rings unanswered",
        "early_media": "early media",
        "silent": "no response",
    }
    rows = dict(re.findall(r"^\| ([0-9d–, ]+) \| (.+?) \|$", README, flags=re.MULTILINE))
    for number in range(100):
        found = behaviour(f"{number:02d}", 0)
        row = next(text for digits, text in rows.items() if _holds(digits, number))
        assert words.get(found.kind, str(found.sip_code)) in row or str(found.sip_code) in row or "busy" in row


def _holds(digits: str, number: int) -> bool:
    for part in digits.split(", "):
        low, _, high = part.replace("d", "9").partition("–")
        if "d" in part:
            low, high = part.replace("d", "0"), part.replace("d", "9")
        if int(low) <= number <= int(high or low):
            return True
    return False
