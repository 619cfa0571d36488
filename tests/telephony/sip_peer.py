"""The far side of a SIP call, scripted per callee: a small UDP user agent server for tests.

It answers what the script of the callee says, sends and records RTP, and keeps every SIP message, so that a test can
say what was on the wire. It repeats nothing (loopback loses nothing) and accepts any well-formed request. At the end of
the module is what the near side of such a test needs: orders, events, sounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import math
import random
import re
import struct
from collections import Counter
from typing import TYPE_CHECKING

from ringback.clock import RealClock
from ringback.telephony.port import CallEvent, Destination, DialOrder, Ended, Leg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FRAME = 160  # bytes of one 20 ms G.711 packet
PCMU = 0
TELEPHONE_EVENT = 101
DIGITS = "0123456789*#ABCD"
LONGEST_WAIT = 10.0

PHRASES = {
    100: "Trying",
    180: "Ringing",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    302: "Moved Temporarily",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    480: "Temporarily Unavailable",
    481: "Call Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    503: "Service Unavailable",
    600: "Busy Everywhere",
    603: "Decline",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script:
    """What happens on an INVITE. The default rings and answers, and stays until the caller hangs up."""

    provisional: tuple[int, ...] = (100, 180)
    provisional_after: float = 0.0  # seconds
    final: int | None = 200  # None: never
    silent: bool = False  # not even a 100
    final_after: float = 0.0  # seconds
    reason: str = ""  # Reason header of the final response
    contact: str | None = ""  # Contact of every response; empty: this peer; None: left out
    digest: tuple[str, str] | None = None  # user and password to ask for
    challenge: int = 401  # with which response to ask: 401 or 407
    answers_cancel: bool = False  # 200 to the INVITE when the CANCEL comes, as if they had crossed
    hangs_up_after: float | None = None  # seconds after the ACK
    bye_reason: str = ""  # Reason header of that BYE
    says_early: bytes = b""  # G.711 mu-law, sent between the provisional responses and the final one
    says: bytes = b""  # G.711 mu-law, sent from the ACK on
    presses: str = ""  # RFC 4733 digits, sent from the ACK on (after ``says``)
    then_says: bytes = b""  # G.711 mu-law, sent after ``presses``
    with_body: bool = True  # session description in 183 and 200
    codec: int = PCMU  # payload type in it
    refer: int | None = 202  # response to a REFER; None: never
    reports: tuple[str, ...] = ("100 Trying", "200 OK")  # what the NOTIFYs after a 202 say; the last one ends it
    bye_after_refer: bool = False  # BYE after the reports


@dataclasses.dataclass(frozen=True)
class Message:
    """A SIP message as it came. ``headers`` are by lower-case name; of several only the last."""

    start: str
    headers: dict[str, str]
    body: str
    raw: str

    @property
    def method(self) -> str:
        """First word of a request line (``SIP/2.0`` for a response)."""
        return self.start.split(" ", 1)[0]

    @classmethod
    def parse(cls, data: bytes) -> Message:
        """Read one datagram."""
        raw = data.decode()
        head, _, body = raw.partition("\r\n\r\n")
        start, *lines = head.split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start, {name.strip().lower(): value.strip() for name, _, value in pairs}, body, raw)


class PeerCall:
    """One INVITE dialog, seen from the callee's side."""

    def __init__(self, peer: SipPeer, invite: Message, address: tuple[str, int], script: Script) -> None:
        self.peer = peer
        self.invite = invite
        self.script = script
        self.callee = callee_of(invite)
        self.messages: list[Message] = [invite]
        self.rtp: list[tuple[float, int, int, bytes]] = []  # arrival, payload type, RTP timestamp, payload
        self.answered = False
        self._address = address
        self._tag = f"peer{next(peer.counter)}"
        self._rtp_transport: asyncio.DatagramTransport | None = None
        self._sequence = itertools.count(1)
        self._timestamp = 0
        self._changed = asyncio.Event()

    async def wait_for(self, method: str, *, times: int = 1) -> Message:
        """The ``times``-th message with this method, when it has come."""
        return await self._wait(lambda: [m for m in self.messages if m.method == method], times)

    async def wait_for_response(self, code: int) -> Message:
        """A response of the caller (to our BYE) with this code."""
        return await self._wait(lambda: [m for m in self.messages if m.start.startswith(f"SIP/2.0 {code}")], 1)

    async def _wait(self, found, times: int) -> Message:
        async with asyncio.timeout(LONGEST_WAIT):
            while len(found()) < times:
                self._changed.clear()
                await self._changed.wait()
        return found()[times - 1]

    def count(self, method: str) -> int:
        """How many messages with this method came."""
        return Counter(message.method for message in self.messages)[method]

    async def heard_packets(self, number: int) -> None:
        """Wait until this many RTP packets have come."""
        await self._wait(lambda: self.rtp, number)

    def heard(self) -> list[int]:
        """All samples received as G.711 mu-law, linear 16 bit."""
        return [MU_LAW[byte] for _, kind, _, payload in self.rtp if kind == PCMU for byte in payload]

    # --- what the peer does ---

    def receive(self, message: Message) -> None:
        """Take one more message of this dialog."""
        if message is not self.invite:
            self.messages.append(message)
        self._changed.set()
        match message.method:
            case "INVITE":
                self.invite = message
                self.peer.spawn(self._act())
            case "ACK" if self.answered:
                self.peer.spawn(self._talk())
            case "CANCEL":
                self._reply(message, 200)
                if self.script.answers_cancel:
                    self._answer()
                else:
                    self._reply(self.invite, 487)
            case "BYE":
                self._reply(message, 200)
            case "REFER" if self.script.refer is not None:
                self._reply(message, self.script.refer)
                if self.script.refer < 300:
                    self._report()

    def _report(self) -> None:
        *_, last = (None, *self.script.reports)
        for report in self.script.reports:
            state = "terminated;reason=noresource" if report is last else "active;expires=60"
            self.request(
                "NOTIFY",
                f"Event: refer\r\nSubscription-State: {state}\r\n",
                body=f"SIP/2.0 {report}\r\n",
                kind="message/sipfrag;version=2.0",
            )
        if self.script.bye_after_refer:
            self.hang_up()

    async def _act(self) -> None:
        script = self.script
        if script.silent:
            return
        if script.digest and not self._authorized(*script.digest):
            header = "Proxy-Authenticate" if script.challenge == 407 else "WWW-Authenticate"
            question = f'{header}: Digest realm="peer", nonce="{self._tag}", qop="auth"\r\n'
            self._reply(self.invite, script.challenge, question)
            return
        await self._open_rtp()
        await self.peer.clock.sleep(script.provisional_after)
        for code in script.provisional:
            self._reply(self.invite, code, with_body=code == 183 and script.with_body)
        if script.final is None:
            return
        await self._say(script.says_early)
        await self.peer.clock.sleep(script.final_after)
        if script.final == 200:
            self._answer()
        else:
            reason = f"Reason: {script.reason}\r\n" if script.reason else ""
            self._reply(self.invite, script.final, reason)

    def _answer(self) -> None:
        self.answered = True
        self._reply(self.invite, 200, with_body=self.script.with_body)

    def _authorized(self, user: str, password: str) -> bool:
        header = "proxy-authorization" if self.script.challenge == 407 else "authorization"
        given = dict(re.findall(r'(\w+)="?([^",]+)"?', self.invite.headers.get(header, "")))
        if given.get("username") != user:
            return False
        ha1 = md5(f"{user}:{given['realm']}:{password}")
        ha2 = md5(f"INVITE:{given['uri']}")
        expected = md5(f"{ha1}:{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}:{ha2}")
        return given["response"] == expected

    def _reply(self, request: Message, code: int, extra: str = "", *, with_body: bool = False) -> None:
        headers = request.headers
        tag = "" if code == 100 else f";tag={self._tag}"
        body = self._session() if with_body else ""
        contact = ""
        if self.script.contact is not None:
            value = self.script.contact or f"<sip:{self.callee}@{self.peer.host}:{self.peer.port}>"
            contact = f"Contact: {value}\r\n"
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self._send(
            f"SIP/2.0 {code} {PHRASES[code]}\r\n"
            f"Via: {headers['via']}\r\nFrom: {headers['from']}\r\nTo: {headers['to']}{tag}\r\n"
            f"Call-ID: {headers['call-id']}\r\nCSeq: {headers['cseq']}\r\n"
            f"{contact}{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def _session(self) -> str:
        assert self._rtp_transport is not None
        port = self._rtp_transport.get_extra_info("sockname")[1]
        return (
            f"v=0\r\no=peer 1 1 IN IP4 {self.peer.host}\r\ns=-\r\nc=IN IP4 {self.peer.host}\r\nt=0 0\r\n"
            f"m=audio {port} RTP/AVP {self.script.codec} {TELEPHONE_EVENT}\r\n"
            f"a=rtpmap:{TELEPHONE_EVENT} telephone-event/8000\r\na=fmtp:{TELEPHONE_EVENT} 0-15\r\na=sendrecv\r\n"
        )

    def _send(self, text: str) -> None:
        self.peer.send(text, self._address)

    async def _talk(self) -> None:
        script = self.script
        await self._say(script.says)
        for digit in script.presses:
            for packet in range(6):  # three while the key is down, the end three times
                event = struct.pack("!BBH", DIGITS.index(digit), 0x80 * (packet > 2) | 10, FRAME * min(packet + 1, 4))
                self._send_rtp(TELEPHONE_EVENT, event)
                await self.peer.clock.sleep(0.02)
            self._timestamp += FRAME * 10
            await self.peer.clock.sleep(0.04)
        await self._say(script.then_says)
        if script.hangs_up_after is not None:
            await self.peer.clock.sleep(script.hangs_up_after)
            self.hang_up(script.bye_reason)

    async def _say(self, sound: bytes) -> None:
        for start in range(0, len(sound), FRAME):
            self._send_rtp(PCMU, sound[start : start + FRAME])
            self._timestamp += FRAME
            await self.peer.clock.sleep(0.02)

    def hang_up(self, reason: str = "") -> None:
        """Send BYE, with a Reason header if given."""
        self.request("BYE", f"Reason: {reason}\r\n" if reason else "")

    def request(
        self, method: str, extra: str = "", *, call_id: str = "", body: str = "", kind: str = "application/sdp"
    ) -> None:
        """Send a request of our own to the caller; with a ``call_id`` of its own it is outside this dialog."""
        headers = self.invite.headers
        target = re.search(r"<(sip:[^>]+)>", headers["contact"])
        assert target is not None
        tag = "" if call_id else headers["from"].partition(";")[2]
        to = headers["from"].partition(";")[0] + (f";{tag}" if tag else "")
        number = next(self.peer.counter)
        self._send(
            f"{method} {target[1]} SIP/2.0\r\n"
            # Some stacks know a request by its branch alone: it is unique among all peers.
            f"Via: SIP/2.0/UDP {self.peer.host}:{self.peer.port};branch=z9hG4bK{self.peer.port}{self._tag}x{number}\r\n"
            f"Max-Forwards: 70\r\nFrom: {headers['to']};tag={self._tag}\r\nTo: {to}\r\n"
            f"Call-ID: {call_id or headers['call-id']}\r\nCSeq: {number} {method}\r\n"
            f"Contact: <sip:{self.callee}@{self.peer.host}:{self.peer.port}>\r\n{extra}"
            f"{f'Content-Type: {kind}' + chr(13) + chr(10) if body else ''}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def _media_address(self) -> tuple[str, int]:
        host = re.search(r"^c=IN IP4 (\S+)", self.invite.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", self.invite.body, re.MULTILINE)
        assert host is not None
        assert port is not None
        return host[1], int(port[1])

    def _send_rtp(self, kind: int, payload: bytes) -> None:
        assert self._rtp_transport is not None
        if not self._rtp_transport.is_closing():
            header = struct.pack("!BBHII", 0x80, kind, next(self._sequence), self._timestamp, 77)
            self._rtp_transport.sendto(header + payload, self._media_address())

    async def _open_rtp(self) -> None:
        if self._rtp_transport is None:
            loop = asyncio.get_running_loop()
            self._rtp_transport, _ = await loop.create_datagram_endpoint(
                lambda: _Media(self), local_addr=(self.peer.host, 0)
            )

    def receive_rtp(self, data: bytes) -> None:
        """Keep one RTP packet."""
        _, kind, _, timestamp, _ = struct.unpack("!BBHII", data[:12])
        self.rtp.append((self.peer.clock.monotonic(), kind & 0x7F, timestamp, data[12:]))
        self._changed.set()

    def close(self) -> None:
        """Free the media socket."""
        if self._rtp_transport is not None:
            self._rtp_transport.close()


class SipPeer:
    """Listens on a free loopback port. ``scripts`` maps callees to what happens; others get ``default``."""

    def __init__(self, scripts: dict[str, Script] | None = None, *, default: Script | None = None) -> None:
        self.scripts = scripts or {}
        self.default = default or Script()
        self.clock = RealClock()
        self.counter = itertools.count(1)
        self.calls: list[PeerCall] = []
        self.strays: list[Message] = []  # messages of no dialog we know
        self.host = "127.0.0.1"
        self.port = 0
        self._by_id: dict[str, PeerCall] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[SipPeer]:
        """Run inside this block. Entered again, it listens on the same port again."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Signalling(self), local_addr=(self.host, self.port)
        )
        self.port = self._transport.get_extra_info("sockname")[1]
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for call in self.calls:
                call.close()
            self._transport.close()

    async def call(self, number: int = 0) -> PeerCall:
        """The ``number``-th call, when its INVITE has come."""
        async with asyncio.timeout(LONGEST_WAIT):
            while len(self.calls) <= number:
                self._news.clear()
                await self._news.wait()
        return self.calls[number]

    async def stray(self, start: str) -> Message:
        """A message outside every call whose first line starts so, when it has come."""
        async with asyncio.timeout(LONGEST_WAIT):
            while not (found := [message for message in self.strays if message.start.startswith(start)]):
                self._news.clear()
                await self._news.wait()
        return found[0]

    def spawn(self, work) -> None:
        """Run a call's script beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send(self, text: str, address: tuple[str, int]) -> None:
        """Send one SIP message."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(text.encode(), address)

    def receive(self, data: bytes, address: tuple[str, int]) -> None:
        """Take one datagram."""
        if not data.strip():
            return  # keep-alive
        message = Message.parse(data)
        call = self._by_id.get(message.headers["call-id"])
        if call is None and message.method == "INVITE":
            script = self.scripts.get(callee_of(message), self.default)
            call = PeerCall(self, message, address, script)
            self._by_id[message.headers["call-id"]] = call
            self.calls.append(call)
        if call is None:
            self.strays.append(message)
        else:
            call.receive(message)
        self._news.set()


class _Signalling(asyncio.DatagramProtocol):
    def __init__(self, peer: SipPeer) -> None:
        self._peer = peer

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._peer.receive(data, addr)


class _Media(asyncio.DatagramProtocol):
    def __init__(self, call: PeerCall) -> None:
        self._call = call

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._call.receive_rtp(data)


def callee_of(invite: Message) -> str:
    """User part of the request URI."""
    found = re.match(r"INVITE sip:([^@;]+)@", invite.start)
    assert found is not None, invite.start
    return found[1]


def md5(text: str) -> str:
    """Digest authentication's hash, in hex."""
    return hashlib.md5(text.encode()).hexdigest()


def _expand(byte: int) -> int:
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84) << ((byte & 0x70) >> 4)
    return (0x84 - magnitude) if byte & 0x80 else (magnitude - 0x84)


#: Linear value of each G.711 mu-law byte.
MU_LAW = [_expand(byte) for byte in range(256)]


def mu_law(samples: list[int]) -> bytes:
    """Encode linear 16-bit samples as G.711 mu-law."""
    encoded = bytearray()
    for sample in samples:
        magnitude = min(abs(sample), 32_635) + 0x84
        exponent = magnitude.bit_length() - 8
        mantissa = (magnitude >> (exponent + 3)) & 0x0F
        encoded.append(~((0x80 if sample < 0 else 0) | exponent << 4 | mantissa) & 0xFF)
    return bytes(encoded)


# --- the near side ---


def order_to(peer: SipPeer, callee: str, call_id: int, **parts) -> DialOrder:
    """An order to call ``callee`` at the peer. ``parts`` are its other fields, those of the destination included."""
    destination = Destination(
        host=parts.pop("host", peer.host),
        port=parts.pop("port", peer.port),
        user=parts.pop("user", ""),
        password=parts.pop("password", ""),
    )
    caller_id = parts.pop("caller_id", "4930123456")
    return DialOrder(call_id=call_id, task_id=77, callee=callee, caller_id=caller_id, destination=destination, **parts)


async def next_event(leg: Leg, *, within: float = LONGEST_WAIT) -> CallEvent:
    """The next event, within a limit."""
    async with asyncio.timeout(within):
        return await leg.next_event()


async def events_until(leg: Leg, kind: type[CallEvent], *, within: float = LONGEST_WAIT) -> list[CallEvent]:
    """Every event up to the first of this kind, which is the last in the list."""
    events: list[CallEvent] = []
    async with asyncio.timeout(within):
        while not events or not isinstance(events[-1], kind):
            events.append(await leg.next_event())
            assert kind is Ended or not isinstance(events[-1], Ended), f"ended before {kind.__name__}: {events}"
    return events


async def end_of(leg: Leg, *, within: float = LONGEST_WAIT) -> Ended:
    """How the call ends, whatever happens before."""
    ended = (await events_until(leg, Ended, within=within))[-1]
    assert isinstance(ended, Ended)
    return ended


def tone(seconds: float, *, hertz: float = 440, amplitude: int = 8_000) -> list[int]:
    """A sine as linear samples at 8,000/s."""
    step = 2 * math.pi * hertz / 8_000
    return [round(amplitude * math.sin(step * n)) for n in range(round(seconds * 8_000))]


def noise(seconds: float, *, level: int) -> list[int]:
    """Steady noise of this mean magnitude, the same each time."""
    source = random.Random(7)
    return [source.randint(-2 * level, 2 * level) for _ in range(round(seconds * 8_000))]


def silence(seconds: float) -> list[int]:
    """No sound, as linear samples at 8,000/s."""
    return [0] * round(seconds * 8_000)


def pcm(samples: list[int]) -> bytes:
    """Samples as the port's PCM."""
    return struct.pack(f"<{len(samples)}h", *samples)
