"""A restored database is known as one, however it was put back; a database that only went on is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from ringback.model.outcome import Outcome
from ringback.store import outlook, provenance, settling
from ringback.store.opening import open_store
from ringback.store.provenance import DatabaseHeld
from ringback.store.witness import Witness
from tests.store.rig import ENGINE, Database, Rig, SetClock, recall


class Installed:
    """One database file with its witness, started and stopped like a server."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.clock = SetClock()

    @property
    def witness(self) -> Witness:
        found = Witness.of(f"sqlite:///{self.file}", ".ringback")
        assert found is not None
        return found

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Rig]:
        store = await open_store(f"sqlite:///{self.file}", self.clock)
        try:
            yield Rig(store, self.clock)
        finally:
            await store.close()

    async def start(self) -> str:
        """What a start finds: why nothing is dialled, or nothing."""
        async with self.open() as rig:
            return await look(rig, self.witness)

    async def dial(self, count: int) -> None:
        """So many leases with a call each, as a dialler makes them."""
        async with self.open() as rig:
            rig.account, rig.app, rig.trunk, rig.template = 1, 1, 1, 1
            rig.worker = await rig.new_worker()
            row = await read(rig)
            for _ in range(count):
                self.clock.advance(1000)
                batch = await rig.lease_batch(free_lines=1)
                assert len(batch.leases) == 1
                self.witness.saw(row.database_id, batch.number)
                await rig.end(batch.leases[0].call_id)

    async def settle(self) -> None:
        async with self.open() as rig, rig.store.write() as tx:
            settled = await settling.nothing_lost(tx, self.clock.ms)
            self.witness.saw((await provenance.read(tx)).database_id, settled.leases)


@pytest.fixture
def installed(tmp_path: Path, migrated_file: Path) -> Installed:
    """A furnished database with a task of 1,000 numbers, that has dialled 10 of them."""
    file = tmp_path / "here" / "ringback.db"
    file.parent.mkdir()
    shutil.copy(migrated_file, file)
    made = Installed(file)

    async def main() -> None:
        assert await made.start() == ""
        async with made.open() as rig:
            await rig.furnish()
            await rig.new_task(1000)
        await made.dial(10)
        assert await made.start() == ""

    asyncio.run(main())
    return made


async def look(rig: Rig, witness: Witness | None) -> str:
    async with rig.store.write() as tx:
        checked = await provenance.check(tx, witness, rig.clock.ms)
    if witness is not None:
        witness.saw(checked.database_id, checked.leases)
    return checked.why_held


async def read(rig: Rig) -> provenance.Provenance:
    async with rig.store.read() as tx:
        return await provenance.read(tx)


async def hold(rig: Rig) -> None:
    async with rig.store.write() as tx:
        assert await provenance.hold(tx, "a test", rig.clock.ms)


def test_every_lease_that_gives_out_calls_is_counted_and_no_other(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(3)
        assert (await rig.lease_batch(free_lines=0)).number == 0
        assert (await rig.lease_batch(free_lines=1)).number == 1
        rig.clock.advance(1000)
        assert (await rig.lease_batch()).number == 2
        rig.clock.advance(1000)
        assert (await rig.lease_batch()).number == 0
        assert (await read(rig)).leases == 2

    database.run(story)


def test_a_held_database_gives_out_nothing_starts_nothing_and_says_why(database: Database) -> None:
    async def story(rig: Rig) -> None:
        over = await rig.new_task(1, flow=recall())
        await rig.run_all(over, [(Outcome.BUSY, None)])
        calling = await rig.new_task(2)
        waiting = await rig.new_task(1, started=False)
        rig.clock.advance(3_600_000)
        assert len(await rig.due_nodes()) == 1
        await hold(rig)
        with pytest.raises(DatabaseHeld, match="a test"):
            await rig.lease_batch()
        assert (await rig.task(calling)).queued == 2
        assert await rig.due_nodes() == []
        assert await rig.submit() == []
        assert (await rig.task(waiting)).state == "waiting"
        async with rig.store.read() as tx:
            reasons = await outlook.waiting_reasons(tx, engine=ENGINE, now_us=rig.clock.us)
            why = await provenance.why_held(tx)
        assert reasons == {calling: why}
        assert why == "the database is held: a test (see `ringback settle`)"
        async with rig.store.write() as tx:
            assert not await provenance.hold(tx, "another reason", rig.clock.ms)
            assert await provenance.why_held(tx) == why
            await provenance.release(tx, rig.clock.ms)
        assert len((await rig.lease_batch()).leases) == 2
        assert len(await rig.due_nodes()) == 1
        assert await rig.submit() == [waiting]

    database.run(story)


def test_there_is_one_row_and_a_hold_has_a_reason(database: Database) -> None:
    async def story(rig: Rig) -> None:
        for statement in (
            "INSERT INTO provenance (id, database_id) VALUES (2, 'x')",
            "UPDATE provenance SET held_since = 1",
            "UPDATE provenance SET held_reason = 'x'",
            "UPDATE provenance SET leases = -1",
        ):
            with pytest.raises(IntegrityError):
                await rig.run_sql(statement)

    database.run(story)


def test_a_database_that_went_on_is_not_held(installed: Installed) -> None:
    async def main() -> None:
        await installed.dial(5)
        assert await installed.start() == ""
        # Killed between the commit of a lease and the writing of the witness: nothing of that lease had left.
        async with installed.open() as rig:
            await rig.run_sql("UPDATE provenance SET leases = leases + 1")
        assert await installed.start() == ""
        # Another name on the same file system, the folder beside it as before.
        renamed = installed.file.with_name("renamed.db")
        installed.file.rename(renamed)
        installed.file = renamed
        assert await installed.start() == ""
        await installed.dial(1)
        assert await installed.start() == ""

    asyncio.run(main())


def test_a_database_in_memory_is_never_held(database: Database) -> None:
    async def story(rig: Rig) -> None:
        assert await look(rig, None) == ""
        await rig.new_task(3)
        assert (await rig.lease_batch()).number == 1
        assert await look(rig, None) == ""

    database.run(story)


def test_a_copy_elsewhere_is_held_and_the_original_is_not(installed: Installed) -> None:
    async def main() -> None:
        there = installed.file.parent.parent / "there"
        # Its witness travels along, so that only where it is tells.
        shutil.copytree(installed.file.parent, there)
        copy = Installed(there / installed.file.name)
        assert "it is a copy, restored, moved or promoted" in await copy.start()
        assert "it is a copy, restored, moved or promoted" in await copy.start(), "the second start knows it too"
        assert await installed.start() == ""

    asyncio.run(main())


def test_another_machine_is_noticed(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of the whole disk, put into another machine: same inode, same file system, same witness."""

    async def main() -> None:
        machine = installed.file.parent / "machine-id"
        machine.write_text("of another machine\n")
        monkeypatch.setattr("ringback.store.dialects._MACHINE", machine)
        assert "it is a copy, restored, moved or promoted" in await installed.start()

    asyncio.run(main())


def copied_over(backup: Path, file: Path) -> None:
    """As cp does it: the inode stays."""
    before = file.stat().st_ino
    file.write_bytes(backup.read_bytes())
    assert file.stat().st_ino == before


def plain_copy(installed: Installed, name: str) -> Path:
    """A copy that does not know that it is one, such as cp makes while the server is stopped."""
    assert not Path(f"{installed.file}-wal").exists() or Path(f"{installed.file}-wal").stat().st_size == 0
    copy = installed.file.parent.parent / name
    shutil.copy(installed.file, copy)
    return copy


def test_an_older_state_over_the_same_inode_is_held(installed: Installed) -> None:
    async def main() -> None:
        backup = plain_copy(installed, "backup.db")
        await installed.dial(1)
        copied_over(backup, installed.file)
        why = await installed.start()
        assert "an older state of it has been restored: its last lease is 10, and 11 were dialled" in why
        async with installed.open() as rig:
            assert (await read(rig)).held_since == rig.clock.ms
            rig.worker = 1
            with pytest.raises(DatabaseHeld):
                await rig.lease_batch()
        # Restored again while it is held, later: it is held since then.
        installed.clock.advance(60_000)
        assert await installed.start() == why
        async with installed.open() as rig:
            assert (await read(rig)).held_since == rig.clock.ms - 60_000
        copied_over(backup, installed.file)
        assert await installed.start() == why
        async with installed.open() as rig:
            assert (await read(rig)).held_since == rig.clock.ms

    asyncio.run(main())


def test_an_older_state_with_nothing_dialled_since_is_not_held(installed: Installed) -> None:
    async def main() -> None:
        copied_over(plain_copy(installed, "backup.db"), installed.file)
        assert await installed.start() == ""

    asyncio.run(main())


@pytest.mark.parametrize("loss", ["missing", "empty", "damaged"])
def test_without_its_witness_a_database_that_has_dialled_is_held(installed: Installed, loss: str) -> None:
    """As after ``rm -r`` of the folder and a copy that happens to get the same inode."""

    async def main() -> None:
        (witness,) = (installed.file.parent / ".ringback").iterdir()
        if loss == "missing":
            witness.unlink()
        else:
            witness.write_text("" if loss == "empty" else "0000000000000000x000\n")
        assert "missing or damaged" in await installed.start()
        assert "missing or damaged" in await installed.start(), "held until it is settled"
        await installed.settle()
        assert await installed.start() == ""
        await installed.dial(1)
        assert await installed.start() == ""

    asyncio.run(main())


def test_a_backup_of_a_life_that_was_left_is_known_as_older(installed: Installed) -> None:
    """Life A goes on after the copy, is lost, and B begins with the copy. A later copy of A is no state of B."""

    async def main() -> None:
        early = plain_copy(installed, "early.db")
        await installed.dial(20)
        late = plain_copy(installed, "late.db")
        copied_over(early, installed.file)
        assert await installed.start() != ""
        await installed.settle()
        assert await installed.start() == ""
        await installed.dial(2)
        # B has made 2 leases since, and A had made 20.
        copied_over(late, installed.file)
        assert "an older state" in await installed.start()

    asyncio.run(main())


def test_each_settling_leaves_all_numbers_of_before_behind(database: Database) -> None:
    async def story(rig: Rig) -> None:
        numbers = []
        for step_ms in (0, 0, 1, -1000):
            rig.clock.advance(step_ms)
            await hold(rig)
            async with rig.store.write() as tx:
                numbers.append(await provenance.release(tx, rig.clock.ms))
        assert numbers[0] == rig.clock.us + 999_000, "the time in microseconds"
        assert sorted(set(numbers)) == numbers, "and onward even when the clock was set back"

    database.run(story)


def test_the_witness_is_its_owners_alone_and_never_goes_back(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "deep" / "state", required=True)
    assert witness.seen("a") is None
    witness.saw("a", 7)
    assert witness.path("a").stat().st_mode & 0o777 == 0o600
    assert witness.path("a").parent.stat().st_mode & 0o777 == 0o700
    # A second process on this machine, which is behind.
    Witness(tmp_path / "deep" / "state", required=True).saw("a", 5)
    again = Witness(tmp_path / "deep" / "state", required=True)
    assert again.seen("a") == 7
    assert again.seen("b") is None
    os.truncate(witness.path("a"), 3)
    assert again.seen("a") is None
    assert witness.seen("a") == 7, "who wrote it knows it still"


def test_where_the_witness_is(tmp_path: Path) -> None:
    beside = Witness.of(f"sqlite:///{tmp_path}/sub/../r.db", ".ringback")
    assert beside is not None
    assert beside.path("x") == tmp_path / ".ringback" / "x.witness"
    away = Witness.of(f"sqlite:///{tmp_path}/r.db", "/elsewhere")
    assert away is not None
    assert away.path("x") == Path("/elsewhere/x.witness")
    assert Witness.of("sqlite://", ".ringback") is None
    server = Witness.of("postgresql://host/name", str(tmp_path))
    assert server is not None
    assert not server.required


def test_the_newest_entry_dates_a_copy_that_does_not_date_itself(installed: Installed) -> None:
    async def main() -> None:
        newest = installed.clock.ms
        installed.clock.advance(3_600_000)
        async with installed.open() as rig:
            await hold(rig)
            async with rig.store.read() as tx:
                lost = await provenance.lost_hours(tx)
            assert (lost.since, lost.until) == (newest, installed.clock.ms)
            await rig.run_sql("UPDATE provenance SET copied_at = :at", at=newest + 5)
            async with rig.store.read() as tx:
                assert (await provenance.lost_hours(tx)).since == newest + 5

    asyncio.run(main())


def test_two_databases_have_two_ids(tmp_path: Path) -> None:
    async def main() -> None:
        for name in ("a.db", "b.db"):
            store = await open_store(f"sqlite:///{tmp_path / name}", SetClock())
            await store.close()

    asyncio.run(main())
    found = []
    for name in ("a.db", "b.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            found += connection.execute("SELECT database_id, leases, origin, held_since FROM provenance").fetchall()
    assert found[0][0] != found[1][0]
    assert [row[1:] for row in found] == [(0, None, None)] * 2
