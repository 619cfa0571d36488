"""Every kind of database that the store runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.rig import Database


@pytest.fixture(params=["sqlite-file", "sqlite-memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database of each kind: the whole contract holds on all of them."""
    kind: str = request.param
    return Database(kind, "sqlite://" if kind == "sqlite-memory" else f"sqlite:///{tmp_path}/ringback.db")


@pytest.fixture
def file_database(tmp_path: Path) -> Database:
    """A database in a file: what survives its process, and can be opened twice."""
    return Database("sqlite-file", f"sqlite:///{tmp_path}/ringback.db")
