"""The far side of a measurement: a UDP SIP server in a process of its own that answers at once and keeps the times.

When a datagram arrived is told by the kernel (SO_TIMESTAMPNS), so this program's own turn on a busy machine blurs
nothing. It refuses every INVITE (486), or answers it and hangs up by itself after a while. It repeats no request: on
loopback none is lost. Run by :class:`Carrier`; ends when its standard input does.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import re
import select
import socket
import struct
import subprocess
import sys
import time
from typing import Any, Final, Self

from bench.processes import finish

#: Linux's number of the option, which is also the type of what comes with the datagram.
SO_TIMESTAMPNS: Final = 35
RECEIVE_BUFFER: Final = 4 << 20
#: How long it goes on listening after its input has ended, seconds.
LAST_WORDS_SECONDS: Final = 1.0

_HEADER: Final = re.compile(rb"(?im)^(via|v|from|f|to|t|call-id|i|cseq|contact|m)[ \t]*:[ \t]*(.*?)\r?$")
_LONG: Final = {b"v": b"via", b"f": b"from", b"t": b"to", b"i": b"call-id", b"m": b"contact"}


class Calls:
    """What was seen, by call. Times are nanoseconds of the kernel's wall clock."""

    def __init__(self) -> None:
        self.invited: dict[bytes, int] = {}
        self.ended: dict[bytes, int] = {}
        self.repeats = 0

    def summary(self) -> dict[str, Any]:
        """What :meth:`Carrier.close` returns."""
        return {
            "calls": [(at, self.ended.get(call_id)) for call_id, at in self.invited.items()],
            "repeats": self.repeats,
        }


def open_sockets() -> tuple[socket.socket, socket.socket]:
    """One for SIP, whose datagrams tell when they arrived, and one for audio, on free ports.

    The audio is never read: the kernel drops it when the buffer is full.
    """
    sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sip.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sip.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    audio = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for one in (sip, audio):
        one.bind(("127.0.0.1", 0))
    return sip, audio


class Server:
    """``answers``: the shortest and longest time that a call stays up, seconds; ``None`` refuses every call."""

    def __init__(self, answers: tuple[float, float] | None, seed: int) -> None:
        self.calls = Calls()
        self._answers = answers
        self._dice = random.Random(seed)
        self._socket, self._audio = open_sockets()
        self.port: int = self._socket.getsockname()[1]
        self._finals: dict[bytes, bytes] = {}
        self._byes: list[tuple[float, bytes, bytes, tuple[str, int]]] = []

    def run(self, stop: int) -> None:
        """Serve until the file ``stop`` ends, and a little longer."""
        until: float | None = None
        while until is None or time.monotonic() < until:
            due = self._byes[0][0] - time.monotonic() if self._byes else 1.0
            watched = [self._socket] if until else [self._socket, stop]
            ready, _, _ = select.select(watched, [], [], min(1.0, max(0.0, due)))
            if self._socket in ready:
                self._take()
            if stop in ready:
                until = time.monotonic() + LAST_WORDS_SECONDS
            self._hang_up_due()

    def _take(self) -> None:
        data, extra, _, address = self._socket.recvmsg(65_536, 64)
        at_ns = arrival(extra)
        start = data.split(b"\r\n", 1)[0].split(b" ")
        headers = headers_of(data)
        (call_id,) = headers[b"call-id"]
        if start[0] == b"SIP/2.0":
            if headers[b"cseq"][0].endswith(b"BYE") and start[1] >= b"200":
                self.calls.ended.setdefault(call_id, at_ns)
        elif start[0] == b"INVITE":
            self._on_invite(call_id, headers, address, at_ns)
        elif start[0] in {b"BYE", b"CANCEL"}:
            self.calls.ended.setdefault(call_id, at_ns)
            self._send(response(b"200 OK", headers), address)

    def _on_invite(
        self, call_id: bytes, headers: dict[bytes, list[bytes]], address: tuple[str, int], at_ns: int
    ) -> None:
        if call_id in self.calls.invited:
            self.calls.repeats += 1
            self._send(self._finals[call_id], address)
            return
        self.calls.invited[call_id] = at_ns
        headers[b"to"] = [headers[b"to"][0] + b";tag=c%d" % len(self.calls.invited)]
        if self._answers is None:
            final = response(b"486 Busy Here", headers)
            self.calls.ended[call_id] = at_ns
        else:
            self._send(response(b"180 Ringing", headers, self._contact), address)
            final = response(b"200 OK", headers, self._contact, self._description)
            target = headers[b"contact"][0].strip().strip(b"<>").partition(b">")[0]
            bye = (
                b"BYE %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"
                b"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
                % (target, self.port, at_ns, headers[b"to"][0], headers[b"from"][0], call_id)
            )
            heapq.heappush(self._byes, (time.monotonic() + self._dice.uniform(*self._answers), call_id, bye, address))
        self._finals[call_id] = final
        self._send(final, address)

    @property
    def _contact(self) -> bytes:
        return b"Contact: <sip:carrier@127.0.0.1:%d>\r\n" % self.port

    @property
    def _description(self) -> bytes:
        return (
            b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            b"m=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n" % self._audio.getsockname()[1]
        )

    def _hang_up_due(self) -> None:
        while self._byes and self._byes[0][0] <= time.monotonic():
            _, call_id, bye, address = heapq.heappop(self._byes)
            if call_id not in self.calls.ended:
                self._send(bye, address)

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        self._socket.sendto(data, address)


def headers_of(data: bytes) -> dict[bytes, list[bytes]]:
    """The headers of a message that an answer repeats, and its contacts, by their long names in small letters."""
    headers: dict[bytes, list[bytes]] = {}
    for name, value in _HEADER.findall(data.partition(b"\r\n\r\n")[0]):
        headers.setdefault(_LONG.get(name.lower(), name.lower()), []).append(value)
    return headers


def arrival(extra: list[tuple[int, int, bytes]]) -> int:
    """When a datagram arrived, by the kernel's wall clock, ns. ``extra`` came with it."""
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return int(seconds * 1_000_000_000 + nanoseconds)
    raise RuntimeError("the kernel told no arrival time")


def response(line: bytes, headers: dict[bytes, list[bytes]], more: bytes = b"", body: bytes = b"") -> bytes:
    """A response. ``line``: code and words. ``more``: further header lines."""
    vias = b"".join(b"Via: %s\r\n" % via for via in headers[b"via"])
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return b"SIP/2.0 %s\r\n%sFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%s%sContent-Length: %d\r\n\r\n%s" % (
        line,
        vias,
        headers[b"from"][0],
        headers[b"to"][0],
        headers[b"call-id"][0],
        headers[b"cseq"][0],
        more,
        kind,
        len(body),
        body,
    )


class Carrier:
    """The server in its process. Use as a context manager; :meth:`close` ends it and tells what it saw."""

    def __init__(self, *, answers: tuple[float, float] | None = None) -> None:
        self._arguments = [] if answers is None else [f"--answers={answers[0]},{answers[1]}"]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.carrier", *self._arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def close(self) -> dict[str, Any]:
        """End it. Returns ``calls``: (arrival of the INVITE, end or ``None``), ns, in order; and ``repeats``."""
        output, _ = self.process.communicate(timeout=60)
        summary: dict[str, Any] = json.loads(output)
        return summary

    def __exit__(self, *_: object) -> None:
        finish(self.process)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", help="stay up for SHORTEST,LONGEST seconds")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    answers = None
    if asked.answers:
        shortest, longest = map(float, asked.answers.split(","))
        answers = (shortest, longest)
    server = Server(answers, asked.seed)
    print(server.port, flush=True)
    server.run(sys.stdin.fileno())
    print(json.dumps(server.calls.summary()), flush=True)


if __name__ == "__main__":
    main()
