"""Phones from outside: the command, the role in a whole server, and a phone that is not of our making."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ringback.cli.common import UserError
from ringback.cli.role import Role
from ringback.cli.server import Server
from ringback.clock import RealClock
from ringback.model.phones import ha1
from ringback.settings import Settings
from ringback.store import accounts, phones, registrations
from ringback.store.opening import open_store
from ringback.store.phones import NewPhone
from ringback.store.registrations import Contact
from tests.e2e.test_cli_routing import Shell

LOGIN, PASSWORD = "4711000001", "open sesame"


async def furnish(url: str) -> None:
    clock = RealClock()
    store = await open_store(url, clock)
    async with store.write() as tx:
        account = await accounts.by_name(tx, "acme")
        assert account is not None
        app = await accounts.application_of(tx, account.id, "default")
        assert app is not None
        new = [NewPhone("desk-1", LOGIN, ha1(LOGIN, PASSWORD)), NewPhone("desk-2", "4711000002", "0" * 32)]
        await phones.add_group(tx, app.id, name="sales", caller_id="", phones=new, now_ms=1)
    await store.close()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    made = Shell(tmp_path)
    made.do("account", "create", "acme")
    asyncio.run(furnish(f"sqlite:///{made.path}"))
    return made


def test_the_list_shows_where_phones_are_and_no_secret(shell: Shell) -> None:
    async def register() -> None:
        clock = RealClock()
        store = await open_store(f"sqlite:///{shell.path}", clock)
        async with store.write() as tx:
            await registrations.register(tx, LOGIN, Contact("me", "2001:db8::7", 5062), clock.now_ms() + 60_000)
        await store.close()

    asyncio.run(register())
    first, second = shell.do("phone", "list").splitlines()
    assert first.startswith(f"{LOGIN}  desk-1  group 1 sales  account acme  at [2001:db8::7]:5062 until ")
    assert second == "4711000002  desk-2  group 1 sales  account acme  not registered"
    assert ha1(LOGIN, PASSWORD) not in first


@pytest.mark.enable_socket
def test_a_server_has_a_registrar_when_it_is_told_where(shell: Shell) -> None:
    async def main() -> None:
        given = {"database_url": f"sqlite:///{shell.path}", "telephony": "sandbox", "listen": "127.0.0.1:0"}
        with capture_logs() as logs:
            roles = frozenset({Role.REGISTRAR, Role.CONDUCTOR})
            async with Server(Settings(**given, registrar="127.0.0.1:0"), RealClock(), roles):
                async with asyncio.timeout(10):
                    while not any(entry["event"] == "registrar_listens" for entry in logs):  # noqa: ASYNC110 - a log
                        await asyncio.sleep(0.01)
        with pytest.raises(UserError, match="registrar: set where SIP phones register"):
            await Server(Settings(**given), RealClock(), frozenset({Role.REGISTRAR})).__aenter__()

    asyncio.run(main())


@pytest.mark.enable_socket
@pytest.mark.sip
def test_a_phone_that_is_not_of_our_making_registers(shell: Shell) -> None:
    baresip = pytest.importorskip("baresip")
    from ringback.roles.registrar import RegistrarRole

    async def main() -> None:
        clock = RealClock()
        store = await open_store(f"sqlite:///{shell.path}", clock)
        role = RegistrarRole(store, clock, "127.0.0.1", 0)
        running = asyncio.create_task(role.run())
        host, port = await role.listening
        runtime = baresip.Runtime()
        await runtime.start(baresip.Config(net_interface="127.0.0.1"))
        account = f'<sip:{LOGIN}@{host}:{port}>;auth_user={LOGIN};auth_pass="{PASSWORD}";regint=120'
        agent = await baresip.UserAgent.create(runtime, account)
        try:
            await agent.register(timeout=10)
            async with store.read() as tx:
                found = await registrations.current(tx, LOGIN, clock.now_ms())
            assert found is not None
            assert found.contact.host == "127.0.0.1"
            assert 60_000 < found.until - clock.now_ms() <= 120_000
        finally:
            await runtime.close()
            role.stop()
            await running
            await store.close()

    asyncio.run(main())


def test_no_password_is_in_the_database(shell: Shell) -> None:
    with sqlite3.connect(shell.path) as connection:
        dumped = "\n".join(connection.iterdump())
    connection.close()
    assert PASSWORD not in dumped
