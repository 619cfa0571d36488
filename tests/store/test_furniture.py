"""Accounts, applications, trunks and templates: names, keys, who may use what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy.exc import IntegrityError

from ringback.store import accounts, records, templates, trunks
from ringback.store.accounts import NameTaken
from tests.store.rig import TEMPLATE, Database, Rig


def test_an_account_is_found_by_its_key_and_name(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            new = await accounts.create(
                tx,
                name="über",
                api_key="k1",
                api_secret="s1",
                time_zone="Asia/Tokyo",
                envelope="code",
                allowed_networks=["10.0.0.0/8", "::1/128"],
                now_ms=rig.clock.ms,
            )
        async with rig.store.read() as tx:
            account = await accounts.by_key(tx, "k1")
            assert account is not None
            assert account == await accounts.by_name(tx, "über")
            assert (account.id, account.api_secret, account.time_zone, account.envelope) == (
                new,
                "s1",
                "Asia/Tokyo",
                "code",
            )
            assert account.allowed_networks == ("10.0.0.0/8", "::1/128")
            # Whoever logs an account logs no secret.
            assert "s1" not in repr(account)
            assert "k1" not in repr(account)
            assert await accounts.by_key(tx, "K1") is None
            assert await accounts.by_name(tx, "uber") is None
            assert [one.name for one in await accounts.everyone(tx)] == ["acme", "über"]
            application = await accounts.application_of(tx, new, "default")
            assert application is not None
            assert (application.trunk_id, application.caller_id) == (None, "")
            assert await accounts.application_of(tx, new, "other") is None

    database.run(story)


@pytest.mark.parametrize(("name", "key", "what"), [("acme", "new", "name 'acme'"), ("new", "key-acme", "API key")])
def test_names_and_keys_are_taken_once(database: Database, name: str, key: str, what: str) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            with pytest.raises(NameTaken, match=what):
                await accounts.create(
                    tx,
                    name=name,
                    api_key=key,
                    api_secret="s",
                    time_zone="UTC",
                    envelope="both",
                    allowed_networks=[],
                    now_ms=1,
                )
        async with rig.store.read() as tx:
            assert len(await accounts.everyone(tx)) == 1

    database.run(story)


def test_a_change_sets_what_is_given_and_nothing_else(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, _ = await rig.new_account("other")
        async with rig.store.write() as tx:
            nothing: dict[str, Any] = {"time_zone": None, "envelope": None, "allowed_networks": None}
            await accounts.change(tx, rig.account, **nothing)
            await accounts.change(tx, rig.account, **{**nothing, "time_zone": "Asia/Tokyo"})
            await accounts.change(tx, rig.account, **{**nothing, "allowed_networks": ["::1/128"]})
        async with rig.store.read() as tx:
            changed, untouched = await accounts.everyone(tx)
        assert (changed.time_zone, changed.envelope, changed.allowed_networks) == ("Asia/Tokyo", "both", ("::1/128",))
        assert (untouched.id, untouched.time_zone, untouched.allowed_networks) == (other, "UTC", ())

    database.run(story)


def test_a_trunk_name_is_taken_once(database: Database) -> None:
    async def story(rig: Rig) -> None:
        with pytest.raises(NameTaken, match="'t1'"):
            await rig.new_trunk("t1")
        # What is wrong with a trunk is not called a name that is taken.
        with pytest.raises(IntegrityError, match="ck_trunk_rate"):
            await rig.new_trunk("t2", rate=0)
        async with rig.store.write() as tx:
            await trunks.add(
                tx,
                name="carrier",
                engine="sip",
                host="10.0.0.1",
                port=5070,
                username="u",
                password="hidden",
                calls_per_second=2.5,
                channels=3,
                now_ms=1,
            )
            assert [one.name for one in await trunks.everyone(tx)] == ["t1", "carrier"]
            (trunk,) = await trunks.of_engine(tx, "sip")
        assert (trunk.host, trunk.port, trunk.calls_per_second, trunk.channels) == ("10.0.0.1", 5070, 2.5, 3)
        assert "hidden" not in repr(trunk)

    database.run(story)


def test_a_trunk_is_changed_in_what_is_given(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await rig.new_task(3)
        await rig.lease()
        async with rig.store.write() as tx:
            await trunks.change(tx, "t1", now_ms=1)
            await trunks.change(tx, "t1", host="10.0.0.2", calls_per_second=2.5, now_ms=1)
            await trunks.change(tx, "t1", channels=3, now_ms=1)
            await trunks.change(tx, "nothing", channels=1, now_ms=1)
        async with rig.store.read() as tx:
            (trunk,) = await trunks.everyone(tx)
        assert (trunk.host, trunk.port, trunk.calls_per_second, trunk.channels, trunk.busy) == (
            "10.0.0.2",
            5060,
            2.5,
            3,
            3,
        )
        async with rig.store.write() as tx:
            with pytest.raises(trunks.TrunkInUse, match="more calls in the air than 2"):
                await trunks.change(tx, "t1", channels=2, now_ms=1)
            with pytest.raises(IntegrityError, match="ck_trunk_rate"):
                await trunks.change(tx, "t1", calls_per_second=0, now_ms=1)

    database.run(story)


def test_a_template_of_an_account_is_not_anothers(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other, _ = await rig.new_account("other")
        own = await rig.new_template(rig.account)
        shared = rig.template
        async with rig.store.read() as tx:
            assert await templates.usable(tx, rig.account, own) is not None
            assert await templates.usable(tx, other, own) is None
            assert await templates.get(tx, own, account_id=other) is None
            for account in (rig.account, other):
                stored = await templates.usable(tx, account, shared)
                assert stored is not None
                assert stored.template == TEMPLATE
            assert await templates.get(tx, 999) is None

    database.run(story)


def test_a_retired_template_is_there_but_not_usable(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.write() as tx:
            audio = {"a.wav": b"\x00\xff" * 1000, "b/ü.wav": b""}
            value = msgspec.structs.replace(TEMPLATE, name="with audio")
            template_id = await templates.add(tx, value, audio, account_id=None, now_ms=1)
            assert await templates.audio_of(tx, template_id) == audio
            assert await templates.audio_of(tx, rig.template) == {}
            assert await templates.retire(tx, template_id, 5)
            assert not await templates.retire(tx, template_id, 6)
            assert not await templates.retire(tx, 999, 6)
            assert await templates.usable(tx, rig.account, template_id) is None
            stored = await templates.get(tx, template_id)
            assert stored is not None
            assert (stored.retired, stored.template) == (True, value)
            assert [(row[1], row[2]) for row in await templates.listed(tx)] == [("bye", False), ("with audio", True)]

    database.run(story)


def test_totals_over_all_tasks(database: Database) -> None:
    async def story(rig: Rig) -> None:
        async with rig.store.read() as tx:
            assert await records.call_totals(tx) == dict.fromkeys(
                ("queued", "active", "answered", "failed", "skipped", "cancelled"), 0
            )
            assert await records.tasks_by_state(tx) == {}
        first, _ = await rig.new_task(3), await rig.new_task(4, send_in_ms=1000)
        one, _two, _three = await rig.lease()
        await rig.end(one.call_id)
        async with rig.store.read() as tx:
            totals = await records.call_totals(tx)
            assert (totals["queued"], totals["active"], totals["answered"]) == (4, 2, 1)
            assert await records.tasks_by_state(tx) == {"calling": 1, "waiting": 1}
            assert await records.count_by_end(tx, first) == {"answered": 1, "dialling": 2}

    database.run(story)


def test_records_come_in_pages_in_order(database: Database) -> None:
    async def story(rig: Rig) -> None:
        other = await rig.new_task(4)
        task_id = await rig.new_task(10)
        async with rig.store.read() as tx:
            pages = [await records.page(tx, task_id, limit=4)]
            while pages[-1]:
                pages.append(await records.page(tx, task_id, after=pages[-1][-1].id, limit=4))
            listed = [record async for record in records.listed(tx, task_id)]
        assert [len(page) for page in pages] == [4, 4, 2, 0]
        assert [one.callee for page in pages for one in page] == [f"49{number:08}" for number in range(10)]
        assert listed == [one for page in pages for one in page]
        assert other != task_id

    database.run(story)
