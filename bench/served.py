"""Ringback as its users run it: ``ringback serve`` in a process of its own, its tasks made through the vendor's API.

What came of a task is read from its database, which is what the users' own questions are answered from.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.processes import finish

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET = "benchkey", "benchsecret"
#: Hangs up as soon as it is answered.
HANG_UP = "name: t\nsteps:\n  - hangup\n"
#: Stays until the callee hangs up, and says nothing.
STAY = "name: t\nsteps:\n  - gather: {timeout: 60}\n"
POLL_SECONDS = 0.1


class Served:
    """A server with an account, one trunk to a carrier on this machine and one template. Use as a context manager."""

    def __init__(
        self,
        environ: Mapping[str, str],
        carrier_port: int,
        *,
        cps: float,
        channels: int,
        template: str = HANG_UP,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="ringback-bench-")
        self.folder = Path(self._scratch.name)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RINGBACK_")},
            **environ,
            "RINGBACK_LOG_LEVEL": "warning",
        }
        self._tasks = 0
        for name, content in (files or {}).items():
            (self.folder / name).write_bytes(content)
        (self.folder / "t.yaml").write_text(template)
        self._run("account", "create", "bench", "--api-key", KEY, "--api-secret", SECRET)
        limits = ("--cps", str(cps), "--channels", str(channels))
        self._run("trunk", "add", "out", "--to", f"127.0.0.1:{carrier_port}", *limits)
        self._template_id = int(self._run("template", "add", "t.yaml").splitlines()[-1])

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "ringback.cli", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return done.stdout

    def __enter__(self) -> Self:
        with (self.folder / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ringback.cli", "serve", "--listen", "127.0.0.1:0"],
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if b"listening on" in line:
                self._url = line.split()[-1].decode()
                break
        else:
            raise RuntimeError(f"the server did not start:\n{self.log}")
        self._database = sqlite3.connect(f"file:{self.folder / 'ringback.db'}?mode=ro", uri=True, isolation_level=None)
        return self

    def __exit__(self, *_: object) -> None:
        finish(self.process)
        self._database.close()
        self._scratch.cleanup()

    @property
    def pid(self) -> int:
        """Of the server; the embedded engine's workers are its children."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has complained about, the end of it."""
        return (self.folder / "server.log").read_text(errors="replace")[-2_000:]

    def call(self, numbers: int) -> int:
        """Make a task that starts at once. Returns its id."""
        self._tasks += 1
        body = {
            "appId": "default",
            "taskName": f"task{self._tasks}",
            "agentId": self._template_id,
            "maxRingingTime": 20,
            "numberInfoList": [{"calleeNumber": f"4930{index:07d}"} for index in range(numbers)],
        }
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Api-Key": KEY,
            "Timestamp": stamp,
            "Sign": hashlib.md5(f"{KEY}{SECRET}{stamp}".encode()).hexdigest(),
        }
        request = urllib.request.Request(
            self._url + "/voice/group/call/send/agent", data=json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.loads(response.read())
        if answer["code"] != 0:
            raise RuntimeError(f"the task was refused: {answer}")
        return int(answer["data"])

    def ask(self, query: str, *values: object) -> tuple[Any, ...]:
        """One row of the database."""
        row: tuple[Any, ...] = self._database.execute(query, values).fetchone()
        return row

    def wait_for(self, query: str, *values: object, seconds: float) -> None:
        """Until the query's only value is true."""
        deadline = time.monotonic() + seconds
        while not self.ask(query, *values)[0]:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"waited {seconds:g} s for {query} {values}; the server says:\n{self.log}")
            # Another process is being polled.
            time.sleep(POLL_SECONDS)

    def finished(self, task_id: int, *, seconds: float) -> tuple[float, int, int]:
        """Wait for the end of a task. Returns the seconds from its first lease to its last result stored, and how many
        were answered and failed."""
        self.wait_for("SELECT state = 'finished' FROM task WHERE id = ?", task_id, seconds=seconds)
        took, answered, failed = self.ask(
            "SELECT (finished_at - (SELECT min(started_at) FROM call WHERE task_id = task.id)) / 1000.0,"
            " answered, failed FROM task WHERE id = ?",
            task_id,
        )
        return took, answered, failed
