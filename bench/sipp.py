"""SIPp on loopback: as a carrier that answers, and calling itself, which shows what the wire can take."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from bench.processes import finish
from tests.parts.asterisk_process import free_port
from tests.parts.parts import sipp_command

ANSWERS = Path(__file__).parent / "answers.xml"
START_SECONDS = 1.0


class Sipp:
    """SIPp that rings and answers every call, and waits for its end. Use as a context manager."""

    def __init__(self) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self._scratch = tempfile.TemporaryDirectory(prefix="ringback-sipp-")

    def __enter__(self) -> Self:
        self.process = _start(["-sf", str(ANSWERS), "-p", str(self.port)], self._scratch.name)
        # It says nothing when it is ready.
        time.sleep(START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        finish(self.process)
        self._scratch.cleanup()

    def called_by_sipp(self, *, calls: int, rate: int) -> tuple[float, int]:
        """Call it from another SIPp. Returns the seconds it took and how many calls failed."""
        arguments = [f"127.0.0.1:{self.port}", "-sn", "uac", "-m", str(calls), "-r", str(rate), "-d", "0", "-l", "4000"]
        arguments += ["-p", str(free_port(socket.SOCK_DGRAM)), "-timeout", "60", "-trace_stat", "-fd", "1"]
        began = time.perf_counter()
        caller = _start([*arguments, "-stf", "caller.csv"], self._scratch.name)
        try:
            caller.wait(90)
        finally:
            finish(caller)
        took = time.perf_counter() - began
        names, *_, last = (Path(self._scratch.name) / "caller.csv").read_text().splitlines()
        figures = dict(zip(names.split(";"), last.split(";"), strict=False))
        return took, int(figures["FailedCall(C)"])


def _start(arguments: list[str], folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*sipp_command(), "-i", "127.0.0.1", "-nostdin", *arguments],
        cwd=folder,
        env={**os.environ, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
