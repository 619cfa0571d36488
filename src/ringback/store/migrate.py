"""Brings a database to the newest schema, or says that it comes from a newer version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection


class SchemaTooNew(Exception):
    """The database was written by a newer version of Ringback."""


class SchemaTooOld(Exception):
    """The database has no schema yet, or that of an older version of Ringback."""


def check_newest(connection: Connection) -> None:
    """Raises :class:`SchemaTooOld` or :class:`SchemaTooNew` unless the schema is that of this version."""
    script = ScriptDirectory.from_config(migration_config())
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is None:
        raise SchemaTooOld("the database is empty")
    _refuse_newer(script, current)
    raise SchemaTooOld(f"the database has schema {current} of an older version of Ringback")


def upgrade_to_newest(connection: Connection) -> None:
    """Run the missing migrations inside the transaction of ``connection``. Raises :class:`SchemaTooNew`."""
    config = migration_config()
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    _refuse_newer(script, current)
    command.upgrade(config, "head")


def _refuse_newer(script: ScriptDirectory, current: str | None) -> None:
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise SchemaTooNew(
            f"the database has schema {current}, which this version of Ringback does not know; upgrade it"
        )


def migration_config() -> Config:
    """Alembic's configuration; nothing is read from files."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
