"""Holds one PostgreSQL server and ends it when its test process ends, however that ends.

Run as a program (``python -c``, for the server's owner may not be let into this folder) with nothing but the standard
library, and with the arguments OWNER FOLDER COMMAND... The server runs as OWNER (``uid:gid``, or ``-`` for whoever runs
this), and its process id is the only line on standard output. Standard input is the line to the test process: when it
closes while the server runs, the server is shut down and FOLDER removed.

This ends only after the server and every process that it left behind; the exit code is 0 when the server's was.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
SHUTDOWN_MS = 15_000


def main() -> int:
    """Start the server, wait for it or for the end of the test process. Returns this program's exit code."""
    owner, folder, *command = sys.argv[1:]
    uid, gid = map(int, owner.split(":")) if owner != "-" else (None, None)
    # What a killed server leaves behind becomes a child of this process: so its end can be waited for.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, user=uid, group=gid, extra_groups=None if uid is None else [], cwd="/"
    )
    print(server.pid, flush=True)
    ended = os.pidfd_open(server.pid)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    waiting.register(sys.stdin.fileno(), select.POLLIN)
    left_alone = ended not in dict(waiting.poll())
    if left_alone:
        waiting.unregister(sys.stdin.fileno())
        server.send_signal(signal.SIGQUIT)  # immediate shutdown: after 5 s it kills its children
        server.send_signal(signal.SIGCONT)
        if not waiting.poll(SHUTDOWN_MS):
            server.kill()
    code = server.wait()
    if left_alone:
        _kill_children()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    if left_alone:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if code == 0 else 1


def _kill_children() -> None:
    for status in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                os.kill(int(status.parent.name), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
