"""Every kind of database that the store runs on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from ringback.store.opening import open_store
from tests.store.rig import Database, SetClock


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


@pytest.fixture(params=["sqlite-file", "sqlite-memory"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database of each kind: the whole contract holds on all of them."""
    if request.param == "sqlite-memory":
        return Database("sqlite-memory", "sqlite://")
    found: Database = request.getfixturevalue("file_database")
    return found
