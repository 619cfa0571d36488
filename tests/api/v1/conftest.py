"""Our own door over the worlds of the vendor's."""

from __future__ import annotations

import pytest

from tests.api.v1.own_world import Own
from tests.api.vendor_world import World


@pytest.fixture
def own(world: World) -> Own:
    """A client of our own door in a world of its own."""
    return Own(world)
