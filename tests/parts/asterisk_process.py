"""A real Asterisk for tests: started on free ports from the configuration that users copy, ended by its own id."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Self

from ringback.telephony.asterisk.configuration import AsteriskOptions, asterisk_files
from tests.parts.parts import ASTERISK, asterisk_command, folder, libraries, require
from tests.parts.processes import ends_with_us

BOOT_SECONDS = 60
STOP_SECONDS = 20


class AsteriskProcess:
    """Use as a context manager. ``address`` goes into RINGBACK_ASTERISK; ``kill`` and ``start`` restart it in place.

    When it dies by itself it is started again, as a service manager does, and ``crashes`` has its exit codes: up to
    22.10.1 at least, one hang-up in some ten thousand kills it (upstream's issue 1985).
    """

    def __init__(self, *, rtp_ports: int = 2_000) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ringback-asterisk-"))
        self.http_port = free_port(socket.SOCK_STREAM)
        self.sip_port = free_port(socket.SOCK_DGRAM)
        rtp_start = 10_000 + 2_000 * (os.getpid() % 20)
        self._options = AsteriskOptions(
            http_port=self.http_port,
            password="testsecret",
            sip_host="127.0.0.1",
            sip_port=self.sip_port,
            rtp_start=rtp_start,
            rtp_end=rtp_start + rtp_ports - 1,
        )
        self.address = f"http://ringback:testsecret@127.0.0.1:{self.http_port}"
        self.sounds = self.folder / "sounds"
        self.process: subprocess.Popen[bytes] | None = None
        self.crashes: list[int] = []
        self._wanted = False
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        self._write_configuration()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """What a server's environment needs to dial through it."""
        return {
            "RINGBACK_TELEPHONY": "asterisk",
            "RINGBACK_ASTERISK": self.address,
            "RINGBACK_ASTERISK_SOUNDS": str(self.sounds),
        }

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "out.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until ARI answers."""
        # It is killed when the thread that started it ends: so that is one which lasts as long as it does.
        launched = threading.Event()
        threading.Thread(target=self._supervise, args=(launched,), daemon=True).start()
        launched.wait(BOOT_SECONDS)
        assert self.process is not None
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"Asterisk did not start:\n{self.log[-4000:]}")
            # Another process is being waited for: there is no event in this one.
            time.sleep(0.05)
        self._wanted = True

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        process = self._unwanted()
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL: no last words."""
        process = self._unwanted()
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_SECONDS)

    def _unwanted(self) -> subprocess.Popen[bytes] | None:
        with self._turn:
            self._wanted = False
            return self.process

    def _launch(self) -> None:
        with (self.folder / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                ends_with_us([*asterisk_command(), "-C", str(self.folder / "etc/asterisk.conf"), "-f", "-n"]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "MALLOC_ARENA_MAX": "2"},
            )

    def _supervise(self, launched: threading.Event) -> None:
        try:
            self._launch()
        finally:
            launched.set()
        while True:
            assert self.process is not None
            code = self.process.wait()
            with self._turn:
                if not self._wanted:
                    return
                self.crashes.append(code)
                self._launch()

    def command(self, text: str) -> str:
        """The answer to a command of Asterisk's own console."""
        done = subprocess.run(
            [*asterisk_command(), "-C", str(self.folder / "etc/asterisk.conf"), "-rx", text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BOOT_SECONDS,
            check=True,
        )
        return done.stdout

    def _answers(self) -> bool:
        # While it still boots it answers 503 to who is known, and 401 to others.
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/ari/asterisk/ping",
            headers={"Authorization": "Basic " + base64.b64encode(b"ringback:testsecret").decode()},
        )
        with contextlib.suppress(OSError):
            urllib.request.urlopen(request, timeout=2).close()
            return True
        return False

    def _write_configuration(self) -> None:
        etc = self.folder / "etc"
        for name in ("etc", "lib/keys", "db", "spool/recording", "run", "log"):
            (self.folder / name).mkdir(parents=True)
        for name, text in asterisk_files(self._options).items():
            (etc / name).write_text(text)
        directories = {
            "astetcdir": etc,
            "astmoddir": libraries() / "asterisk/modules",
            "astvarlibdir": self.folder / "lib",
            "astdbdir": self.folder / "db",
            "astkeydir": self.folder / "lib",
            "astdatadir": folder() / "usr/share/asterisk",
            "astagidir": self.folder / "lib",
            "astspooldir": self.folder / "spool",
            "astrundir": self.folder / "run",
            "astlogdir": self.folder / "log",
        }
        lines = [f"{name} => {path}" for name, path in directories.items()]
        (etc / "asterisk.conf").write_text("[directories]\n" + "\n".join(lines) + "\n")


def asterisk() -> AsteriskProcess:
    """A real Asterisk that is not started yet. Without the parts the test is skipped, and under CI it fails."""
    require(ASTERISK)
    return AsteriskProcess()


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody listens on now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
