"""Backups: whole, private, of one moment, never over another file; and known as such wherever they are put back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from ringback.store import provenance
from ringback.store.backup import BackupFailed, back_up
from ringback.store.opening import open_store
from tests.store.rig import START_MS, Database, Rig, SetClock


def file_of(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(sql).fetchall()


def test_a_backup_is_whole_private_and_in_one_file(file_database: Database, tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(500)
        copy = tmp_path / "to" / "copy.db"
        copy.parent.mkdir()
        size = back_up(str(file_of(file_database)), copy, rig.clock.ms)
        assert size == copy.stat().st_size
        assert copy.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
        assert rows(copy, "SELECT count(*) FROM call") == [(500,)]
        mine = "SELECT database_id FROM provenance"
        assert rows(copy, mine) == await rig.rows(mine)
        assert (await rig.rows("SELECT held_since, copied_at FROM provenance")) == [(None, None)]

    file_database.run(story)


def test_a_backup_is_held_before_anybody_has_looked_at_it(file_database: Database, tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        back_up(str(file_of(file_database)), tmp_path / "copy.db", rig.clock.ms)

    file_database.run(story)

    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/copy.db", SetClock())
        try:
            async with store.read() as tx:
                why = await provenance.why_held(tx)
            # A start holds it again, from now on: until then it may have been anywhere.
            async with store.write() as tx:
                assert (await provenance.check(tx, None, START_MS + 60_000)).why_held == why
                lost = await provenance.lost_hours(tx)
        finally:
            await store.close()
        assert why == (
            "the database is held: it is a backup that was made at 2026-01-05 08:00:00 UTC (see `ringback settle`)"
        )
        assert (lost.since, lost.until) == (START_MS, START_MS + 60_000)

    asyncio.run(main())


def test_a_backup_is_of_one_moment_while_others_write(file_database: Database, tmp_path: Path) -> None:
    """A writer is in the middle of a transaction: what it has not committed is not there, and it goes on."""

    async def story(rig: Rig) -> None:
        await rig.new_task(10)
        async with rig.store.write() as tx:
            await tx.exec_driver_sql("UPDATE task SET name = 'half'")
            await asyncio.to_thread(back_up, str(file_of(file_database)), tmp_path / "copy.db", rig.clock.ms)
            await tx.exec_driver_sql("UPDATE account SET name = 'whole'")
        assert rows(tmp_path / "copy.db", "SELECT task.name, account.name FROM task, account") == [("task 1", "acme")]
        assert await rig.rows("SELECT task.name, account.name FROM task, account") == [("half", "whole")]

    file_database.run(story)


def test_a_backup_overwrites_nothing(file_database: Database, tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        for name in ("copy.db", "copy.db.part"):
            there = tmp_path / name
            there.write_text("precious")
            with pytest.raises(BackupFailed, match=r"exists already|another backup runs"):
                back_up(str(file_of(file_database)), tmp_path / "copy.db", rig.clock.ms)
            assert there.read_text() == "precious"
            there.unlink()

    file_database.run(story)


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(
    file_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_link = os.link

    async def story(rig: Rig) -> None:
        copy = tmp_path / "copy.db"

        def late(source: Path, target: Path) -> None:
            copy.write_text("precious")
            real_link(source, target)

        monkeypatch.setattr(os, "link", late)
        with pytest.raises(BackupFailed, match="exists already"):
            back_up(str(file_of(file_database)), copy, rig.clock.ms)
        assert copy.read_text() == "precious"

    file_database.run(story)


def test_where_files_cannot_have_two_names(
    file_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    async def story(rig: Rig) -> None:
        monkeypatch.setattr(os, "link", refuse)
        back_up(str(file_of(file_database)), tmp_path / "copy.db", rig.clock.ms)
        assert rows(tmp_path / "copy.db", "SELECT name FROM account") == [("acme",)]
        assert not (tmp_path / "copy.db.part").exists()

    file_database.run(story)


def test_a_damaged_database_makes_no_backup(file_database: Database, tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(2000)

    file_database.run(story)
    file = file_of(file_database)
    with file.open("r+b") as damaged:
        damaged.seek(file.stat().st_size - 3 * 4096)
        damaged.write(b"\xff" * 4096)
    with pytest.raises(BackupFailed, match=r"damaged|malformed"):
        back_up(str(file), tmp_path / "copy.db", START_MS)
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize(
    ("database", "target", "why"),
    [
        ("nowhere.db", "copy.db", "unable to open"),
        ("ringback.db", "nowhere/copy.db", "No such file"),
        ("text.db", "copy.db", "not a database"),
    ],
)
def test_what_cannot_be_copied(file_database: Database, tmp_path: Path, database: str, target: str, why: str) -> None:
    (tmp_path / "text.db").write_text("this is a text" * 1000)
    with pytest.raises(BackupFailed, match=why):
        back_up(str(tmp_path / database), tmp_path / target, START_MS)
    assert not list(tmp_path.glob("copy*"))
