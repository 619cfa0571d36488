"""The registrar's socket: challenges phones, checks who they are, and notes where they can be called.

A phone is called at the address that its REGISTER came from, not at the one it names: so it works behind an address
translator, and nobody can aim our calls at somebody else. For the same reason an answer goes nowhere but there, and is
never more than twice as long as what it answers.
"""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from ringback.telephony.registrar.digest import Challenges, Given, Turn, read_answer
from ringback.telephony.registrar.requests import (
    ALLOWED,
    LONGEST_EXPIRES,
    SHORTEST_EXPIRES,
    Malformed,
    Request,
    answer,
    read_request,
    read_wish,
)
from ringback.telephony.registrar.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import Any

    from ringback.clock import Clock

#: Requests that wait for the database at once; phones repeat what is dropped.
MOST_UNDER_WAY: Final = 100
#: An answer is at most so many times as long as its request.
MOST_GROWTH: Final = 2

Address = tuple[str, int]

_log = structlog.get_logger(__name__)


class Busy(Exception):
    """The phones cannot be read or written for now."""


class Phones(Protocol):
    """The phones that there are. Every method raises :class:`Busy` when that cannot be told for now."""

    async def ha1_of(self, login: str) -> str | None:
        """The digest of the phone's password; ``None``: there is no such phone."""

    async def register(self, login: str, user: str, source: Address, seconds: int) -> None:
        """Call it there, as ``user``, for so long."""

    async def unregister(self, login: str) -> None:
        """It cannot be called any more."""

    async def where(self, login: str) -> tuple[str, int] | None:
        """The contact URI that it is called at, and for how many seconds more; ``None`` when it is not registered."""


class Registrar(asyncio.DatagramProtocol):
    """Use :meth:`open` and :meth:`close`."""

    def __init__(self, phones: Phones, clock: Clock) -> None:
        self._phones = phones
        self._challenges = Challenges(clock)
        self._throttle = Throttle(clock)
        self._transport: asyncio.DatagramTransport | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> Address:
        """Listen; port 0 picks a free one. Returns where. Raises OSError."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        name = transport.get_extra_info("sockname")
        return (name[0], name[1])

    async def close(self) -> None:
        """Stop listening and drop what is under way: phones repeat it."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # --- asyncio calls these ---

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """One datagram."""
        source = (_plain(str(addr[0])), addr[1])
        if not data.strip() or not self._throttle.admits(source[0]):
            return
        try:
            request = read_request(data)
        except Malformed as error:
            _log.debug("not_understood", source=source[0], size=len(data), reason=str(error))
            return
        if request is not None:
            _Exchange(self, request, source, (str(addr[0]), addr[1]), len(data)).begin()

    def error_received(self, exc: Exception) -> None:
        """A datagram could not be sent: the phone is gone, and its registration runs out by itself."""
        _log.debug("not_sent", reason=str(exc))

    # --- what an exchange needs ---

    @property
    def phones(self) -> Phones:
        """The phones that there are."""
        return self._phones

    @property
    def challenges(self) -> Challenges:
        """Makes and judges."""
        return self._challenges

    def send(self, data: bytes, to: Address) -> None:
        """Send a datagram, if the socket is open."""
        if self._transport is not None and to[1]:
            self._transport.sendto(data, to)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this beside everything else; dropped when too much is under way."""
        if len(self._under_way) >= MOST_UNDER_WAY:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


class _Exchange:
    """One request and its answer. ``reply_to`` is the socket address to send to, ``source`` the same to show."""

    def __init__(self, registrar: Registrar, request: Request, source: Address, reply_to: Address, size: int) -> None:
        self._registrar = registrar
        self._request = request
        self._source = source
        self._reply_to = reply_to
        self._size = size

    def begin(self) -> None:
        """Answer at once what needs no phone, and look up the rest."""
        match self._request.method:
            case "REGISTER":
                self._ask_who_it_is()
            case "OPTIONS":  # phones look whether we are there
                self._answer(200, {"Allow": ALLOWED})
            case _:
                self._answer(405, {"Allow": ALLOWED})

    def _ask_who_it_is(self) -> None:
        given = next(filter(None, map(read_answer, self._request.authorizations)), None)
        if given is None:
            self._challenge()
        elif not self._registrar.challenges.is_fresh(given.nonce, self._source[0]):
            self._challenge(stale=True)
        else:
            self._registrar.spawn(self._register(given))

    async def _register(self, given: Given) -> None:
        try:
            await self._register_or_refuse(given)
        except Malformed as error:
            _log.info("register_refused", login=given.login, reason=str(error))
            self._answer(400)
        except Busy as error:
            _log.warning("register_put_off", login=given.login, reason=str(error))
            self._answer(503, {"Retry-After": "5"})
        except Exception:  # noqa: BLE001 - one request must not end the registrar; the phone is told
            _log.exception("register_broke", login=given.login)
            self._answer(500)

    async def _register_or_refuse(self, given: Given) -> None:
        registrar, request = self._registrar, self._request
        ha1 = await registrar.phones.ha1_of(given.login)
        # A phone may register nobody but itself; what is wrong with its answer is not told.
        if not registrar.challenges.is_right(request.method, given, ha1) or request.login != given.login:
            _log.info("register_refused", source=self._source[0], reason="wrong password, or no such phone")
            self._answer(403)
            return
        wish = read_wish(request)
        if wish.contact and 0 < wish.seconds < SHORTEST_EXPIRES:
            self._answer(423, {"Min-Expires": str(SHORTEST_EXPIRES)})
            return
        turn = registrar.challenges.take(given, (self._source, request.call_id, request.sequence, wish))
        if turn is Turn.USED:
            self._challenge(stale=True)
            return
        seconds = min(wish.seconds, LONGEST_EXPIRES)
        if turn is Turn.NEW and wish.contact:
            if seconds == 0:
                await registrar.phones.unregister(given.login)
            else:
                await registrar.phones.register(given.login, wish.user or given.login, self._source, seconds)
        if wish.contact and seconds:
            self._answer(200, {"Contact": f"<{wish.contact}>;expires={seconds}"})
            return
        where = await registrar.phones.where(given.login)
        self._answer(200, {} if where is None else {"Contact": f"<{where[0]}>;expires={where[1]}"})

    def _challenge(self, *, stale: bool = False) -> None:
        self._answer(401, {"WWW-Authenticate": self._registrar.challenges.challenge(self._source[0], stale=stale)})

    def _answer(self, code: int, headers: Mapping[str, str] | None = None) -> None:
        data = answer(self._request, code, self._source, headers)
        # Whoever sends in another's name must not make us send him more than that.
        if len(data) <= MOST_GROWTH * self._size:
            self._registrar.send(data, self._reply_to)


def _plain(host: str) -> str:
    """An IPv4 address as such, also on a socket for both families; without a zone index."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
