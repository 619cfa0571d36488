"""A carrier that survives everything and writes down what reaches it: a UDP SIP server in a process of its own.

A number's last two digits say what happens on it (the far end's table, with shorter waits and no audio). When a
datagram arrived is told by the kernel. Every event is a line of JSON that is in the file before anything is answered.
It shares no code with what is tested but that table of numbers.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import random
import re
import select
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.carrier import arrival, headers_of, open_sockets, response
from ringback.model.sandbox_numbers import NOT_FOUND, Behaviour, Kind, behaviour

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds until an answer, and of an announcement.
RING_SECONDS: Final = 0.2
#: How long an answered call stays up before the callee hangs up, seconds: some of them later than any template lasts.
STAYS_SECONDS: Final = (0.3, 2.5)
#: A phone that nobody answers: most networks give up soon, numbers that end so wait for our CANCEL, at most so long.
RINGS_SECONDS: Final = 3.0
RINGS_ON_ENDING: Final = "70"
LONGEST_RING_SECONDS: Final = 40.0
#: RFC 3261's T1; messages are repeated that often before they are given up.
T1_SECONDS: Final = 0.5
REPEATS: Final = 5
LAST_WORDS_SECONDS: Final = 1.0

_EXTRA: Final = re.compile(rb"(?im)^x-ringback-(call|task)[ \t]*:[ \t]*([0-9]+)[ \t]*\r?$")
_USER: Final = re.compile(rb"sip:\+?([^@;>]*)@")
_REASONS: Final = {302: b"Moved Temporarily", 480: b"Temporarily Unavailable", 486: b"Busy Here", 487: b"Terminated"}


class _Call:
    """A call that is not over. ``address``: where its requests come from and ours go."""

    def __init__(self, headers: dict[bytes, list[bytes]], address: tuple[str, int]) -> None:
        self.headers = headers
        self.address = address
        self.last = b""  # our latest response to the INVITE
        self.answered = False
        self.acknowledged = False
        self.over = False


class Server:
    """Writes to the file ``log``."""

    def __init__(self, log: int, seed: int) -> None:
        self._log = log
        self._dice = random.Random(seed)
        self._socket, self._audio = open_sockets()
        self.port: int = self._socket.getsockname()[1]
        self._calls: dict[bytes, _Call] = {}
        self._calls_of: Counter[str] = Counter()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def run(self, stop: int) -> None:
        """Serve until the file ``stop`` ends, and a little longer."""
        until: float | None = None
        while until is None or time.monotonic() < until:
            due = self._due[0][0] - time.monotonic() if self._due else 1.0
            watched = [self._socket] if until else [self._socket, stop]
            ready, _, _ = select.select(watched, [], [], min(1.0, max(0.0, due)))
            if self._socket in ready:
                self._take()
            if stop in ready:
                until = time.monotonic() + LAST_WORDS_SECONDS
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()

    # --- what comes ---

    def _take(self) -> None:
        data, extra, _, address = self._socket.recvmsg(65_536, 64)
        at_ns = arrival(extra)
        start = data.split(b"\r\n", 1)[0].split(b" ")
        headers = headers_of(data)
        call_id = headers[b"call-id"][0]
        call = self._calls.get(call_id)
        match start[0]:
            case b"INVITE":
                if call is None:
                    self._on_invite(call_id, data, address, at_ns)
                else:
                    self._write("repeat", call_id, at_ns)
                    if call.last:
                        self._send(call.last, address)
            case b"ACK" if call is not None:
                call.acknowledged = True
            case b"CANCEL":
                self._send(response(b"200 OK" if call else b"481 No Such Call", headers), address)
                if call is not None and not call.over and not call.answered:
                    self._refuse(call_id, call, 487, at_ns=at_ns, event="cancel")
            case b"BYE":
                self._send(response(b"200 OK" if call else b"481 No Such Call", headers), address)
                if call is not None and not call.over:
                    self._end(call_id, call, "bye", at_ns)
            case b"SIP/2.0":
                if call is not None and headers[b"cseq"][0].endswith(b"BYE") and start[1] >= b"200":
                    call.acknowledged = True  # of the BYE: it need not be repeated
            case b"OPTIONS":
                self._send(response(b"200 OK", headers), address)

    def _on_invite(self, call_id: bytes, data: bytes, address: tuple[str, int], at_ns: int) -> None:
        headers = headers_of(data)
        said = {name.lower().decode(): int(value) for name, value in _EXTRA.findall(data.partition(b"\r\n\r\n")[0])}
        callee = _user(data.split(b" ", 2)[1])
        who = {"callee": callee, "caller": _user(headers[b"from"][0])}
        self._write("invite", call_id, at_ns, **who, call=said.get("call"), task=said.get("task"))
        call = self._calls[call_id] = _Call(headers, address)
        headers[b"to"] = [headers[b"to"][0] + b";tag=c%d" % at_ns]
        act = NOT_FOUND if not callee.isdecimal() else behaviour(callee, self._calls_of[callee])
        self._calls_of[callee] += 1
        self._act(call_id, call, callee, act)

    # --- what the callee does ---

    def _act(self, call_id: bytes, call: _Call, callee: str, act: Behaviour) -> None:
        match act.kind:
            case Kind.SILENT:
                return
            case Kind.REFUSES:
                self._refuse(call_id, call, act.sip_code or 500)
            case Kind.RINGS_ON:
                self._respond(call, b"180 Ringing", self._contact)
                patience = LONGEST_RING_SECONDS if callee.endswith(RINGS_ON_ENDING) else RINGS_SECONDS
                self._after(patience, lambda: self._refuse(call_id, call, 480))
            case Kind.EARLY_MEDIA:
                self._respond(call, b"183 Session Progress", self._contact, self._description)
                self._after(RING_SECONDS, lambda: self._refuse(call_id, call, act.sip_code or 480))
            case _:
                self._respond(call, b"180 Ringing", self._contact)
                self._after(RING_SECONDS, lambda: self._answer(call_id, call))

    def _answer(self, call_id: bytes, call: _Call) -> None:
        if call.over:
            return
        call.answered, call.acknowledged = True, False
        self._write("answer", call_id, time.time_ns())
        self._respond(call, b"200 OK", self._contact, self._description)
        self._repeat(call, call.last, lambda: call.over)
        self._after(self._dice.uniform(*STAYS_SECONDS), lambda: self._hang_up(call_id, call))

    def _hang_up(self, call_id: bytes, call: _Call) -> None:
        if call.over:
            return
        target = call.headers[b"contact"][0].strip().strip(b"<>").partition(b">")[0]
        bye = (
            b"BYE %s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"
            b"From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
            % (target, self.port, time.time_ns(), call.headers[b"to"][0], call.headers[b"from"][0], call_id)
        )
        self._end(call_id, call, "hang_up", time.time_ns())
        call.acknowledged = False
        self._send(bye, call.address)
        self._repeat(call, bye)

    def _refuse(self, call_id: bytes, call: _Call, code: int, *, at_ns: int | None = None, event: str = "end") -> None:
        if call.over or call.answered:
            return
        self._end(call_id, call, event, at_ns or time.time_ns(), code=code)
        more = b"Contact: <sip:elsewhere@redirect.invalid>\r\n" if code == 302 else b""
        self._respond(call, b"%d %s" % (code, _REASONS.get(code, b"No")), more)
        self._repeat(call, call.last)

    def _end(self, call_id: bytes, call: _Call, event: str, at_ns: int, **more: Any) -> None:
        call.over = True
        self._write(event, call_id, at_ns, **more)

    # --- helpers ---

    @property
    def _contact(self) -> bytes:
        return b"Contact: <sip:carrier@127.0.0.1:%d>\r\n" % self.port

    @property
    def _description(self) -> bytes:
        return (
            b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            b"m=audio %d RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n" % self._audio.getsockname()[1]
        )

    def _respond(self, call: _Call, line: bytes, more: bytes = b"", body: bytes = b"") -> None:
        call.last = response(line, call.headers, more, body)
        self._send(call.last, call.address)

    def _repeat(
        self, call: _Call, data: bytes, given_up: Callable[[], bool] = lambda: False, left: int = REPEATS
    ) -> None:
        """Send it again until it is acknowledged: a busy machine drops datagrams, and a killed Asterisk takes none."""

        def again() -> None:
            if not call.acknowledged and not given_up():
                self._send(data, call.address)
                if left > 1:
                    self._repeat(call, data, given_up, left - 1)

        self._after(T1_SECONDS * 2 ** (REPEATS - left), again)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), act))

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        self._socket.sendto(data, address)

    def _write(self, event: str, call_id: bytes, at_ns: int, **more: Any) -> None:
        line = {"event": event, "sip": call_id.decode(errors="replace"), "at_ns": at_ns, **more}
        os.write(self._log, json.dumps(line).encode() + b"\n")


def _user(uri: bytes) -> str:
    found = _USER.search(uri)
    return found[1].decode(errors="replace") if found else ""


def main() -> None:
    """Serve. The port is the only line on standard output; it ends with standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    log = os.open(asked.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    server = Server(log, asked.seed)
    print(server.port, flush=True)
    server.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
