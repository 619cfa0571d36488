"""``sipAdd``, ``sipQuery``, ``sipReset``: what is stored, what is answered, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from ringback.model.phones import MAX_PHONES, ha1
from ringback.store.schema import metadata
from ringback.store.schema_phones import phone
from tests.api.vendor_world import World

ADD, QUERY, RESET = "/voice/sipAdd", "/voice/sipQuery", "/voice/sipReset"


def body(**changes: Any) -> dict[str, Any]:
    asked = {"appId": "default", "groupName": "sales", "phoneName": "desk", "quantity": 2, "displayNum": "4930123456"}
    return {name: value for name, value in (asked | changes).items() if value is not ...}


async def stored_ha1(world: World, login: str) -> str:
    async with world.store.read() as tx:
        return str(await tx.scalar(select(phone.c.ha1).where(phone.c.login == login)))


def test_phones_are_made_with_passwords_that_are_not_stored(world: World) -> None:
    async def story() -> None:
        done = await world.post(ADD, body())
        assert done["code"] == 0
        first, second = done["data"]
        assert [first["phoneName"], second["phoneName"]] == ["desk-1", "desk-2"]
        assert first.keys() == {"groupId", "groupName", "phoneName", "account", "password", "displayNum"}
        assert (first["groupName"], first["displayNum"]) == ("sales", "4930123456")
        for made in (first, second):
            assert len(made["account"]) == 10
            assert made["account"].isdecimal()
            assert len(made["password"]) == 16
            assert await stored_ha1(world, made["account"]) == ha1(made["account"], made["password"])
        assert first["account"] != second["account"]
        assert first["password"] != second["password"]
        everything = str(await world.contents())
        assert first["password"] not in everything

    world.run(story())


def test_phones_are_listed_without_their_passwords(world: World) -> None:
    async def story() -> None:
        await world.post(ADD, body())
        await world.post(ADD, body(groupName="support", phoneName="help", quantity=1, displayNum=...))
        done = await world.post(QUERY, {"current": 1, "size": 2, "params": {"appId": "default"}})
        assert done["code"] == 0
        page = done["data"]
        assert {name: page[name] for name in ("total", "size", "current", "pages")} == {
            "total": 3,
            "size": 2,
            "current": 1,
            "pages": 2,
        }
        assert [one["phoneName"] for one in page["records"]] == ["help", "desk-2"]
        assert page["records"][0].keys() == {
            "groupId",
            "groupName",
            "phoneName",
            "account",
            "displayNum",
            "appId",
            "status",
            "createdTime",
        }
        assert page["records"][0]["status"] == 0
        last = await world.post(QUERY, {"current": 2, "size": 2})
        assert [one["phoneName"] for one in last["data"]["records"]] == ["desk-1"]
        theirs = await world.post(QUERY, {"current": 1, "size": 10}, tenant=world.other)
        assert theirs["data"]["records"] == []

    world.run(story())


def test_a_reset_gives_a_new_password(world: World) -> None:
    async def story() -> None:
        (made,) = (await world.post(ADD, body(quantity=1)))["data"]
        done = await world.post(RESET, {"appId": "default", "account": int(made["account"])})
        assert done["code"] == 0
        assert done["data"].keys() == {"account", "password"}
        assert done["data"]["account"] == made["account"]
        assert done["data"]["password"] != made["password"]
        assert await stored_ha1(world, made["account"]) == ha1(made["account"], done["data"]["password"])

    world.run(story())


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    (ADD, body(appId=...), -22, "appId: is missing"),
    (ADD, body(appId="other"), -22, "appId: there is no application 'other'"),
    (ADD, body(appId=None), -22, "appId: expected `str`, got `null`"),
    (ADD, body(groupName=...), -22, "groupName: is missing"),
    (ADD, body(groupName=7), -22, "groupName: expected `str`, got `int`"),
    (ADD, body(groupName="abc"), -22, "groupName: must have 4 to 32 characters, has 3"),
    (ADD, body(groupName="  abc "), -22, "groupName: must have 4 to 32 characters, has 3"),
    (ADD, body(groupName="x" * 33), -22, "groupName: must have 4 to 32 characters, has 33"),
    (ADD, body(groupName="a\u0000bcd"), -22, "groupName: must not hold control characters"),
    (ADD, body(phoneName=...), -22, "phoneName: is missing"),
    (ADD, body(phoneName="abc"), -22, "phoneName: must have 4 to 32 characters, has 3"),
    (ADD, body(phoneName="x" * 33), -22, "phoneName: must have 4 to 32 characters, has 33"),
    (ADD, body(quantity=...), -22, "quantity: is missing"),
    (ADD, body(quantity=0), -22, "quantity: must be 1 to 50, got 0"),
    (ADD, body(quantity=51), -22, "quantity: must be 1 to 50, got 51"),
    (ADD, body(quantity="two"), -22, "quantity: expected `int`, got `str`"),
    (ADD, body(displayNum="123456"), -22, "displayNum: must be 7 to 13 digits"),
    (ADD, body(displayNum="1" * 14), -22, "displayNum: must be 7 to 13 digits"),
    (ADD, body(displayNum="12345x7"), -22, "displayNum: must be 7 to 13 digits"),
    (ADD, body(displayNum=[]), -22, "displayNum: expected `int | str | null`, got `array`"),
    (QUERY, {"size": 1}, -22, "current: is missing"),
    (QUERY, {"current": 1}, -22, "size: is missing"),
    (QUERY, {"current": 0, "size": 1}, -22, "current: must be 1 to 2147483647, got 0"),
    (QUERY, {"current": 1, "size": 101}, -22, "size: must be 1 to 100, got 101"),
    (QUERY, {"current": 1, "size": 1, "params": []}, -22, "params: expected `object | null`, got `array`"),
    (QUERY, {"current": 1, "size": 1, "params": {"appId": "x"}}, -22, "params.appId: there is no application 'x'"),
    (RESET, {"account": "1"}, -22, "appId: is missing"),
    (RESET, {"appId": "default"}, -22, "account: is missing"),
    (RESET, {"appId": "other", "account": "1"}, -22, "appId: there is no application 'other'"),
    (RESET, {"appId": "default", "account": "1"}, -24, "account: there is no phone '1' in this application"),
]


@pytest.mark.parametrize(("path", "asked", "code", "message"), REFUSED)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    lasting_world: World, path: str, asked: dict[str, Any], code: int, message: str
) -> None:
    async def story() -> None:
        before = await lasting_world.contents()
        done = await lasting_world.post(path, asked)
        assert (done["code"], done["msg"]) == (code, message)
        assert done["data"] is None
        assert await lasting_world.contents() == before

    lasting_world.run(story())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phoneName": "another"}, "groupName: there is a group 'sales' in this application already"),
        ({"groupName": "another"}, "phoneName: there is a phone of that name in this application already"),
    ],
)
def test_a_name_that_is_taken_is_refused_whole(world: World, changes: dict[str, Any], message: str) -> None:
    async def story() -> None:
        await world.post(ADD, body())
        before = await world.contents()
        done = await world.post(ADD, body(**changes))
        assert (done["code"], done["msg"]) == (-20, message)
        assert await world.contents() == before

    world.run(story())


def test_an_application_has_only_so_many_phones(world: World) -> None:
    async def story() -> None:
        for number in range(MAX_PHONES // 50):
            done = await world.post(ADD, body(groupName=f"group {number}", phoneName=f"desk {number}", quantity=50))
            assert done["code"] == 0
        done = await world.post(ADD, body(quantity=1))
        assert (done["code"], done["msg"]) == (-23, "quantity: an application has at most 1000 phones")

    world.run(story())


def test_another_accounts_phone_is_not_there(world: World) -> None:
    async def story() -> None:
        (made,) = (await world.post(ADD, body(quantity=1), tenant=world.other))["data"]
        before = await stored_ha1(world, made["account"])
        done = await world.post(RESET, {"appId": "default", "account": made["account"]})
        assert done["code"] == -24
        assert await stored_ha1(world, made["account"]) == before

    world.run(story())


def test_the_tables_are_known_to_whoever_moves_a_database() -> None:
    assert {"phone", "phone_group"} <= metadata.tables.keys()
