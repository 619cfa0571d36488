"""The migrations against the tables as the code knows them: nothing may differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
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
    """The columns and constraints of a CREATE TABLE, in no order, every run of blanks as one.

    SQLite can add a foreign key only as part of a column, without a name: it counts as the same constraint.
    """
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
    plain = {re.sub(r"\s+", " ", part).strip() for part in found}
    split = {re.sub(r"^CONSTRAINT fk_\w+ ", "", part) for part in plain}
    for part in plain:
        within = re.fullmatch(r"(?P<column>(?P<name>(?!CONSTRAINT)\w+) .*) (?P<target>REFERENCES .*)", part)
        if within:
            split = split - {part} | {within["column"], f"FOREIGN KEY({within['name']}) {within['target']}"}
    return split


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
    of_states = {sqlite_state_guard(table, machine) for table, machine in GUARDED}
    assert {sql for sql in found if "guard_audit" not in sql} == of_states
    assert len(found) == len(of_states) + 1, "and the log that is only added to"


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


def test_a_first_database_keeps_its_lanes_and_its_guards() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    config = migration_config()
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO account VALUES (1, 'a', 'k', 's', 'UTC', 'both', '[]', 0)",
            "INSERT INTO trunk (name, engine, calls_per_second, channels, created_at) VALUES ('t', 'sip', 1, 1, 0)",
            "INSERT INTO application (account_id, app_id, trunk_id, created_at) VALUES (1, 'default', 1, 0)",
            "INSERT INTO template (name, body, created_at) VALUES ('t', '{}', 0)",
            "INSERT INTO task (account_id, application_id, name, template_id, limits, send_at, total, queued, "
            "created_at, modified_at) VALUES (1, 1, 'n', 1, '{}', 0, 2, 2, 0, 0)",
            "INSERT INTO call (task_id, callee, zone) VALUES (1, '493012345600', 'UTC'), (1, '493012345601', 'UTC')",
            "INSERT INTO lane (task_id, zone, queued, cursor) VALUES (1, 'UTC', 2, 0)",
        ):
            connection.exec_driver_sql(statement)
    with engine.begin() as connection:
        upgrade_to_newest(connection)
        assert connection.exec_driver_sql("SELECT * FROM lane").all() == [(1, "UTC", "", 2, 0)]
        assert connection.exec_driver_sql("SELECT DISTINCT route_prefix FROM call").all() == [("",)]
        assert connection.exec_driver_sql("SELECT account_id, strip, prefix, caller_ids FROM trunk").all() == [
            (None, "", "", None)
        ]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        with pytest.raises(sa.exc.IntegrityError, match="illegal call state change"):
            connection.exec_driver_sql("UPDATE call SET state = 'in_progress'")


def test_the_migrations_are_one_line_without_branches() -> None:
    script = ScriptDirectory.from_config(migration_config())
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1
    folder = Path(script.dir) / "versions"
    assert len(list(script.walk_revisions())) == len([file for file in folder.glob("*.py") if file.stem != "__init__"])
