"""Phones and their groups in the store."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ringback.store import phones
from ringback.store.accounts import NameTaken
from ringback.store.phones import LoginTaken, NewPhone
from tests.store.rig import Database, Rig


def new(*logins: str) -> list[NewPhone]:
    return [NewPhone(f"desk-{login}", login, "0" * 32) for login in logins]


async def add(rig: Rig, name: str, made: Sequence[NewPhone], *, app: int = 0, caller_id: str = "") -> int:
    async with rig.store.write() as tx:
        return await phones.add_group(
            tx, app or rig.app, name=name, caller_id=caller_id, phones=made, now_ms=rig.clock.ms
        )


def test_a_group_is_stored_with_its_phones(database: Database) -> None:
    async def story(rig: Rig) -> None:
        group = await add(rig, "sales", new("1001", "1002"), caller_id="4930123")
        async with rig.store.read() as tx:
            total, found = await phones.page(tx, rig.account, app_id=None, limit=10, offset=0)
            assert total == await phones.count(tx, rig.app) == 2
            assert [one.login for one in found] == ["1002", "1001"], "newest first"
            assert {(one.group_id, one.group_name, one.app_id, one.caller_id) for one in found} == {
                (group, "sales", "default", "4930123")
            }
            assert not any(one.is_registered(rig.clock.ms) for one in found)
            assert await phones.has_group(tx, rig.account, group)
            _, rest = await phones.page(tx, rig.account, app_id="default", limit=1, offset=1)
            assert [one.login for one in rest] == ["1001"]
            assert [one.login for one in await phones.everyone(tx)] == ["1001", "1002"]

    database.run(story)


def test_names_and_logins_are_taken_once_and_nothing_is_stored_half(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "sales", new("1001"))
        with pytest.raises(NameTaken, match="group 'sales'"):
            await add(rig, "sales", new("1002"))
        with pytest.raises(NameTaken, match="phone of that name"):
            await add(rig, "support", [NewPhone("desk-1001", "1002", "0" * 32)])
        with pytest.raises(LoginTaken):
            await add(rig, "support", [*new("1002"), NewPhone("another", "1001", "0" * 32)])
        assert await rig.one("SELECT count(*) FROM phone_group") == 1
        assert await rig.one("SELECT count(*) FROM phone") == 1
        # Another application may use the same names, but logins are unique everywhere.
        _, app = await rig.new_account("other")
        await add(rig, "sales", [NewPhone("desk-1001", "1002", "0" * 32)], app=app)
        with pytest.raises(LoginTaken):
            await add(rig, "more", [NewPhone("desk", "1001", "0" * 32)], app=app)

    database.run(story)


def test_another_accounts_phones_are_not_there(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, app = await rig.new_account("other")
        group = await add(rig, "sales", new("1001"), app=app)
        async with rig.store.read() as tx:
            assert await phones.page(tx, rig.account, app_id=None, limit=10, offset=0) == (0, [])
            assert await phones.by_login(tx, rig.account, "1001", app_id="default") is None
            assert await phones.by_login(tx, other, "1001", app_id="elsewhere") is None
            assert await phones.by_login(tx, other, "1001", app_id="default") is not None
            assert not await phones.has_group(tx, rig.account, group)

    database.run(story)
