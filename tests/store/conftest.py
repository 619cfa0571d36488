"""Every kind of database that the store runs on."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringback.store.opening import migrate, open_store
from tests.parts.postgres_process import PostgresProcess
from tests.store.rig import Database, SetClock

#: The database that those of the tests are copied from.
MIGRATED = "migrated"
_POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.enable_socket)
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of today's schema, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "ringback.db"

    async def main() -> None:
        store = await open_store(f"sqlite:///{path}", SetClock())
        await store.close()

    asyncio.run(main())
    return path


@pytest.fixture
def file_database(tmp_path: Path, migrated_file: Path) -> Database:
    """A database in a file: what survives its process, and can be opened twice."""
    path = tmp_path / "ringback.db"
    shutil.copy(migrated_file, path)
    return Database("sqlite-file", f"sqlite:///{path}")


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresProcess) -> PostgresProcess:
    """A server with an empty database of today's schema, to be copied."""
    postgres_server.create_database(MIGRATED)
    asyncio.run(migrate(postgres_server.url(MIGRATED), SetClock()))
    return postgres_server


@pytest.fixture
def postgres_database(migrated_postgres: PostgresProcess) -> Iterator[Database]:
    """A database in PostgreSQL: what many processes can open at once. Who asks needs ``enable_socket``."""
    name = f"test_{next(_NUMBERS)}"
    migrated_postgres.create_database(name, MIGRATED)
    yield Database("postgresql", migrated_postgres.url(name))
    migrated_postgres.drop_database(name)


@pytest.fixture(params=["sqlite-file", "sqlite-memory", _POSTGRESQL])
def database(request: pytest.FixtureRequest) -> Database:
    """A database of each kind: the whole contract holds on all of them."""
    if request.param == "sqlite-memory":
        return Database("sqlite-memory", "sqlite://")
    by_kind = {"sqlite-file": "file_database", "postgresql": "postgres_database"}
    found: Database = request.getfixturevalue(by_kind[request.param])
    return found


@pytest.fixture(params=["sqlite-file", _POSTGRESQL])
def shared_database(request: pytest.FixtureRequest) -> Database:
    """A database of each kind that can be opened more than once."""
    by_kind = {"sqlite-file": "file_database", "postgresql": "postgres_database"}
    found: Database = request.getfixturevalue(by_kind[request.param])
    return found
