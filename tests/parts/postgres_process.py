"""A real PostgreSQL for tests: its own data, port and socket, ended by its own id, and with the test process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Literal, Self

from tests.parts.parts import PartMissing, postgres_programs, require_postgres
from tests.parts.processes import children, send, state

USER = "ringback"
PASSWORD = "testsecret"
BOOT_SECONDS = 60
STOP_SECONDS = 30
MEMORY_BYTES = 2 << 30
KEEPER = Path(__file__).with_name("postgres_keeper.py").read_text()
IPC_RMID = 0  # <linux/ipc.h>
READY = "database system is ready to accept connections"

#: How a server is asked to stop: wait for nothing but running statements to be cut off, or not even for a checkpoint.
StopMode = Literal["fast", "immediate"]
_STOP_SIGNAL = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresProcess:
    """Use as a context manager. ``url`` says how to connect; ``kill`` and ``start`` restart it on its data and port.

    ``fsync`` off is for tests that lose nothing when the machine fails: the data is then in memory where there is room,
    for a new database is 300 files and some disks take a millisecond for each. As root it runs as ``nobody``, for
    PostgreSQL refuses root. Its methods block, briefly. Raises PartMissing without the programs.
    """

    def __init__(self, *, fsync: bool = False, settings: dict[str, str] | None = None) -> None:
        self.programs = postgres_programs()
        self._owner: pwd.struct_passwd | None = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._out_of_reach = self._owner is not None and not _can_run(self.programs, self._owner)
        # Not a folder of pytest's: those are closed to other users.
        place = None if fsync or self._out_of_reach else _memory()
        self.folder = Path(tempfile.mkdtemp(prefix="ringback-postgres-", dir=place))
        self.data = self.folder / "data"
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        #: Process id of the server (the postmaster), once started.
        self.pid = 0
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "max_wal_size": "256MB",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            # In the data folder, so that a killed server leaves nothing in the machine's shared memory.
            "dynamic_shared_memory_type": "mmap",
            "jit": "off",
            "timezone": "GMT",  # known to it without the machine's time zones
            **(settings or {}),
        }
        self._log: list[str] = []
        self._accepts = False
        self._decided = threading.Event()
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "".join(self._log)

    @property
    def running(self) -> bool:
        """Whether the server's process, or one that it left behind, is there."""
        return self.process is not None and self.process.poll() is None

    def url(self, database: str = "postgres") -> str:
        """How a client connects to one of its databases."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's programs (``pg_dump``, ``pg_restore``, ``pg_basebackup``, ``psql``)."""
        return str(self.programs / name)

    @property
    def environ(self) -> dict[str, str]:
        """The environment in which such a program connects as the owner, and to no other server."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "LC_ALL": "C",
            "PGHOST": str(self.folder),
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": "postgres",
        }

    def start(self) -> None:
        """Start it on its data and wait until it accepts connections."""
        assert not self.running
        fresh = not self.port
        for _ in range(5):
            self.port = self.port or _free_port()
            if self._started():
                return
            if not fresh or "could not bind" not in self.log:
                break
            self.port = 0  # another process was faster
        raise AssertionError(f"PostgreSQL did not start:\n{self.log[-4000:]}")

    def stop(self, mode: StopMode = "fast") -> None:
        """End connections and server: ``fast`` with a checkpoint, ``immediate`` leaves recovery to the next start."""
        self._end(_STOP_SIGNAL[mode])

    def kill(self) -> None:
        """SIGKILL to the server's process, and wait until its children have noticed and are gone."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop all of its processes where they are: connections stay open and nothing answers."""
        frozen: list[int] = []
        # The server first: it then makes no more children.
        while fresh := [pid for pid in (self.pid, *children(self.pid)) if pid not in frozen]:
            for pid in fresh:
                send(pid, signal.SIGSTOP)
                while state(pid) not in "TZ":
                    os.sched_yield()
            frozen += fresh

    def thaw(self) -> None:
        """Let all of its processes go on."""
        for pid in (*children(self.pid), self.pid):
            send(pid, signal.SIGCONT)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement gives, run as the owner: a line a row, columns parted by a bar. Raises RuntimeError."""
        done = self._run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement], self.environ)
        return done.strip()

    def create_database(self, name: str, template: str | None = None) -> None:
        """Make a database, as a copy of another where one is named: nobody may be connected to that one."""
        self.sql(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))

    def drop_database(self, name: str) -> None:
        """Remove a database and end the connections to it. It need not exist."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def drop_connections(self) -> int:
        """End all clients' connections, as an operator or a failing network would. Returns how many."""
        return int(
            self.sql(
                f"SELECT count(pg_terminate_backend(pid, {STOP_SECONDS * 1000})) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        )

    def close(self) -> None:
        """End it in whatever state it is, and remove its folder."""
        if self.running:
            self.thaw()
            self.stop("immediate")
        with contextlib.suppress(FileNotFoundError):  # what a server leaves that was killed
            _release((self.data / "postmaster.pid").read_text())
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        if self._out_of_reach:
            self.programs = _copied(self.programs, self.folder)
        if self._owner:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)  # the folder is closed
        self._run(
            [
                *("initdb", "--pgdata", str(self.data), "--username", USER, "--pwfile", str(password)),
                *("--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"),
            ],
            self._bare_environ(),
            self._owner,
        )
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(lines)

    def _run(self, command: list[str], environ: dict[str, str], owner: pwd.struct_passwd | None = None) -> str:
        done = subprocess.run(
            [self.program(command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=environ,
            timeout=BOOT_SECONDS,
            **_as(owner),
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout

    def _bare_environ(self) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C"}

    def _started(self) -> bool:
        self._accepts = False
        self._decided.clear()
        owner = f"{self._owner.pw_uid}:{self._owner.pw_gid}" if self._owner else "-"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-IS", "-c", KEEPER, owner, str(self.folder)),
                *(self.program("postgres"), "-D", str(self.data), "-p", str(self.port)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self._bare_environ(),
            start_new_session=True,  # Ctrl-C ends the tests, and they end the server
        )
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline() or 0)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self._decided.wait(BOOT_SECONDS)
        if self._accepts:
            return True
        self._end(signal.SIGKILL)
        return False

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Keep what the server says; ``_decided`` when it accepts connections, or has ended."""
        assert process.stderr is not None
        for line in process.stderr:
            self._log.append(line)
            if READY in line:
                self._accepts = True
                self._decided.set()
        self._decided.set()

    def _end(self, how: signal.Signals) -> None:
        assert self.process is not None
        assert self._reader is not None
        if self.process.poll() is None:
            frozen = state(self.pid) == "T"
            left = children(self.pid) if frozen else []
            send(self.pid, how)
            for pid in (self.pid, *left) if frozen else ():
                send(pid, signal.SIGCONT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # The keeper ends the server and what it left behind, and takes the folder with it.
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"PostgreSQL did not end:\n{self.log[-4000:]}") from None
        finally:
            self._reader.join(STOP_SECONDS)
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()


def postgres(*, fsync: bool = False) -> PostgresProcess:
    """A real PostgreSQL that is not started yet. Without the programs the test is skipped, and under CI it fails."""
    require_postgres()
    return PostgresProcess(fsync=fsync)


def _memory() -> str | None:
    """A file system in memory with room for a server's data, if there is one and nobody has asked for another place."""
    memory = Path("/dev/shm")
    room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MEMORY_BYTES
    return str(memory) if room and "TMPDIR" not in os.environ else None


def _can_run(programs: Path, owner: pwd.struct_passwd) -> bool:
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, cwd="/", **_as(owner))
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _copied(programs: Path, folder: Path) -> Path:
    """A copy of fetched programs, for a user who may not look into the checkout. Raises PartMissing for others."""
    if not (programs / "elf").is_dir():
        raise PartMissing(f"{programs} is closed to the user nobody, and PostgreSQL refuses to run as root")
    tree = programs.parents[3]
    copy = shutil.copytree(tree, folder / "programs", symlinks=True)
    return copy / programs.relative_to(tree)


def _release(lock: str) -> None:
    """Give back the shared memory, a few bytes, by which a server knows that it is alone on its data."""
    # The last line but one of the lock file: key and id of the segment.
    segment = int(lock.splitlines()[6].split()[1])
    ctypes.CDLL(None).shmctl(segment, IPC_RMID, None)


def _as(owner: pwd.struct_passwd | None) -> dict[str, Any]:
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}


def _free_port() -> int:
    """A port that nobody listens on now; below those that connections are made from, so that it stays free."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port below 32000")
