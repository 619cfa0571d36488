"""Where phones can be called, as the store keeps it."""

from __future__ import annotations

from ringback.store import phones, registrations
from ringback.store.registrations import Contact
from tests.store.rig import Database, Rig
from tests.store.test_phones import add, new

DESK = Contact("me", "192.0.2.7", 5062)


def test_a_registration_holds_until_it_ends(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "sales", new("1001"))
        now = rig.clock.ms
        async with rig.store.write() as tx:
            assert await registrations.current(tx, "1001", now) is None
            await registrations.register(tx, "1001", DESK, now + 1000)
        async with rig.store.read() as tx:
            found = await registrations.current(tx, "1001", now + 999)
            assert found is not None
            assert (found.contact, found.until) == (DESK, now + 1000)
            assert await registrations.current(tx, "1001", now + 1000) is None
            assert await registrations.current(tx, "1002", now) is None
            (one,) = await phones.everyone(tx)
            assert (one.contact_host, one.contact_port) == ("192.0.2.7", 5062)
            assert one.is_registered(now)
            assert not one.is_registered(now + 1000)
        async with rig.store.write() as tx:
            await registrations.unregister(tx, "1001")
            assert await registrations.current(tx, "1001", now) is None

    database.run(story)


def test_the_latest_contact_counts(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "sales", new("1001"))
        async with rig.store.write() as tx:
            await registrations.register(tx, "1001", DESK, rig.clock.ms + 5000)
            await registrations.register(tx, "1001", Contact("1001", "2001:db8::1", 5060), rig.clock.ms + 1000)
            found = await registrations.current(tx, "1001", rig.clock.ms)
        assert found is not None
        assert (found.contact.host, found.until) == ("2001:db8::1", rig.clock.ms + 1000)

    database.run(story)


def test_a_new_password_ends_the_registration(database: Database) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "sales", new("1001"))
        async with rig.store.write() as tx:
            assert await registrations.ha1_of(tx, "1001") == "0" * 32
            assert await registrations.ha1_of(tx, "1002") is None
            await registrations.register(tx, "1001", DESK, rig.clock.ms + 5000)
            found = await phones.by_login(tx, rig.account, "1001", app_id="default")
            assert found is not None
            await phones.reset(tx, found.id, "1" * 32)
            assert await registrations.ha1_of(tx, "1001") == "1" * 32
            assert await registrations.current(tx, "1001", rig.clock.ms) is None

    database.run(story)
