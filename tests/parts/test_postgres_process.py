"""The PostgreSQL of the tests' own: it starts, outlives a kill, leaves others alone, and ends with its test process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.parts.postgres_process import PostgresProcess, postgres

pytestmark = pytest.mark.enable_socket

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60


@pytest.fixture(scope="module")
def durable() -> Iterator[PostgresProcess]:
    with postgres(fsync=True) as server:
        yield server


async def connected(url: str) -> tuple[asyncpg.Connection, asyncio.Event]:
    """A connection, and the event of its end."""
    connection = await asyncpg.connect(url)
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    return connection, lost


def answer(url: str, statement: str) -> object:
    async def main() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(main())


def test_the_programs_are_complete_and_new_enough(postgres_server: PostgresProcess) -> None:
    assert int(postgres_server.sql("SHOW server_version_num")) >= 150_000
    for name in ("pg_dump", "pg_restore", "pg_basebackup", "psql"):
        done = subprocess.run([postgres_server.program(name), "--version"], capture_output=True, text=True, check=True)
        assert "PostgreSQL" in done.stdout


def test_a_database_is_a_copy_of_its_template(postgres_server: PostgresProcess) -> None:
    postgres_server.create_database("pattern")
    postgres_server.sql("CREATE TABLE numbers AS SELECT 7 AS number", "pattern")
    postgres_server.create_database("copy", template="pattern")
    assert answer(postgres_server.url("copy"), "SELECT number FROM numbers") == 7
    assert answer(postgres_server.url("copy"), "SHOW server_encoding") == "UTF8"
    for name in ("copy", "pattern", "pattern"):
        postgres_server.drop_database(name)
    with pytest.raises(RuntimeError, match='database "copy" does not exist'):
        postgres_server.sql("SELECT 1", "copy")


def test_a_wrong_password_is_refused(postgres_server: PostgresProcess) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        answer(postgres_server.url().replace("testsecret", "guess"), "SELECT 1")


def test_a_killed_server_comes_back_with_what_was_committed(durable: PostgresProcess) -> None:
    assert durable.sql("SHOW fsync") == "on"
    durable.sql("CREATE TABLE promises (id int)")
    address, killed = durable.url(), durable.pid

    async def main() -> None:
        connection, lost = await connected(address)
        await connection.execute("INSERT INTO promises VALUES (1)")
        await connection.execute("BEGIN; INSERT INTO promises VALUES (2)")
        durable.kill()
        assert not durable.running
        await asyncio.wait_for(lost.wait(), PATIENCE)
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncpg.connect(address)

    asyncio.run(main())

    durable.start()
    assert durable.url() == address
    assert durable.pid != killed
    assert answer(address, "SELECT array_agg(id) FROM promises") == [1]
    assert "was not properly shut down; automatic recovery in progress" in durable.log


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_starts_again(durable: PostgresProcess, mode) -> None:
    durable.stop(mode)
    assert not durable.running
    durable.start()
    assert durable.sql("SELECT 1") == "1"


def test_a_frozen_server_answers_when_it_is_thawed(durable: PostgresProcess) -> None:
    async def main() -> None:
        connection = await asyncpg.connect(durable.url())
        durable.freeze()
        question = asyncio.create_task(connection.fetchval("SELECT 1"))
        done, _ = await asyncio.wait([question], timeout=0.2)
        assert not done
        durable.thaw()
        assert await question == 1
        await connection.close()

    asyncio.run(main())


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_frozen_server_can_be_ended(durable: PostgresProcess, end) -> None:
    durable.freeze()
    getattr(durable, end)()
    assert not durable.running
    durable.start()
    assert durable.sql("SELECT 1") == "1"


def test_dropped_connections_are_all_but_the_one_that_drops(durable: PostgresProcess) -> None:
    async def main() -> None:
        connections = [await connected(durable.url()) for _ in range(3)]
        assert durable.drop_connections() == 3
        for _, lost in connections:
            await asyncio.wait_for(lost.wait(), PATIENCE)

    asyncio.run(main())


def test_another_server_is_left_alone(postgres_server: PostgresProcess, durable: PostgresProcess, monkeypatch) -> None:
    """Though the environment, as on a developer's machine, names that one."""
    for name, value in postgres_server.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGDATA", str(postgres_server.data))
    assert len({postgres_server.port, durable.port, 5432}) == 3

    async def main() -> None:
        connection = await asyncpg.connect(postgres_server.url())
        with postgres() as third:
            for server in (third, durable):
                server.create_database("mine")
                assert server.drop_connections() == 0
                server.kill()
        assert await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'mine'") == 0
        await connection.close()

    asyncio.run(main())
    durable.start()
    durable.drop_database("mine")


OWN_PROCESS = """
import os, pathlib, shutil, sys
from tests.parts.postgres_process import postgres, postgres_programs
postgres_programs()
if sys.argv[1] == "nobody":
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    if not os.access(sys.executable, os.X_OK):  # an interpreter below a home folder, say
        sys.executable = shutil.which("python3", path=os.defpath)
with postgres() as server:
    owner = pathlib.Path(f"/proc/{server.pid}").stat().st_uid
    print(server.sql("SELECT 6 * 7"), os.geteuid(), owner, server.pid, server.folder, flush=True)
    sys.stdin.read()
"""


def own_process(user: str, programs: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWN_PROCESS, user],
        cwd=ROOT,
        env={**os.environ, "POSTGRES_BIN": str(programs)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("user", ["this", "nobody"] if os.geteuid() == 0 else ["this"])
def test_it_runs_as_root_and_not_as_root(postgres_server: PostgresProcess, user) -> None:
    with own_process(user, postgres_server.programs) as process:
        printed, _ = process.communicate("", PATIENCE)
    result, runner, owner, _, folder = printed.split()
    assert (process.returncode, result) == (0, "42")
    assert int(runner) == (os.geteuid() if user == "this" else 65534)
    assert int(owner) != 0
    assert not Path(folder).exists()


def test_it_ends_with_a_test_process_that_is_killed(postgres_server: PostgresProcess) -> None:
    with own_process("this", postgres_server.programs) as process:
        assert process.stdout is not None
        *_, pid, folder = process.stdout.readline().split()
        ended = os.pidfd_open(int(pid))
        keeper = os.pidfd_open(parent(int(pid)))
        process.send_signal(signal.SIGKILL)
        for watched in (ended, keeper):
            assert select.select([watched], [], [], PATIENCE)[0]
            os.close(watched)
    assert not Path(folder).exists()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_server_that_cannot_start_says_why() -> None:
    server = PostgresProcess(settings={"shared_buffers": "nonsense"})
    with pytest.raises(AssertionError, match='invalid value for parameter "shared_buffers": "nonsense"'), server:
        pass
    assert not server.folder.exists()
