"""The processes: PostgreSQL, Asterisk, a carrier for each trunk, and Ringback's roles, each in a process of its own.

All on loopback, in one folder, each ended by its own id; what this process leaves behind when it is killed ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from bench.processes import finish
from chaos.disk import SmallDisk
from chaos.evidence import read_carrier
from tests.parts.asterisk_process import AsteriskProcess, free_port
from tests.parts.postgres_process import PostgresProcess
from tests.parts.processes import ends_with_us, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.evidence import Seen

KEY, SECRET = "chaoskey", "chaossecret"
#: Each look at the database is a process of psql's: not too many on a small machine.
POLL_SECONDS: Final = 0.3
BOOT_SECONDS: Final = 90.0
#: Longer than PostgreSQL lets a process stand still inside a transaction (5 s).
TAKEOVER_SECONDS: Final = 8.0
#: The interval of the recall flow is one minute, and this is a minute.
MINUTE_SECONDS: Final = 2.0
#: Hangs up after a second, unless the callee did before.
TEMPLATE: Final = "name: t\nsteps:\n  - gather: {timeout: 1}\n  - hangup\n"


class TookTooLong(Exception):
    """Something did not happen in time."""


def until(found: Callable[[], Any], *, what: str, seconds: float) -> Any:
    """The first answer that is true. Raises TookTooLong."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = found()
        if answer:
            return answer
        # Other processes are being watched: there is no event in this one.
        time.sleep(POLL_SECONDS)
    raise TookTooLong(f"waited {seconds:g} s for {what}")


class Member:
    """One `ringback serve` with one role."""

    def __init__(self, name: str, role: str, folder: Path, environ: dict[str, str], port: int = 0) -> None:
        self.name = name
        self.role = role
        self.port = port
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the latest process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where its API answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; it need not be ready when this returns. Only the main thread may: it dies with who started it."""
        command = [sys.executable, "-m", "ringback.cli", "serve", "--role", self.role]
        command += ["--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ends_with_us(command),
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self) -> bool:
        """Whether the latest process has said so. Raises RuntimeError when it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self.log.read_text()[-3000:]}")
        return self.log.read_bytes().count(b"ringback ready") > self.log.read_bytes().count(b"KILLED\n")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        with self.log.open("ab") as log:
            log.write(b"\nKILLED\n")

    def freeze(self) -> None:
        """Stop it where it is."""
        send(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        send(self.pid, signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self, seconds: float) -> int | None:
        """Ask it to end in good order. Returns its exit code, ``None`` when it had to be killed."""
        assert self._process is not None
        self.thaw()
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def close(self) -> None:
        """End it in whatever state it is."""
        if self.running:
            self.thaw()
            self.stop(5)


class CarrierProcess:
    """The carrier of one trunk."""

    def __init__(self, trunk: str, folder: Path, seed: int) -> None:
        self.trunk = trunk
        self.log = folder / f"carrier-{trunk}.jsonl"
        self.process = subprocess.Popen(
            ends_with_us([sys.executable, "-m", "chaos.carrier", "--log", str(self.log), "--seed", str(seed)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self._read = 0
        self._invites = 0

    def invites(self) -> int:
        """How many calls have reached it."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            complete, end, _ = log.read().rpartition(b"\n")
        self._read += len(complete + end)
        self._invites += complete.count(b'"event": "invite"')
        return self._invites

    def seen(self) -> list[Seen]:
        """Every call so far."""
        return read_carrier(self.trunk, self.log.read_text().splitlines())

    def close(self) -> None:
        """End it after its last words."""
        if self.process.stdin is not None and self.process.poll() is None:
            self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        finish(self.process)


class World:
    """Use as a context manager. ``trunks``: (name, calls per second, channels). ``small_disk``: PostgreSQL gets one."""

    def __init__(
        self,
        trunks: list[tuple[str, float, int]],
        *,
        diallers: int = 3,
        apis: int = 2,
        seed: int = 1,
        small_disk: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ringback-chaos-"))
        self.trunks = trunks
        self._seed = seed
        self._small_disk = small_disk
        self._counts = (diallers, apis)
        # A run holds hundreds of connections at times: a killed process's ends when it is next written to.
        settings = {"max_connections": "300", "log_lock_waits": "on", "log_line_prefix": "%m [%p] "}
        self.postgres = PostgresProcess(fsync=True, settings=settings)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything and remove the folder, unless CHAOS_KEEP is set: it then holds every log."""
        self._stack.close()
        (self.folder / "postgres.log").write_text(self.postgres.log)
        if "CHAOS_KEEP" not in os.environ:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _build(self) -> None:
        enter = self._stack.enter_context
        self.disk: SmallDisk | None = None
        if self._small_disk:
            self.disk = SmallDisk(self.postgres.folder)
            self._stack.callback(self.disk.close)
        enter(self.postgres)
        self.asterisk = enter(AsteriskProcess())
        self.carriers = []
        for number, (name, _, _) in enumerate(self.trunks):
            carrier = CarrierProcess(name, self.folder, self._seed + number)
            self._stack.callback(carrier.close)
            self.carriers.append(carrier)
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RINGBACK_")},
            **self.asterisk.environ,
            "RINGBACK_ASTERISK": f"{self.asterisk.address}?lines=1000",
            "RINGBACK_ASTERISK_DETECT_MACHINES": "false",
            "RINGBACK_DATABASE_URL": self.postgres.url(),
            "RINGBACK_TAKEOVER_SECONDS": str(TAKEOVER_SECONDS),
            "RINGBACK_MINUTE_SECONDS": str(MINUTE_SECONDS),
            "RINGBACK_NO_REPLY_SECONDS": "4",
            "RINGBACK_DRAIN_SECONDS": "20",
            "RINGBACK_LOG_LEVEL": "info",
        }
        self._furnish()
        diallers, apis = self._counts
        self.diallers = [
            self._member(f"dialler{n}", "dialler", RINGBACK_ASTERISK_NAME=f"chaos{n}") for n in range(1, diallers + 1)
        ]
        self.apis = [self._member(f"api{n}", "api", port=free_port(socket.SOCK_STREAM)) for n in range(1, apis + 1)]
        self.conductor = self._member("conductor", "conductor")
        for member in self.members:
            member.start()
        for member in self.members:
            until(member.ready, what=member.name, seconds=BOOT_SECONDS)

    @property
    def members(self) -> list[Member]:
        """Every process of Ringback's own."""
        return [*self.diallers, *self.apis, self.conductor]

    def _member(self, name: str, role: str, *, port: int = 0, **environ: str) -> Member:
        member = Member(name, role, self.folder, {**self.environ, **environ}, port)
        self._stack.callback(member.close)
        return member

    def _furnish(self) -> None:
        (self.folder / "t.yaml").write_text(TEMPLATE)
        self.ringback("migrate")
        self.ringback("account", "create", "chaos", "--api-key", KEY, "--api-secret", SECRET)
        for (name, rate, channels), carrier in zip(self.trunks, self.carriers, strict=True):
            limits = ("--cps", str(rate), "--channels", str(channels))
            self.ringback("trunk", "add", name, "--to", f"127.0.0.1:{carrier.port}", *limits)
            self.ringback("route", "add", "", name, "--weight", str(round(rate)))
        self.template_id = int(self.ringback("template", "add", "t.yaml").splitlines()[-1])

    def ringback(self, *arguments: str) -> str:
        """What a command says. Raises RuntimeError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "ringback.cli", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=BOOT_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(f"ringback {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query gives, a dictionary a row. Raises RuntimeError while PostgreSQL is away."""
        said = self.postgres.sql(f"SELECT row_to_json(q) FROM ({query}) q")
        return [json.loads(line) for line in said.splitlines()]

    def invites(self) -> int:
        """How many calls have reached the carriers."""
        return sum(carrier.invites() for carrier in self.carriers)
