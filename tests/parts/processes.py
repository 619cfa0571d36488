"""Processes by their ids, as Linux tells of them: proc(5)."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def children(parent: int) -> list[int]:
    """The ids of a process's children."""
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if (fields := _stat(int(folder.name))) and int(fields[1]) == parent
    ]


def state(pid: int) -> str:
    """R, S, D, T (stopped) and so on; Z when it has ended, whether its parent has noticed or not."""
    fields = _stat(pid)
    return fields[0] if fields else "Z"


def _stat(pid: int) -> list[str]:
    """proc(5): state, parent and so on; nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
