"""Processes of a measurement: ended by their own id, and what they cost."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

END_SECONDS = 30
_TICKS = os.sysconf("SC_CLK_TCK")


def finish(process: subprocess.Popen[Any]) -> None:
    """End a process, by force when it takes too long."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def family(pid: int) -> list[int]:
    """The process and its living descendants."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found += map(int, children.read_text().split())
    return found


def cpu_seconds(pid: int, *, reaped: bool = False) -> float:
    """User and system time that the process and its living descendants have used; ``reaped``: its ended ones too."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11 : 15 if reaped else 13]))
    return total / _TICKS


def waited_seconds(pid: int) -> float:
    """How long the process's main thread could have run and the machine was busy with others."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def rss_mb(pid: int) -> float:
    """Resident memory of the process and its living descendants, MB."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
