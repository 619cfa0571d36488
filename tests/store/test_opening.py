"""Opening a database: what is found there again, and what is said to people when it cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ringback.store.database import News, StoreUnavailable
from ringback.store.opening import open_store
from ringback.store.refusals import is_passing
from tests.store.rig import Database, Rig, SetClock, recall


def opening_fails(url: str, **options: float) -> str:
    """What the user is told."""

    async def main() -> None:
        store = await open_store(url, SetClock(), **options)
        await store.close()

    with pytest.raises(StoreUnavailable) as refused:
        asyncio.run(main())
    return str(refused.value)


def create(path: Path) -> None:
    """An empty database of today's schema."""

    async def main() -> None:
        store = await open_store(f"sqlite:///{path}", SetClock())
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite+aiosqlite://"])
def test_every_way_to_write_a_database_in_memory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Database("sqlite-memory", url).run(one_task)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
def test_every_way_to_write_a_file(driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Database("sqlite-file", f"{driver}:///here.db").run(one_task)
    Database("sqlite-file", f"{driver}:///{tmp_path}/näher bei & 100%.db").run(one_task)
    assert {path.name for path in tmp_path.glob("*.db")} == {"here.db", "näher bei & 100%.db"}


async def one_task(rig: Rig) -> None:
    task_id = await rig.new_task(2)
    await rig.run_all(task_id)
    assert (await rig.task(task_id)).state == "finished"


def test_a_file_keeps_everything(file_database: Database) -> None:
    async def main() -> None:
        async with file_database.opened() as rig:
            await rig.furnish()
            parent = await rig.new_task(3, flow=recall(rounds=2))
            (lease,) = await rig.lease(1)
            await rig.answer(lease.call_id)
            before = [await rig.rows(f"SELECT * FROM {table}") for table in ("task", "call", "lane", "flow", "node")]
        async with file_database.opened() as rig:
            assert before == [
                await rig.rows(f"SELECT * FROM {table}") for table in ("task", "call", "lane", "flow", "node")
            ]
            await rig.check_counters()
            # The new process has a worker of its own, and what the old one held is still the old one's.
            assert await rig.new_worker() == 2
            assert await rig.end(lease.call_id, worker=2) == []
            assert await rig.state_of(lease.call_id) == "in_progress"
            assert (await rig.flow_of(parent)).state == "pending"

    asyncio.run(main())


def test_a_commit_is_durable_and_shared(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            pragmas = [(await tx.execute(text(f"PRAGMA {name}"))).scalar() for name in ("journal_mode", "synchronous")]
            assert pragmas == ["wal", 2]
            assert (await tx.execute(text("PRAGMA foreign_keys"))).scalar() == 1

    file_database.run(story)


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async def fail() -> None:
            async with rig.store.write() as tx:
                await tx.execute(text("UPDATE account SET name = 'changed'"))
                raise LookupError

        with pytest.raises(LookupError):
            await fail()
        with pytest.raises(IntegrityError):
            await rig.run_sql("INSERT INTO account (name) VALUES ('half')")
        assert await rig.one("SELECT name FROM account") == "acme"

    database.run(story)


def test_a_transaction_that_is_interrupted_leaves_nothing(database: Database) -> None:
    """A client hangs up in the middle of a request: its transaction is gone, and the next one finds the store free."""

    async def story(rig: Rig) -> None:
        changed = asyncio.Event()

        async def interrupted() -> None:
            async with rig.store.write() as tx:
                await tx.execute(text("UPDATE account SET name = 'changed'"))
                changed.set()
                await asyncio.Event().wait()

        for _ in range(3):
            changed.clear()
            task = asyncio.create_task(interrupted())
            await changed.wait()
            waiting = asyncio.create_task(rig.new_worker())
            await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await waiting
        assert await rig.one("SELECT name FROM account") == "acme"
        assert await rig.one("SELECT count(*) FROM worker") == 4

    database.run(story)


def test_interrupted_at_any_moment_a_transaction_is_whole_or_nothing(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async def move() -> None:
            async with rig.store.write() as tx:
                await tx.execute(text("UPDATE account SET name = name || 'x'"))
                await tx.execute(text("UPDATE template SET name = name || 'x'"))

        for turns in range(60):
            task = asyncio.create_task(move())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            changed = [await rig.one(f"SELECT length(name) FROM {table}") for table in ("account", "template")]
            assert changed[0] - len("acme") == changed[1] - len("bye")

    database.run(story)


def test_readers_see_one_moment(file_database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.read() as tx:
            assert await tx.scalar(text("SELECT name FROM account")) == "acme"
            await rig.run_sql("UPDATE account SET name = 'changed'")
            assert await tx.scalar(text("SELECT name FROM account")) == "acme"
        assert await rig.one("SELECT name FROM account") == "changed"

    file_database.run(story)


def test_many_readers_and_writers_at_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async def write(number: int) -> None:
            await rig.run_sql("UPDATE account SET created_at = created_at + 1")
            assert await rig.one("SELECT count(*) FROM account") == 1
            assert number >= 0

        start = await rig.one("SELECT created_at FROM account")
        await asyncio.gather(*(write(number) for number in range(50)))
        assert await rig.one("SELECT created_at FROM account") == start + 50

    database.run(story)


def test_a_closed_store_says_so(database: Database) -> None:
    async def main() -> None:
        async with database.opened() as rig:
            await rig.furnish()
            await rig.store.close()
            with pytest.raises(StoreUnavailable, match="closed"):
                await rig.one("SELECT 1")
            with pytest.raises(StoreUnavailable, match="closed"):
                await rig.new_worker()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["write", "read"])
def test_closing_waits_for_the_transactions_that_have_begun(database: Database, kind: str) -> None:
    async def main() -> None:
        async with database.opened() as rig:
            await rig.furnish()
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def work() -> object:
                async with rig.store.write() if kind == "write" else rig.store.read() as tx:
                    begun.set()
                    await go_on.wait()
                    return await tx.scalar(text("SELECT name FROM account"))

            working = asyncio.create_task(work())
            await begun.wait()
            closing = asyncio.create_task(rig.store.close())
            await asyncio.wait({closing}, timeout=0.05)
            assert not closing.done()
            late = asyncio.create_task(rig.new_worker())
            await asyncio.sleep(0)
            go_on.set()
            assert await working == "acme"
            await closing
            with pytest.raises(StoreUnavailable, match="closed"):
                await late

    asyncio.run(main())


def test_bells_ring_for_their_news_until_they_are_taken_away(database: Database) -> None:
    async def story(rig: Rig) -> None:
        work, both = rig.store.subscribe(News.WORK), rig.store.subscribe(News.WORK, News.LINES)
        rig.store.announce(News.LINES)
        await both.wait(None)
        ringing = asyncio.create_task(work.wait(None))
        await asyncio.sleep(0)
        assert not ringing.done()
        rig.store.announce(News.WORK)
        await ringing
        # A ring while nobody waits is kept, once.
        rig.store.announce(News.WORK, News.WORK)
        await work.wait(None)
        await work.wait(0)
        rig.store.unsubscribe(work)
        rig.store.announce(News.WORK)
        silent = asyncio.create_task(work.wait(None))
        await asyncio.sleep(0)
        assert not silent.done()
        silent.cancel()

    database.run(story)


def test_a_missing_folder(tmp_path: Path) -> None:
    told = opening_fails(f"sqlite:///{tmp_path}/nowhere/ringback.db")
    assert told == f"the folder of the database does not exist: {tmp_path}/nowhere"


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be opened" in opening_fails(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("content", [b"this is no database, but a text of some length\n" * 50, b"x" * 5000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ringback.db"
    path.write_bytes(content)
    assert opening_fails(f"sqlite:///{path}") == f"{path}: the file is not a Ringback database"
    assert path.read_bytes() == content


def test_the_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE account (who TEXT)")
        other.commit()
    assert "account already exists" in opening_fails(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as other:
        # Nothing of ours was left in it.
        assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["account"]


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    create(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(bytes(content))
    assert "damaged" in opening_fails(f"sqlite:///{path}")


def test_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
    # To SQLite a file whose header asks for a newer writer is read-only, whatever this user may do.
    content = bytearray(path.read_bytes())
    content[18] = 3
    path.write_bytes(bytes(content))
    assert "read-only" in opening_fails(f"sqlite:///{path}")


def test_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    create(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
        other.commit()
    told = opening_fails(f"sqlite:///{path}")
    assert told.startswith(f"{path}: ")
    assert "schema 9999" in told
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_database_that_another_program_locks(tmp_path: Path, lock: str, fresh: bool) -> None:
    path = tmp_path / "ringback.db"
    if not fresh:
        create(path)
    with locked(path, lock):
        told = opening_fails(f"sqlite:///{path}", lock_wait_seconds=0.05)
    assert told == f"{path}: the database is locked by another program; stop it and try again"
    create(path)


def test_a_lock_that_goes_in_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ringback.db"
    create(path)

    async def main() -> None:
        with locked(path, "BEGIN IMMEDIATE") as holder:
            opening = asyncio.create_task(open_store(f"sqlite:///{path}", SetClock(), lock_wait_seconds=30))
            done, _ = await asyncio.wait({opening}, timeout=0.1)
            assert not done
            holder.rollback()
            await (await opening).close()

    asyncio.run(main())


@contextlib.contextmanager
def locked(path: Path, begin: str) -> Iterator[sqlite3.Connection]:
    """Another program in the middle of a transaction."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute(begin)
        yield holder


def test_a_refusal_that_can_pass_is_told_from_one_that_cannot(file_database: Database) -> None:
    async def main() -> None:
        path = Path(file_database.url.removeprefix("sqlite:///"))
        store = await open_store(file_database.url, SetClock(), lock_wait_seconds=0)
        rig = Rig(store, SetClock())
        with locked(path, "BEGIN IMMEDIATE"):
            passing = await error_of(rig.run_sql("UPDATE account SET name = 'x'"))
        assert is_passing(passing)
        many = {f"v{number}": number for number in range(40)}
        async with store.read() as tx:
            raw = await tx.get_raw_connection()
            assert raw.driver_connection is not None
            raw.driver_connection._conn.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 30)
        for sql, values in (
            ("UPDATE nothing SET name = 'x'", {}),
            ("INSERT INTO account (name) VALUES ('x')", {}),
            (f"SELECT {', '.join(f':{name}' for name in many)}", many),
        ):
            refused = await error_of(rig.rows(sql, **values) if values else rig.run_sql(sql))
            assert not is_passing(refused), sql
        assert not is_passing(StoreUnavailable("closed"))
        await store.close()

    asyncio.run(main())


async def error_of(work: Awaitable[object]) -> Exception:
    """What it raises."""
    try:
        await work
    except SQLAlchemyError as error:
        return error
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://user:secret@host", "names no database"),
        ("mysql+asyncmy://user:secret@host/db", "'mysql' is not supported"),
        ("", "cannot be read"),
        ("ringback.db", "cannot be read"),
        ("user:secret@host", "cannot be read"),
        ("sqlite://host:port/secret", "cannot be read"),
        ("sqlite://ringback.db", "three slashes"),
        ("sqlite:///file:ringback?mode=memory&uri=true", "three slashes"),
    ],
)
def test_a_url_that_names_no_database_of_ours(
    url: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = opening_fails(url)
    assert told in said
    assert "secret" not in said
    assert list(tmp_path.iterdir()) == []


CREATE = """
import asyncio, sys
from ringback.clock import RealClock
from ringback.store.opening import open_store
sys.stdin.readline()
asyncio.run(asyncio.run(open_store(sys.argv[1], RealClock())).close())
"""


def test_two_programs_make_the_same_new_database(tmp_path: Path) -> None:
    """Both find no schema; one makes it and the other waits for it."""
    path = tmp_path / "ringback.db"
    command = [sys.executable, "-c", CREATE, f"sqlite:///{path}"]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(2)]
    for process in both:
        # They have imported everything by now or not: either way they start together.
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in both] == [0, 0]
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_several_stores_of_one_process_on_a_new_file(file_database: Database) -> None:
    async def main() -> None:
        for number in range(4):
            url = f"{file_database.url}{number}"
            for store in await asyncio.gather(*(open_store(url, SetClock()) for _ in range(5))):
                await store.close()

    asyncio.run(main())


def test_a_new_file_is_its_owners_alone(file_database: Database) -> None:
    async def main() -> None:
        store = await open_store(file_database.url + "new", SetClock())
        try:
            path = Path(file_database.url.removeprefix("sqlite:///") + "new")
            # The journal beside it takes the mode of the file.
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.glob(path.name + "*")}
            assert set(modes.values()) == {0o600}, modes
        finally:
            await store.close()

    asyncio.run(main())
