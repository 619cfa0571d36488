"""SIP over UDP below the level of calls: retransmission, both ways (RFC 3261 section 17 and 13.3.1.4).

A request is handed up once, however often it arrives; its final response is repeated until an INVITE's sender has
acknowledged it, or given again when the request comes again. Requests of ours are repeated until they are answered.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from aiosipua import SipMessage, SipRequest, SipResponse, parse_via, stringify_via

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ringback.clock import Clock
    from ringback.farend.timing import Timing

#: Host (an IP literal) and port.
Address = tuple[str, int]

#: Bytes; room for a burst of some hundred INVITEs, as far as the system allows.
_RECEIVE_BUFFER: Final = 4 << 20

_log = structlog.get_logger(__name__)


class TransactionKey(NamedTuple):
    """What retransmissions of a request have in common, and an ACK of a refusal with its INVITE."""

    call_id: str
    from_tag: str
    sequence: int
    method: str
    branch: str


class ServerTransaction:
    """One request that was received, and our answers to it.

    ``source`` is where the request came from; ``request`` has that address noted in its Via; ``key`` tells it from
    every other request.
    """

    def __init__(self, layer: TransactionLayer, request: SipRequest, key: TransactionKey, source: Address) -> None:
        self.request = request
        self.source = source
        self.status = 0
        self._layer = layer
        self.key = key
        self._reply_to = _reply_address(request, source)
        self._last = b""
        self._acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def is_final(self) -> bool:
        """Whether a final response was given."""
        return self.status >= 200

    def respond(self, response: SipResponse) -> None:
        """Send a response. A final one is the last; later ones are not sent."""
        if self.is_final:
            return
        self.status = response.status_code
        self._last = bytes(response)
        self._layer.send(self._last, self._reply_to)
        if response.status_code >= 200:
            self._layer.complete(self)
            if self.key.method == "INVITE":
                self._layer.spawn(self._repeat_until_acknowledged())

    def ignore(self) -> None:
        """Never answer: what comes again is not answered either."""
        self._layer.complete(self)

    async def wait_acknowledged(self) -> bool:
        """Wait for the ACK of an INVITE's final response; false when it was given up."""
        return await asyncio.shield(self._acknowledged)

    def acknowledge(self) -> None:
        """The ACK is here (or something that proves that the response has arrived)."""
        if not self._acknowledged.done():
            self._acknowledged.set_result(True)

    def came_again(self) -> None:
        """The request was retransmitted: say again what was said last. An acknowledged answer needs no repetition."""
        if self._last and not self._acknowledged.done():
            self._layer.send(self._last, self._reply_to)

    async def _repeat_until_acknowledged(self) -> None:
        for wait in self._layer.retransmission_waits():
            await asyncio.wait({self._acknowledged}, timeout=wait)
            if self._acknowledged.done():
                return
            self._layer.send(self._last, self._reply_to)
        await asyncio.wait({self._acknowledged}, timeout=self._layer.last_wait)
        if not self._acknowledged.done():
            self._acknowledged.set_result(False)


class TransactionLayer(asyncio.DatagramProtocol):
    """The carrier's SIP socket. ``on_request`` is called with every new request but ACK."""

    def __init__(self, clock: Clock, timing: Timing, on_request: Callable[[ServerTransaction], None]) -> None:
        self._clock = clock
        self._timing = timing
        self._on_request = on_request
        self._transport: asyncio.DatagramTransport | None = None
        self._server: dict[TransactionKey, ServerTransaction] = {}
        #: INVITEs with a final response: an ACK of a 2xx has another branch, so it is found by the rest of the key.
        self._awaiting_ack: dict[tuple[str, str, int], ServerTransaction] = {}
        #: Completed transactions in the order in which they are forgotten, with the time (monotonic seconds).
        self._completed: deque[tuple[float, TransactionKey]] = deque()
        self._client: dict[tuple[str, str], asyncio.Future[SipResponse]] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    async def open(self, host: str, port: int) -> Address:
        """Bind the socket (port 0: any free one) and say where it is. Raises OSError."""
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._transport = transport
        bound: socket.socket = transport.get_extra_info("socket")
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        name = transport.get_extra_info("sockname")
        return (name[0], name[1])

    async def close(self) -> None:
        """Stop every retransmission and close the socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def spawn(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Run ``work`` beside, until it ends or the socket is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def send(self, data: bytes, to: Address) -> None:
        """Send a datagram; what cannot be sent is lost, as on any network."""
        # A port out of range is not an OSError: it would make asyncio close the socket under all the other calls.
        if self._transport is not None and 0 < to[1] < 65_536:
            self._transport.sendto(data, to)

    async def request(self, request: SipRequest, to: Address) -> SipResponse | None:
        """Send a request of ours and wait for its final response; ``None`` when there is none."""
        key = (request.via[0].branch or "", request.method)
        answer: asyncio.Future[SipResponse] = asyncio.get_running_loop().create_future()
        self._client[key] = answer
        data = bytes(request)
        try:
            self.send(data, to)
            for wait in self.retransmission_waits():
                await asyncio.wait({answer}, timeout=wait)
                if answer.done():
                    break
                self.send(data, to)
            else:
                await asyncio.wait({answer}, timeout=self.last_wait)
            return answer.result() if answer.done() else None
        finally:
            del self._client[key]

    def retransmission_waits(self) -> list[float]:
        """How many seconds to wait before each retransmission: from T1, doubling up to 8 T1 (which is T2)."""
        return [self._timing.t1 * factor for factor in (1, 2, 4, *[8] * 7)]

    @property
    def last_wait(self) -> float:
        """How many seconds to wait after the last retransmission: 64 T1 in all."""
        return self._timing.give_up - sum(self.retransmission_waits())

    def find_invite(self, cancel: ServerTransaction) -> ServerTransaction | None:
        """The INVITE that a CANCEL is about."""
        return self._server.get(cancel.key._replace(method="INVITE"))

    def complete(self, transaction: ServerTransaction) -> None:
        """The final response was given: forget the transaction when no retransmission can come any more."""
        key = transaction.key
        self._completed.append((self._clock.monotonic() + self._timing.give_up, key))
        if key.method == "INVITE":
            self._awaiting_ack[key[:3]] = transaction

    # --- what arrives ---

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Called by asyncio."""
        source = (str(addr[0]), addr[1])
        try:
            message = SipMessage.parse(data)
            if isinstance(message, SipResponse):
                self._receive_response(message)
            else:
                self._receive_request(message, source)
        except ValueError as error:  # the text may quote a phone number, so only its kind is logged
            _log.info("not a SIP message", source=source, size=len(data), error=type(error).__name__)

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio when a datagram could not be sent."""
        _log.info("a SIP message could not be sent", error=str(exc))

    def _receive_request(self, request: SipRequest, source: Address) -> None:
        key = _key_of(request)
        if request.method == "ACK":
            self._receive_ack(key)
            return
        known = self._server.get(key)
        if known is not None:
            known.came_again()
            return
        self._forget_completed()
        transaction = ServerTransaction(self, request, key, source)
        self._server[key] = transaction
        self._on_request(transaction)

    def _receive_ack(self, key: TransactionKey) -> None:
        # Some callers invent a new branch for the ACK of a refusal too, so the branch decides only when it can.
        invite = self._server.get(key._replace(method="INVITE")) or self._awaiting_ack.get(key[:3])
        if invite is not None and invite.is_final:
            invite.acknowledge()
            self._awaiting_ack.pop(key[:3], None)

    def _receive_response(self, response: SipResponse) -> None:
        if response.status_code < 200 or not response.via or response.cseq is None:
            return
        waiting = self._client.get((response.via[0].branch or "", response.cseq.method))
        if waiting is not None and not waiting.done():
            waiting.set_result(response)

    def _forget_completed(self) -> None:
        now = self._clock.monotonic()
        while self._completed and self._completed[0][0] <= now:
            _, key = self._completed.popleft()
            self._server.pop(key, None)
            self._awaiting_ack.pop(key[:3], None)


def _key_of(request: SipRequest) -> TransactionKey:
    """Raises ValueError when a header is missing or malformed without which no answer is possible."""
    vias, sender, sequence = request.via, request.from_addr, request.cseq
    if not (vias and sender and sequence and request.call_id and request.to_addr):
        raise ValueError("a mandatory header is missing")
    return TransactionKey(request.call_id, sender.tag or "", sequence.seq, request.method.upper(), vias[0].branch or "")


def _reply_address(request: SipRequest, source: Address) -> Address:
    """Where answers go (RFC 3261 section 18.2.2, RFC 3581), noted in the request's topmost Via.

    The host is always the one that the request came from: a ``received`` parameter of the sender's own making would
    let it aim our answers at somebody else, or at a host name that has to be looked up.
    """
    first, *others = request.headers.get("via")
    via = parse_via(first)
    wants_source_port = "rport" in via.params
    if wants_source_port:
        via.params["rport"] = str(source[1])
    if wants_source_port or not _same_host(via.host, source[0]):
        via.params["received"] = source[0]
    request.headers.set_single("Via", stringify_via(via))
    for other in others:
        request.headers.append("Via", other)
    return (source[0], source[1] if wants_source_port else via.port or 5060)


def _same_host(name: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(name.strip("[]")) == ipaddress.ip_address(address)
    except ValueError:  # a host name
        return False
