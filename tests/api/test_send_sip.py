"""``sendSip``: a task of one number that begins at a phone; what is refused, and that nothing is stored then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from ringback.api.app import create_app
from ringback.settings import Settings
from ringback.store import registrations, templates
from ringback.store.registrations import Contact
from ringback.store.schema import application, call, task
from ringback.store.schema_phones import phone as phone_table
from tests.api.test_published import published, replay
from tests.api.vendor_world import World

PATH = "/voice/sendSip"


async def phone(world: World, *, registered: bool = True, tenant: Any = None, display: str = "") -> str:
    more = {"displayNum": display} if display else {}
    asked = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 1, **more}
    (made,) = (await world.post("/voice/sipAdd", asked, tenant=tenant))["data"]
    login = made["account"]
    assert isinstance(login, str)
    if registered:
        async with world.store.write() as tx:
            until = world.clock.now_ms() + 60_000
            await registrations.register(tx, login, Contact("me", "192.0.2.7", 5062), until)
    return login


def body(login: Any, **changes: Any) -> dict[str, Any]:
    asked = {"appId": "default", "account": login, "callee": "932111111111", "displayNum": "1008122211"}
    return {name: value for name, value in (asked | changes).items() if value is not ...}


async def stored(world: World) -> Any:
    async with world.store.read() as tx:
        query = select(task.c.kind, task.c.caller_id, task.c.template_id, call.c.id, call.c.callee, call.c.texts)
        return (await tx.execute(query.join(call, call.c.task_id == task.c.id))).one()


def test_one_number_is_called_from_the_phone(world: World) -> None:
    async def story() -> None:
        login = await phone(world)
        done = await world.post(PATH, body(login))
        row = await stored(world)
        assert done["code"] == 0
        assert done["data"] == [
            {
                "voiceId": str(row.id),
                "callee": "932111111111",
                "terminationCode": "0",
                "terminationReason": "success",
            }
        ]
        assert (row.kind, row.caller_id, row.callee) == ("phone", "1008122211", "932111111111")
        assert msgspec.json.decode(row.texts) == {"text1": login}
        async with world.store.read() as tx:
            template = await templates.get(tx, row.template_id)
        assert template is not None
        assert template.template.calls_first == "${text1}"

    world.run(story())


def test_all_of_an_account_share_a_template_that_is_no_agents(world: World) -> None:
    async def story() -> None:
        login = await phone(world)
        for _ in range(2):
            assert (await world.post(PATH, body(int(login), callee=932111111111)))["code"] == 0
        async with world.store.read() as tx:
            ids = set(await tx.scalars(select(task.c.template_id)))
            assert len(ids) == 1
            assert await templates.usable(tx, world.account.id, ids.pop()) is None

    world.run(story())


@pytest.mark.parametrize("changes", [{"displayNum": ...}, {"displayNum": None}, {"displayNum": ""}])
def test_without_a_number_to_show_it_is_the_groups(world: World, changes: dict[str, Any]) -> None:
    async def story() -> None:
        login = await phone(world, display="4930123456")
        assert (await world.post(PATH, body(login, **changes)))["code"] == 0
        assert (await stored(world)).caller_id == "4930123456"

    world.run(story())


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"appId": ...}, -22, "appId: is missing"),
        ({"appId": "other"}, -22, "appId: there is no application 'other'"),
        ({"account": ...}, -22, "account: is missing"),
        ({"account": None}, -22, "account: expected `int | str`, got `null`"),
        ({"account": "test_001"}, -24, "account: there is no phone 'test_001' in this application"),
        ({"account": "'\"; DROP"}, -24, "account: there is no phone '\\'\"; DROP' in this application"),
        ({"account": "1\u0000"}, -24, "account: there is no phone '1\\x00' in this application"),
        ({"callee": ...}, -22, "callee: is missing"),
        ({"callee": "123456"}, -22, "callee: must have 7 to 15 digits, has 6"),
        ({"callee": "1" * 16}, -22, "callee: must have 7 to 15 digits, has 16"),
        ({"callee": "4930x"}, -22, "callee: "),
        ({"callee": []}, -22, "callee: expected `int | str`, got `array`"),
        ({"displayNum": "123456"}, -22, "displayNum: must be 7 to 15 digits"),
        ({"displayNum": "1" * 16}, -22, "displayNum: must be 7 to 15 digits"),
        ({"displayNum": "+4930123456"}, -22, "displayNum: must be 7 to 15 digits"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    world: World, changes: dict[str, Any], code: int, message: str
) -> None:
    async def story() -> None:
        login = await phone(world)
        before = await world.contents()
        done = await world.post(PATH, body(login, **changes))
        assert done["code"] == code
        assert done["msg"].startswith(message)
        assert await world.contents() == before

    world.run(story())


def test_a_phone_that_is_not_registered_is_refused(world: World) -> None:
    async def story() -> None:
        login = await phone(world, registered=False)
        before = await world.contents()
        done = await world.post(PATH, body(login))
        assert (done["code"], done["msg"]) == (-22, f"account: phone {login} is not registered, so it cannot be called")
        assert await world.contents() == before

    world.run(story())


def test_another_accounts_phone_is_not_there(world: World) -> None:
    async def story() -> None:
        login = await phone(world, tenant=world.other)
        assert (await world.post(PATH, body(login)))["code"] == -24

    world.run(story())


def test_in_the_sandbox_no_phone_needs_to_register(world: World, tmp_path: Path) -> None:
    async def story() -> None:
        world.app = create_app(world.store, world.clock, Settings(telephony="sandbox"))
        login = await phone(world, registered=False)
        assert (await world.post(PATH, body(login)))["code"] == 0

    world.run(story())


def test_the_published_request_replayed(world: World) -> None:
    """The sample's account is no ten digits; a phone of that account is put there by hand."""
    sample = published("voice.sendSip")
    asked = sample["request"]["body"]

    async def story() -> None:
        login = await phone(world)
        async with world.store.write() as tx:
            await tx.execute(
                update(application).where(application.c.account_id == world.account.id).values(app_id=asked["appId"])
            )
            named = update(phone_table).where(phone_table.c.login == login)
            await tx.execute(named.values(login=asked["account"]))
        done = await replay(world, "voice.sendSip")
        assert {name: done[name] for name in sample["response"]} == sample["response"]
        assert (await stored(world)).callee == asked["callee"]

    world.run(story())
