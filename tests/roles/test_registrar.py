"""The registrar as a role: phones made over the API's store register over UDP, and every process finds them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from ringback.clock import RealClock
from ringback.model.phones import ha1
from ringback.roles.registrar import RegistrarRole, StoredPhones
from ringback.roles.supervisor import Fatal
from ringback.store import accounts, phones, registrations
from ringback.store.database import Store
from ringback.store.opening import open_store
from ringback.store.phones import NewPhone
from ringback.telephony.registrar.registrar import Busy
from tests.telephony.registrar.udp_phone import phone_at

LOGIN, PASSWORD = "4711", "open sesame"


@contextlib.asynccontextmanager
async def one_phone(path: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{path}/r.db", RealClock())
    try:
        async with store.write() as tx:
            account = await accounts.create(
                tx,
                name="a",
                api_key="key1",
                api_secret="secret",
                time_zone="UTC",
                envelope="both",
                allowed_networks=[],
                now_ms=1,
            )
            app = await accounts.application_of(tx, account, "default")
            assert app is not None
            new = [NewPhone("desk", LOGIN, ha1(LOGIN, PASSWORD))]
            await phones.add_group(tx, app.id, name="sales", caller_id="", phones=new, now_ms=1)
        yield store
    finally:
        await store.close()


@pytest.mark.enable_socket
def test_a_phone_registers_and_goes(tmp_path: Path) -> None:
    async def main() -> None:
        clock = RealClock()
        async with one_phone(tmp_path) as store:
            role = RegistrarRole(store, clock, "127.0.0.1", 0)
            running = asyncio.create_task(role.run())
            async with phone_at(await role.listening, LOGIN, PASSWORD) as phone:
                done = await phone.register(extra="Expires: 300")
                assert done.start == "SIP/2.0 200 OK"
                async with store.read() as tx:
                    found = await registrations.current(tx, LOGIN, clock.now_ms())
                assert found is not None
                assert (found.contact.user, found.contact.host, found.contact.port) == (LOGIN, "127.0.0.1", phone.port)
                assert 295_000 < found.until - clock.now_ms() <= 300_000
                assert f":{phone.port}>;expires=" in (await phone.register(contact=None)).headers["contact"]
                assert (await phone.register(extra="Expires: 0")).start == "SIP/2.0 200 OK"
                async with store.read() as tx:
                    assert await registrations.current(tx, LOGIN, clock.now_ms()) is None
            role.stop()
            await running

    asyncio.run(main())


@pytest.mark.enable_socket
def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            async with one_phone(tmp_path) as store:
                role = RegistrarRole(store, RealClock(), *taken.getsockname())
                with pytest.raises(Fatal, match="registrar: cannot listen on UDP"):
                    await role.run()

    asyncio.run(main())


def test_a_database_that_refuses_for_now_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def locked() -> AsyncIterator[None]:
        raise OperationalError("UPDATE", {}, Exception("database is locked"))
        yield

    async def main() -> None:
        async with one_phone(tmp_path) as store:
            stored = StoredPhones(store, RealClock())
            assert await stored.ha1_of("nobody") is None
            monkeypatch.setattr(store, "write", locked)
            with pytest.raises(Busy, match="locked"):
                await stored.unregister(LOGIN)

    asyncio.run(main())
