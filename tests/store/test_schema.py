"""The migrations against the tables as the code knows them: nothing may differ."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from ringback.store.migrate import migration_config, upgrade_to_newest
from ringback.store.schema import GUARDED, metadata, sqlite_state_guard


def migrated() -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    with engine.begin() as connection:
        upgrade_to_newest(connection)
    return engine


def parts(create_table: str) -> set[str]:
    """The columns and constraints of a CREATE TABLE, in no order, every run of blanks as one."""
    body = create_table[create_table.index("(") + 1 : create_table.rindex(")")]
    found, depth, part = set(), 0, ""
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            found.add(part)
            part = ""
        else:
            part += character
    found.add(part)
    return {re.sub(r"\s+", " ", part).strip() for part in found}


def test_alembic_finds_no_difference() -> None:
    with migrated().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_tables_and_indexes_are_those_of_the_metadata_to_the_letter() -> None:
    """Alembic compares neither CHECKs nor (rightly) defaults; the database's own record of its tables has both."""
    made = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(made)
    query = sa.text("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN ('table', 'index')")
    with made.connect() as connection:
        expected = {(row.type, row.name): row.sql for row in connection.execute(query)}
    with migrated().connect() as connection:
        found = {(row.type, row.name): row.sql for row in connection.execute(query) if row.name != "alembic_version"}
    assert found.keys() == expected.keys()
    for key, sql in expected.items():
        if key[0] == "table":
            assert parts(found[key]) == parts(sql), key
        else:
            assert re.sub(r"\s+", " ", found[key]) == re.sub(r"\s+", " ", sql), key


def test_the_guards_are_those_of_the_state_machines() -> None:
    with migrated().connect() as connection:
        rows = connection.execute(sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger'"))
        found = {row.sql for row in rows}
    assert found == {sqlite_state_guard(table, machine) for table, machine in GUARDED}


def test_trunks_of_before_the_breakers_get_one() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    config = migration_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            sa.text(
                "INSERT INTO trunk (name, engine, calls_per_second, channels, created_at) VALUES ('t', 'sip', 5, 3, 1)"
            )
        )
        upgrade_to_newest(connection)
        rows = connection.execute(sa.text("SELECT trunk_id, strikes, opened_at FROM breaker")).all()
    assert rows == [(1, 0, None)]


def test_migrating_again_changes_nothing() -> None:
    engine = migrated()
    with engine.begin() as connection:
        before = connection.execute(sa.text("SELECT * FROM sqlite_master")).all()
        upgrade_to_newest(connection)
        assert connection.execute(sa.text("SELECT * FROM sqlite_master")).all() == before


def test_the_migrations_are_one_line_without_branches() -> None:
    script = ScriptDirectory.from_config(migration_config())
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    folder = Path(script.dir) / "versions"
    assert len(list(script.walk_revisions())) == len([file for file in folder.glob("*.py") if file.stem != "__init__"])
