"""The demo, as `make demo` runs it: without a terminal it ends by itself, and checks itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Makes Python believe that the embedded engine has no wheel for this platform.
NO_WHEEL = """
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "baresip" else real(name, package)
"""


@pytest.mark.enable_socket
@pytest.mark.sip
def test_demo_completes_with_and_without_the_embedded_engine(tmp_path: Path) -> None:
    """Both at once, for each takes its time: on real SIP, and on the sandbox where there is no wheel."""
    (tmp_path / "sitecustomize.py").write_text(NO_WHEEL)
    with_sip = _start(tmp_path, {})
    without = _start(tmp_path, {"PYTHONPATH": str(tmp_path)})
    try:
        for demo in (with_sip, without):
            out, errors = demo.communicate(timeout=180)
            assert demo.returncode == 0, out[-3000:] + errors[-3000:]
            assert "Every call ended as its number calls for" in out
            answer = json.loads(out[out.index("{\n") : out.rindex("}\n") + 2])
            assert answer["data"]["status"] == 2
            assert [node["nodeStatus"] for node in answer["data"]["nodeList"]] == [2, 2, 2]
            assert ("has no wheel for this platform" in errors) == (demo is without)
            assert ("The carrier saw 106 INVITEs for 106 calls." in out) == (demo is with_sip)
    finally:
        for demo in (with_sip, without):
            demo.kill()
            demo.wait()
    assert list(tmp_path.glob("*.db")) == [], "the demo leaves nothing behind"


def _start(folder: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ringback.cli", "demo"],
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
