"""Processes that end with whoever started them, however that ends."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from tests.parts.parts import ROOT
from tests.parts.processes import ends_with_us

STARTS_ONE = (
    "import subprocess, sys\n"
    "from tests.parts.processes import ends_with_us\n"
    "with subprocess.Popen(ends_with_us(['sleep', '60'])) as child:\n"
    "    print(child.pid, flush=True)\n"
    "    sys.stdin.read()\n"
)


def test_it_is_the_command_with_its_own_id_and_exit_code() -> None:
    said = ends_with_us([sys.executable, "-c", "import os, sys; print(os.getpid()); sys.exit(7)"])
    with subprocess.Popen(said, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert int(child.stdout.read()) == child.pid
        assert child.wait(30) == 7


def test_it_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        try:
            ended, _, _ = select.select([child], [], [], 30)
        finally:
            os.close(child)
        assert ended
