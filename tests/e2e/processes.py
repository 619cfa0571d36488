"""Programs that tests start: each is ended by its own id, whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

#: How long a program may take to say that it is ready, seconds; far more than it needs.
PATIENCE = 60


class Program:
    """A process of ours. Its standard output is read line by line; its standard error goes to a file."""

    def __init__(self, arguments: list[str], *, folder: Path, environ: dict[str, str] | None = None) -> None:
        self._arguments = arguments
        self._folder = folder
        self._environ = {**_clean_environ(), **(environ or {})}
        self.error_log = folder / f"{arguments[-1].replace('/', '_')[:20]}.{time.monotonic_ns()}.err"
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self.error_log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def line_with(self, beginning: str) -> str:
        """The next line of standard output that starts so. Fails the test when the program ends without one."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(beginning):
                return line.strip()
        raise AssertionError(f"no line {beginning!r}; the program said:\n{self.error_log.read_text()[-4000:]}")

    def kill(self) -> None:
        """End it with SIGKILL: no last words."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Ask it to end, and wait. Returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            with contextlib.suppress(OSError):
                self.process.stdout.close()
        return self.process.returncode


def ringback(
    *arguments: str, folder: Path, environ: dict[str, str] | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a `ringback` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ringback.cli", *arguments],
        cwd=folder,
        env={**_clean_environ(), **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def serving(folder: Path, environ: dict[str, str]) -> Program:
    """A `ringback serve` that is not started yet."""
    return Program(["-m", "ringback.cli", "serve", "--listen", "127.0.0.1:0"], folder=folder, environ=environ)


def far_end(folder: Path, log: Path, port: str = "0") -> Program:
    """A far end that is not started yet."""
    return Program(["-m", "ringback.farend", "--listen", f"127.0.0.1:{port}", "--log", str(log)], folder=folder)


def _clean_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RINGBACK_")}
