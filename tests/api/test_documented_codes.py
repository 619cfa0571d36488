"""Every documented code of every operation is what a request here is answered with."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ringback.api.app import create_app
from ringback.api.itnio.door import OPERATION
from ringback.api.itnio.families import JOBS, VOICE
from ringback.settings import Settings
from ringback.store.database import Store, StoreUnavailable
from ringback.store.lookups import Lookups
from tests.api import documented_codes
from tests.api.documented_codes import Asked, NotGiven
from tests.api.documented_voice_codes import JOB_OPERATIONS, VOICE_OPERATIONS
from tests.api.vendor_world import FakeClock, World

OPERATIONS = documented_codes.OPERATIONS | VOICE_OPERATIONS | JOB_OPERATIONS
#: They answer with a file, and with the envelope only to who may not ask: tests/api/test_voice_files.py.
OF_FILES = {"GET /voice/getVoiceFile"}
EVERYWHERE = (0, -1, -2, -16, -18)
GIVEN = [
    (name, code, make)
    for name, documented in OPERATIONS.items()
    for code, make in documented.own.items()
    if not isinstance(make, NotGiven)
]


def served() -> set[str]:
    """The operations of the application, by name, without the key at a path's end."""
    app = create_app(cast("Store", None), FakeClock(0), Settings())
    named = (handler.opt.get(OPERATION) for route in app.routes for handler in route.route_handlers)
    return {name.removesuffix("/{key:str}") for name in named if name is not None}


async def ask(world: World, name: str, asked: Asked, **more: Any) -> int:
    """The code of the answer."""
    method, _, path = name.partition(" ")
    if method == "GET":
        done = await world.get(path if asked.key is None else f"{path}/{asked.key}", **more)
    else:
        done = await world.post(path, asked.body, **more)
    assert done["status"] == str(done["code"])
    return int(done["code"])


def test_every_operation_has_an_entry() -> None:
    assert set(OPERATIONS) | OF_FILES == served()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("code", EVERYWHERE)
def test_codes_of_every_operation(world: World, name: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> int:
        asked = await OPERATIONS[name].succeeds(world)
        more: dict[str, Any] = {}
        if code == -1:
            more["headers"] = world.headers() | {"Sign": "0" * 32}
        elif code == -2:
            more["tenant"] = await world.tenant("listed", "listed", "s", networks=["203.0.113.0/24"])
        elif code == -16:
            more["headers"] = world.headers(seconds=world.clock.now_ms() // 1000 - 7_200)
        elif code == -18:
            monkeypatch.setattr(Lookups, "get", _unavailable)
        return await ask(world, name, asked, **more)

    family = JOBS if "/aivoice/" in name else VOICE
    assert world.run(story()) == family.code(code)


async def _unavailable(*_: object) -> None:
    raise StoreUnavailable("the disk is full")


@pytest.mark.parametrize(("name", "code", "make"), GIVEN, ids=[f"{name} {code}" for name, code, _ in GIVEN])
def test_codes_of_its_own(world: World, name: str, code: int, make: Any) -> None:
    async def story() -> int:
        asked = await make(world)
        before = await world.contents()
        found = await ask(world, name, asked)
        assert await world.contents() == before
        return found

    assert world.run(story()) == code
