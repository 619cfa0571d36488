"""A whole server in this process: the chosen roles on one store, started and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from ringback.api.app import create_app
from ringback.api.server import AddressInUse, HttpService, bind
from ringback.cli.common import UserError
from ringback.cli.role import Role
from ringback.clock import KeptClock
from ringback.roles.conductor import Conductor
from ringback.roles.courier import Courier, CourierSettings
from ringback.roles.dialler import Dialler, DiallerSettings
from ringback.roles.hold import check
from ringback.roles.library import TemplateLibrary
from ringback.roles.node_watch import NodeWatch
from ringback.roles.post import HttpPost
from ringback.roles.registrar import RegistrarRole
from ringback.roles.supervisor import Fatal, supervise
from ringback.roles.time_keeper import TimeKeeper, keep_time
from ringback.settings import split_address
from ringback.store import trunks
from ringback.store.accounts import NameTaken
from ringback.store.database import Store
from ringback.store.lock import DiallerLock
from ringback.store.opening import open_store
from ringback.store.postgres import IDLE_IN_TRANSACTION_SECONDS
from ringback.store.witness import Witness
from ringback.telephony.asterisk.address import read_addresses
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import EngineUnavailable
from ringback.telephony.sandbox import SandboxEngine
from ringback.telephony.sip.engine import SipEngine
from ringback.voice.speech import Speech, installed_voice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.roles.supervisor import Service
    from ringback.settings import Settings
    from ringback.telephony.port import Engine

log = structlog.get_logger(__name__)

#: Limits of the trunk that the sandbox gets by itself.
SANDBOX_CALLS_PER_SECOND = 50.0
SANDBOX_CHANNELS = 10_000


class Server:
    """Use as an async context manager: inside, the roles run and ``url`` answers."""

    def __init__(self, in_force: Settings, clock: Clock, roles: frozenset[Role] = frozenset(Role)) -> None:
        self._settings = in_force
        self._clock = KeptClock(clock)
        self._roles = roles
        self._stop = asyncio.Event()
        self._lock = DiallerLock(in_force.database_url)
        self._witness = Witness.of(in_force.database_url, in_force.state)
        self._store: Store | None = None
        self._running: asyncio.Task[None] | None = None
        #: The newest dialler and its engine.
        self._newest: tuple[Dialler, Engine] | None = None
        #: Why nothing is dialled, as it was at the start; empty when something may be.
        self.held = ""
        #: Where the API answers; empty without the API role.
        self.url = ""

    @property
    def store(self) -> Store:
        """The open store."""
        assert self._store is not None, "the server has not been entered"
        return self._store

    async def __aenter__(self) -> Server:
        """Open everything that can fail, then start the roles.

        Raises :class:`UserError` or :class:`~ringback.store.database.StoreUnavailable` with a text for people.
        """
        in_force = self._settings
        if self._roles == {Role.REGISTRAR} and not in_force.registrar:
            raise UserError("registrar: set where SIP phones register, HOST:PORT")
        if Role.DIALLER in self._roles:
            self._lock.acquire()
        services: dict[str, Callable[[], Service]] = {}
        try:
            self._store = await open_store(in_force.database_url, self._clock)
            if self._store.shared:
                await self._share(self._store)
                services["time keeper"] = lambda: TimeKeeper(self.store, self._clock)
            await self._look_where_it_comes_from()
            if Role.API in self._roles:
                services["api"] = self._http()
            if Role.DIALLER in self._roles:
                if in_force.telephony == "sandbox":
                    await _ensure_sandbox_trunk(self._store, self._clock)
                services["dialler"] = self._dialler
                services["node watch"] = lambda: NodeWatch(self.store, self._clock, self._working)
                _make_engine(in_force, self._clock)
            if Role.CONDUCTOR in self._roles:
                services["conductor"] = self._conductor
            if Role.COURIER in self._roles:
                services["courier"] = self._courier
            if Role.REGISTRAR in self._roles and in_force.registrar:
                services["registrar"] = self._registrar
        except BaseException:
            await self._close()
            raise
        self._running = asyncio.create_task(supervise(services, self._clock, self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        try:
            await self.wait()
        finally:
            await self._close()

    def stop(self) -> None:
        """Ask everything to end in good order: no new call, calls in the air end or are hung up."""
        self._stop.set()

    async def wait(self) -> None:
        """Until everything has ended. Raises :class:`UserError` when something cannot work here."""
        assert self._running is not None, "the server has not been entered"
        try:
            await asyncio.shield(self._running)
        except Fatal as error:
            raise UserError(str(error)) from None

    async def _close(self) -> None:
        if self._store is not None:
            await self._store.close()
        self._lock.release()

    async def _share(self, store: Store) -> None:
        """Other processes use the database too."""
        if self._settings.takeover_seconds <= IDLE_IN_TRANSACTION_SECONDS:
            raise UserError(
                f"takeover_seconds must be more than {IDLE_IN_TRANSACTION_SECONDS:g} with PostgreSQL, which ends a "
                "transaction that stands still only then"
            )
        # Slots, windows and due times are compared between machines: all of them use the database's time.
        await keep_time(store, self._clock)

    async def _look_where_it_comes_from(self) -> None:
        try:
            checked = await check(self.store, self._clock, self._witness)
        except OSError as error:
            where = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise UserError(f"state: the witness of the database cannot be written: {where}") from None
        self.held = checked.why_held
        if self.held:
            log.warning("held", reason=self.held)

    def _http(self) -> Callable[[], Service]:
        host, port = split_address(self._settings.listen)
        try:
            listening = bind(host, port)
        except AddressInUse as error:
            raise UserError(str(error)) from None
        bound = listening.getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"
        app = create_app(self.store, self._clock, self._settings)
        # A copy for each start: the HTTP server closes its socket when it ends.
        return lambda: HttpService(app, listening.dup(), trusted_proxies=self._settings.proxies)

    def _registrar(self) -> Service:
        return RegistrarRole(self.store, self._clock, *split_address(self._settings.registrar))

    def _dialler(self) -> Service:
        in_force = self._settings
        kind = _FirstDialler if self._newest is None else Dialler
        engine = _make_engine(in_force, self._clock)
        dialler = kind(
            self.store,
            engine,
            self._clock,
            TemplateLibrary(self.store, Speech(self._clock, installed_voice())),
            DiallerSettings(
                minute_seconds=in_force.minute_seconds,
                no_reply_seconds=in_force.no_reply_seconds,
                idle_poll_seconds=in_force.idle_poll_seconds,
                drain_seconds=in_force.drain_seconds,
                takeover_seconds=in_force.takeover_seconds,
                recordings=in_force.recordings,
            ),
            witness=self._witness,
        )
        self._newest = (dialler, engine)
        return dialler

    def _working(self) -> tuple[Engine, int] | None:
        """The engine of the newest dialler and its worker's id, once it has one."""
        if self._newest is None or self._newest[0].worker_id is None:
            return None
        return self._newest[1], self._newest[0].worker_id

    def _conductor(self) -> Service:
        return Conductor(
            self.store,
            self._clock,
            minute_seconds=self._settings.minute_seconds,
            idle_poll_seconds=self._settings.idle_poll_seconds,
        )

    def _courier(self) -> Service:
        return Courier(
            self.store,
            self._clock,
            lambda: HttpPost(self._clock, self._settings.networks_of_reports),
            CourierSettings(
                idle_poll_seconds=self._settings.idle_poll_seconds, keep_days=self._settings.reports_keep_days
            ),
        )


class _FirstDialler(Dialler):
    """The first dialler of a server: when its engine cannot start, trying again would not help."""

    async def run(self) -> None:
        try:
            await super().run()
        except EngineUnavailable as error:
            raise Fatal(str(error)) from None


def _make_engine(in_force: Settings, clock: Clock) -> Engine:
    match in_force.telephony:
        case "sandbox":
            return SandboxEngine(clock)
        case "sip":
            return SipEngine(clock, workers=in_force.sip_workers)
        case "asterisk":
            return _asterisk_engine(in_force, clock)


def _asterisk_engine(in_force: Settings, clock: Clock) -> Engine:
    try:
        addresses = read_addresses(in_force.asterisk)
    except ValueError as error:
        raise UserError(f"RINGBACK_ASTERISK (asterisk in ringback.toml): {error}") from None
    return AsteriskEngine(
        clock,
        addresses,
        SoundFolder(Path(in_force.asterisk_sounds)),
        app=in_force.asterisk_name,
        detect_machines=in_force.asterisk_detect_machines,
    )


async def _ensure_sandbox_trunk(store: Store, clock: Clock) -> None:
    async with store.write() as tx:
        if not await trunks.of_engine(tx, "sandbox"):
            with contextlib.suppress(NameTaken):  # another dialler has just made it
                await trunks.add(
                    tx,
                    name="sandbox",
                    engine="sandbox",
                    calls_per_second=SANDBOX_CALLS_PER_SECOND,
                    channels=SANDBOX_CHANNELS,
                    now_ms=clock.now_ms(),
                )
