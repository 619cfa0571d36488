"""Processes by their ids, as Linux tells of them: proc(5)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

#: <linux/prctl.h>: PR_SET_PDEATHSIG is 1. Whoever was orphaned before it was set ends by itself.
_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


def ends_with_us(command: list[str]) -> list[str]:
    """The command, as a process with the same id that is killed when the thread that started it is gone (Linux)."""
    return [sys.executable, "-IS", "-c", _WITH_PARENT, str(os.getpid()), *command]


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
