"""Worlds for the tests of the vendor's door."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from ringback.settings import Settings
from ringback.store.opening import open_store
from tests.api.vendor_world import FakeClock, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of the newest schema, made once."""
    path = tmp_path_factory.mktemp("migrated") / "empty.db"

    async def make() -> None:
        store = await open_store(f"sqlite:///{path}", FakeClock(0))
        await store.close()

    asyncio.run(make())
    return path


def _world(migrated: Path, path: Path) -> Iterator[World]:
    shutil.copy(migrated, path)
    world = World(path, Settings(recordings=str(path.parent / "recordings")))
    try:
        world.open()
        yield world
    finally:
        world.close()


@pytest.fixture
def world(migrated: Path, tmp_path: Path) -> Iterator[World]:
    """A world of its own for each test."""
    yield from _world(migrated, tmp_path / "ringback.db")


@pytest.fixture(scope="module")
def lasting_world(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for a module whose requests are all refused, and so change nothing."""
    yield from _world(migrated, tmp_path_factory.mktemp("lasting") / "ringback.db")
