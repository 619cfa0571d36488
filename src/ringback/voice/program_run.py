"""One run of a program that reads and writes audio: bounded in time, output and memory, and safe to stop.

No shell, and what comes from outside goes to its standard input or, checked, into its arguments by whoever calls. A run
blocks its thread. The subprocesses of asyncio would not, but a shutdown that cancels one while it is being started can
wait for it for ever (seen on Python 3.11.7).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SAID_BYTES = 300  # of what the program writes to standard error


class ProgramError(Exception):
    """The program did not do its work. The text says why."""


class ProgramHung(ProgramError):
    """It had to be killed, for it took too long."""


class ProgramFailed(ProgramError):
    """It ended with a code. ``said``: what it wrote to standard error, from the start."""

    def __init__(self, code: int | None, said: str) -> None:
        super().__init__(f"ended with {code}: {said}")
        self.said = said


class OutputTooLong(ProgramError):
    """It wrote more than was asked for."""


class ProgramRun:
    """A run that is to be made once, by :meth:`output`, and can be stopped from another thread.

    ``time_limit`` is seconds of real time, ``max_output`` bytes. ``max_memory`` bounds the address space, in bytes,
    where the system can do that to another process (Linux); ``None``: as much as there is. ``folder`` is its working
    directory and ``environment`` its variables; ``None``: ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        time_limit: float,
        max_output: int,
        max_memory: int | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = list(command)
        self._time_limit = time_limit
        self._max_output = max_output
        self._max_memory = max_memory
        self._folder = folder
        self._environment = environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._hung = False

    def output(self, data: BinaryIO) -> bytes:
        """Run the program on an open file and wait for it; what it wrote.

        A file, not a pipe: nobody has to write while the program reads, or cares when it does not.

        Raises:
            ProgramError: it could not be started, failed, took too long or wrote too much; or it was stopped.
        """
        try:
            process = self._start(data)
        except OSError as error:
            raise ProgramError(f"cannot be started ({error.strerror})") from error
        timer = threading.Timer(self._time_limit, self._give_up)
        timer.start()
        try:
            # Leaving the block closes the pipes and waits for the end.
            with process:
                try:
                    written, said, code = self._listen(process)
                finally:
                    self._kill()
        finally:
            timer.cancel()
        if self._hung:
            raise ProgramHung(f"did not finish in {self._time_limit:g} s")
        if len(written) > self._max_output:
            raise OutputTooLong(f"made more than {self._max_output} bytes")
        if code != 0:
            raise ProgramFailed(code, said)
        return written

    def stop(self) -> None:
        """End the run, now or as soon as it begins. Safe from any thread, at any time."""
        with self._lock:
            self._stopped = True
        self._kill()

    def _start(self, data: BinaryIO) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise ProgramError("was stopped")
            self._process = process = subprocess.Popen(  # noqa: S603 - no shell, see above
                self._command,
                stdin=data,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,  # a group of its own, so that a kill reaches what it has started
            )
        if self._max_memory is not None and hasattr(resource, "prlimit"):
            # After the start: code between fork and exec is not safe in a process with threads.
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or is bound more closely
                resource.prlimit(process.pid, resource.RLIMIT_AS, (self._max_memory, self._max_memory))
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> tuple[bytes, str, int | None]:
        """What the program writes, what it says on standard error, and its exit code (``None``: not ended)."""
        assert process.stdout is not None
        assert process.stderr is not None
        written = process.stdout.read(self._max_output + 1)
        if len(written) > self._max_output:
            return written, "", None
        code = process.wait()
        # Only what is there: nobody reads along, so a program that complains without end blocks until it is killed.
        os.set_blocking(process.stderr.fileno(), False)
        said = process.stderr.read(_SAID_BYTES) or b""
        return written, said.decode(errors="replace").strip(), code

    def _give_up(self) -> None:
        self._hung = True
        self._kill()

    def _kill(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
