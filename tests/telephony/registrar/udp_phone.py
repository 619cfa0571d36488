"""A phone on a real UDP socket, as far as registering goes. Says what it is told to, right or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator

from tests.telephony.sip_peer import Message, md5

REALM = "ringback"
#: Long enough for an answer over loopback, short enough to wait for one that must not come.
QUIET_SECONDS = 0.2
_NUMBERS = itertools.count(1)


class UdpPhone:
    """Made by :func:`phone_at`."""

    def __init__(self, login: str, password: str, registrar: tuple[str, int]) -> None:
        self.login = login
        self.password = password
        self.registrar = registrar
        self.port = 0
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.DatagramTransport | None = None
        self.call_id = f"reg{next(_NUMBERS)}@phone"

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        assert self.transport is not None
        self.transport.sendto(data, self.registrar)

    async def answer(self) -> Message:
        """The next answer."""
        async with asyncio.timeout(5):
            return Message.parse(await self.received.get())

    async def silence(self) -> bool:
        """Whether nothing is answered for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_SECONDS):
                await self.received.get()
                return False
        return True

    def request(
        self,
        *,
        method: str = "REGISTER",
        authorization: str = "",
        contact: str | None = "",
        extra: str = "",
        to: str = "",
        via: str = "",
        sequence: int | None = None,
    ) -> bytes:
        """A request; ``contact`` empty: this phone's own, ``None``: none at all."""
        number = next(_NUMBERS)
        host, port = self.registrar
        contact = f"<sip:{self.login}@127.0.0.1:{self.port};transport=udp>" if contact == "" else contact
        lines = [
            f"{method} sip:{host}:{port} SIP/2.0",
            via or f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{number};rport",
            f"From: <sip:{self.login}@{host}>;tag=f{number}",
            f"To: <sip:{to or self.login}@{host}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {sequence or number} {method}",
            "Max-Forwards: 70",
            *([] if contact is None else [f"Contact: {contact}"]),
            *([f"Authorization: {authorization}"] if authorization else []),
            *([extra] if extra else []),
            "Content-Length: 0",
            "",
            "",
        ]
        return "\r\n".join(lines).encode()

    def authorization(
        self, challenge: Message, *, count: int = 1, login: str = "", password: str = "", method: str = "REGISTER"
    ) -> str:
        """The answer to a challenge."""
        found = re.search(r'nonce="([^"]+)"', challenge.headers["www-authenticate"])
        assert found is not None
        return self.authorize(found[1], count=count, login=login, password=password, method=method)

    def authorize(
        self, nonce: str, *, count: int = 1, login: str = "", password: str = "", method: str = "REGISTER"
    ) -> str:
        """The answer to a nonce."""
        login, uri, client = login or self.login, f"sip:{self.registrar[0]}", "c0ffee"
        ha1, ha2 = md5(f"{login}:{REALM}:{password or self.password}"), md5(f"{method}:{uri}")
        response = md5(f"{ha1}:{nonce}:{count:08x}:{client}:auth:{ha2}")
        return (
            f'Digest username="{login}", realm="{REALM}", nonce="{nonce}", uri="{uri}", response="{response}", '
            f'algorithm=MD5, cnonce="{client}", qop=auth, nc={count:08x}'
        )

    async def challenged(self) -> Message:
        """Ask without a password, and be asked for it."""
        self.send(self.request())
        challenge = await self.answer()
        assert challenge.start == "SIP/2.0 401 Unauthorized"
        return challenge

    async def register(self, **parts) -> Message:
        """Register in two steps; ``parts`` are those of the second request. Returns the last answer."""
        authorization = self.authorization(await self.challenged(), password=parts.pop("password", ""))
        self.send(self.request(authorization=authorization, **parts))
        return await self.answer()


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, phone: UdpPhone) -> None:
        self._phone = phone

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._phone.received.put_nowait(data)


@contextlib.asynccontextmanager
async def phone_at(registrar: tuple[str, int], login: str, password: str) -> AsyncIterator[UdpPhone]:
    """A phone on a free port of loopback."""
    phone = UdpPhone(login, password, registrar)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Receiver(phone), local_addr=("127.0.0.1", 0)
    )
    phone.transport = transport
    phone.port = transport.get_extra_info("sockname")[1]
    try:
        yield phone
    finally:
        transport.close()
