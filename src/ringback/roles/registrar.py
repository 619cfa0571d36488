"""The registrar as a role: phones that register are noted in the database, where every process finds them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from ringback.roles.supervisor import Fatal
from ringback.store import registrations
from ringback.store.refusals import is_passing
from ringback.store.registrations import Contact
from ringback.telephony.registrar.registrar import Address, Busy, Registrar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ringback.clock import Clock
    from ringback.store.database import Store, Tx

log = structlog.get_logger(__name__)


class RegistrarRole:
    """:meth:`run` listens on ``host`` and ``port`` until :meth:`stop` is called."""

    def __init__(self, store: Store, clock: Clock, host: str, port: int) -> None:
        self._registrar = Registrar(StoredPhones(store, clock), clock)
        self._where = (host, port)
        self._stopping = asyncio.Event()
        #: Where it listens, when it does.
        self.listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped. Raises :class:`Fatal` when the address cannot be listened on."""
        try:
            address = await self._registrar.open(*self._where)
        except OSError as error:
            host, port = self._where
            raise Fatal(f"registrar: cannot listen on UDP {host}:{port}: {error.strerror or error}") from None
        self.listening.set_result(address)
        log.info("registrar_listens", host=address[0], port=address[1])
        try:
            await self._stopping.wait()
        finally:
            await self._registrar.close()


class StoredPhones:
    """The phones in the database. Implements :class:`ringback.telephony.registrar.registrar.Phones`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ha1_of(self, login: str) -> str | None:
        """The digest of the phone's password."""
        async with self._reading() as tx:
            return await registrations.ha1_of(tx, login)

    async def register(self, login: str, user: str, source: Address, seconds: int) -> None:
        """Call it there."""
        until = self._clock.now_ms() + 1_000 * seconds
        async with self._writing() as tx:
            await registrations.register(tx, login, Contact(user, source[0], source[1]), until)

    async def unregister(self, login: str) -> None:
        """Call it no more."""
        async with self._writing() as tx:
            await registrations.unregister(tx, login)

    async def where(self, login: str) -> tuple[str, int] | None:
        """Where it is called, and for how many seconds more."""
        now = self._clock.now_ms()
        async with self._reading() as tx:
            found = await registrations.current(tx, login, now)
        if found is None:
            return None
        contact = found.contact
        host = f"[{contact.host}]" if ":" in contact.host else contact.host
        return f"sip:{contact.user}@{host}:{contact.port}", (found.until - now) // 1_000

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[Tx]:
        with _passing():
            async with self._store.read() as tx:
                yield tx

    @contextlib.asynccontextmanager
    async def _writing(self) -> AsyncIterator[Tx]:
        with _passing():
            async with self._store.write() as tx:
                yield tx


@contextlib.contextmanager
def _passing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_passing(error):
            raise Busy(str(error) or type(error).__name__) from error
        raise
