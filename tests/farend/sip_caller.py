"""A caller for tests: plain SIP and RTP over UDP, written down message by message.

It does nothing by itself. Every request, ACK and packet is sent by the test, and everything received is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

Address = tuple[str, int]

#: Seconds after which a test that waits has failed.
PATIENCE = 10.0
PCMU, PCMA, EVENTS = 0, 8, 101
LOUD_FRAME = b"\x10\x90" * 80  # about 2,000 Hz at half of full scale, in both G.711 laws
QUIET_FRAME = b"\xff" * 160

_numbers = itertools.count(1)


class Message:
    """A SIP message as it came. ``status`` is 0 for requests, ``method`` is that of the CSeq."""

    def __init__(self, data: bytes) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        self.raw = data
        self.first = first
        self.body = body
        self.headers: dict[str, list[str]] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.lower(), []).append(value.strip())
        self.status = int(first.split()[1]) if first.startswith("SIP/2.0") else 0
        self.method = self["cseq"].split()[1]

    def __getitem__(self, name: str) -> str:
        return self.headers[name][0]

    def __repr__(self) -> str:
        return f"<{self.first} ({self['cseq']})>"

    @property
    def to_tag(self) -> str:
        found = re.search(r";tag=([^;>]+)", self["to"])
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Packet:
    """An RTP packet."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    payload: bytes

    @property
    def is_loud(self) -> bool:
        return sum(1 for code in self.payload if code & 0x7F < 0x50) > 20


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes], None]) -> None:
        self._on_datagram = on_datagram
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._on_datagram(data)

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])


class Mailbox:
    """Everything that arrived, in order; a test waits for what it expects next."""

    def __init__(self) -> None:
        self.items: list = []
        self._changed = asyncio.Event()

    def put(self, item: object) -> None:
        self.items.append(item)
        self._changed.set()

    async def wait(self, condition: Callable[[list], object]) -> object:
        """Wait until ``condition`` of all items is true (not None, not empty), and return what it gave."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := condition(self.items)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain; the last of {len(self.items)} is {self.items[-20:]}") from None
        return found


class Phone:
    """The caller's SIP socket. ``server`` is where everything is sent."""

    def __init__(self, server: Address) -> None:
        self.server = server
        self.inbox = Mailbox()
        self._calls: list[OutgoingCall] = []
        self._socket = _Socket(lambda data: self.inbox.put(Message(data)))

    @property
    def port(self) -> int:
        return self._socket.port

    async def open(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self._socket, local_addr=("127.0.0.1", 0))

    def close(self) -> None:
        self._socket.transport.close()
        for call in self._calls:
            call.close()

    def send(self, data: bytes | str) -> None:
        self._socket.transport.sendto(data.encode() if isinstance(data, str) else data, self.server)

    async def call(self, callee: str, **given: object) -> OutgoingCall:
        """Send an INVITE."""
        call = OutgoingCall(self, callee, **given)
        await call.open_media()
        self._calls.append(call)
        call.invite()
        return call

    async def ping(self) -> Message:
        """Send OPTIONS and wait for the answer: all that was sent before has been seen by then."""
        number = next(_numbers)
        self.send(
            "OPTIONS sip:127.0.0.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bKping{number};rport\r\n"
            f"From: <sip:tester@127.0.0.1>;tag=ping\r\nTo: <sip:127.0.0.1>\r\nCall-ID: ping-{number}\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        return await self.inbox.wait(lambda items: next((m for m in items if m["call-id"] == f"ping-{number}"), None))


class OutgoingCall:
    """One call: ``invite`` and the other requests may be sent again and again, exactly as they are."""

    def __init__(
        self,
        phone: Phone,
        callee: str,
        *,
        headers: Iterable[str] = (),
        sdp: str | None = None,
        formats: str = "0 101",
        caller: str = "4930900",
        rport: bool = True,
    ) -> None:
        self.phone = phone
        self.callee = callee
        self.call_id = f"call-{next(_numbers)}@127.0.0.1"
        self.sequence = 1
        self.headers = list(headers)
        self.caller = caller
        self.formats = formats
        self.rport = rport
        self.answer: Message | None = None
        self.heard = Mailbox()
        self._given_sdp = sdp
        self._branch = f"z9hG4bK{next(_numbers)}"
        self._rtp = _Socket(self._on_rtp)
        self._rtp_sequence = itertools.count(1)

    # --- signalling ---

    def request(
        self,
        method: str,
        *,
        branch: str | None = None,
        sequence: int | None = None,
        to_tag: str = "",
        body: str = "",
        headers: Iterable[str] = (),
    ) -> bytes:
        lines = [
            f"{method} sip:{self.callee}@127.0.0.1:{self.phone.server[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.phone.port};branch={branch or self._branch}{';rport' * self.rport}",
            "Max-Forwards: 70",
            f"From: <sip:{self.caller}@127.0.0.1>;tag=from-{self.call_id.partition('@')[0]}",
            f"To: <sip:{self.callee}@127.0.0.1>{f';tag={to_tag}' if to_tag else ''}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {sequence or self.sequence} {method}",
            f"Contact: <sip:{self.caller}@127.0.0.1:{self.phone.port}>",
            *headers,
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def sdp(self, direction: str = "sendrecv", port: int | None = None) -> str:
        if self._given_sdp is not None:
            return self._given_sdp.replace("{port}", str(self._rtp.port))
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port or self._rtp.port} RTP/AVP {self.formats}\r\na=rtpmap:0 PCMU/8000\r\n"
            f"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
        )

    def invite(self) -> None:
        """Send the INVITE; again: a retransmission."""
        self.phone.send(self.request("INVITE", body=self.sdp(), headers=self.headers))

    def next_attempt(self, *headers: str) -> None:
        """Send the INVITE once more as a new request of the same call, as after a challenge."""
        self.sequence += 1
        self._branch = f"z9hG4bK{next(_numbers)}"
        self.headers += headers
        self.invite()

    def ack(self, response: Message, *, branch: str | None = None) -> None:
        if branch is None and response.status < 300:
            branch = f"z9hG4bK{next(_numbers)}"
        sequence = int(response["cseq"].split()[0])
        self.phone.send(self.request("ACK", branch=branch, sequence=sequence, to_tag=response.to_tag))

    def cancel(self) -> None:
        self.phone.send(self.request("CANCEL"))

    def in_dialog(self, method: str, **given: object) -> bytes:
        """Send a request within the dialog that ``answer`` made; returns what was sent."""
        self.sequence += 1
        branch = f"z9hG4bK{next(_numbers)}"
        request = self.request(method, branch=branch, to_tag=self.answer.to_tag, **given)
        self.phone.send(request)
        return request

    def agree(self, request: Message) -> None:
        """Answer a request of the far end with 200."""
        copied = [f"{name}: {request[name.lower()]}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
        self.phone.send("\r\n".join(["SIP/2.0 200 OK", *copied, "Content-Length: 0", "", ""]))

    @property
    def messages(self) -> list[Message]:
        """What was received on this call, in order."""
        return [m for m in self.phone.inbox.items if m["call-id"] == self.call_id]

    def statuses(self, method: str = "INVITE") -> list[int]:
        return [m.status for m in self.messages if m.status and m.method == method]

    async def response(self, status: int, *, method: str = "INVITE", count: int = 1) -> Message:
        """Wait for the ``count``-th response with that status."""

        def find(_: list) -> Message | None:
            found = [m for m in self.messages if m.status == status and m.method == method]
            return found[count - 1] if len(found) >= count else None

        return await self.phone.inbox.wait(find)

    async def requested(self, method: str, count: int = 1) -> Message:
        """Wait for the ``count``-th copy of a request of the far end."""

        def find(_: list) -> Message | None:
            found = [m for m in self.messages if not m.status and m.method == method]
            return found[count - 1] if len(found) >= count else None

        return await self.phone.inbox.wait(find)

    async def answered(self) -> Message:
        """Wait for 200, and acknowledge it."""
        self.answer = await self.response(200)
        self.ack(self.answer)
        return self.answer

    async def refused(self, status: int) -> Message:
        """Wait for a refusal, and acknowledge it."""
        response = await self.response(status)
        self.ack(response)
        return response

    async def hang_up(self) -> None:
        """BYE, and wait for its answer."""
        self.in_dialog("BYE")
        await self.response(200, method="BYE")

    # --- audio ---

    async def open_media(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self._rtp, local_addr=("127.0.0.1", 0))

    def close(self) -> None:
        self._rtp.transport.close()

    def _on_rtp(self, data: bytes) -> None:
        _, second, sequence, timestamp, _ = struct.unpack("!BBHLL", data[:12])
        self.heard.put(Packet(second & 0x7F, second > 0x7F, sequence, timestamp, data[12:]))

    def say(self, frame: bytes, count: int = 1, payload_type: int = PCMU) -> None:
        """Send ``count`` packets of audio at once."""
        for _ in range(count):
            number = next(self._rtp_sequence)
            self.say_raw(struct.pack("!BBHLL", 0x80, payload_type, number, 160 * number, 7) + frame)

    def say_raw(self, datagram: bytes) -> None:
        port = int(re.search(r"m=audio (\d+)", self.media_answer)[1])
        self._rtp.transport.sendto(datagram, ("127.0.0.1", port))

    @property
    def media_answer(self) -> str:
        return next(m.body for m in reversed(self.messages) if m.status in {183, 200} and m.body)

    async def packets(self, count: int, accept: Callable[[Packet], bool] = lambda _: True) -> list[Packet]:
        """Wait for ``count`` packets of a kind, and return those."""

        def find(items: list[Packet]) -> list[Packet] | None:
            found = [p for p in items if accept(p)]
            return found if len(found) >= count else None

        return await self.heard.wait(find)

    async def key(self) -> str:
        """Wait for a key (RFC 4733) to its last packet, and return it."""
        ends = await self.packets(3, lambda p: p.payload_type == EVENTS and bool(p.payload[1] & 0x80))
        return "0123456789*#ABCD"[ends[0].payload[0]]


def authorization(challenge: str, user: str, password: str, uri: str, method: str = "INVITE") -> str:
    """An Authorization header that answers a WWW-Authenticate value (RFC 2617 with qop=auth)."""
    asked = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.removeprefix("Digest ")))

    def digest(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    secret, what = digest(f"{user}:{asked['realm']}:{password}"), digest(f"{method}:{uri}")
    response = digest(f"{secret}:{asked['nonce']}:00000001:c0ffee:auth:{what}")
    return (
        f'Authorization: Digest username="{user}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", uri="{uri}", '
        f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c0ffee"'
    )


@contextlib.asynccontextmanager
async def phone(server: Address) -> AsyncIterator[Phone]:
    """A phone for as long as the block lasts, with the media of its calls."""
    opened = Phone(server)
    await opened.open()
    try:
        yield opened
    finally:
        opened.close()
