"""A receiver of reports on loopback that fails in every way that one can fail, and says what it has taken."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What it does with a request, one after the other; between two of them it takes some.
FAILURES = (
    "reset",
    "hang up in the middle of the answer",
    "500",
    "503 seconds",
    "503 date",
    "429",
    "302",
    "400",
    "no HTTP",
    "huge answer",
    "slow",
    "hang",
)
#: Requests that are taken between two failures.
TAKEN_BETWEEN = 2


class Receiver:
    """Listens on a free port. Failures come in turn, as long as there are any."""

    def __init__(self, failures: Sequence[str] = FAILURES) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/reports"
        self._lock = threading.Lock()
        self._requests = 0
        self._left = list(failures)
        self._closing = threading.Event()
        self._serving: list[threading.Thread] = []
        self.failed: Counter[str] = Counter()
        #: How often each report was taken, by its id; and what it said.
        self.taken: Counter[str] = Counter()
        self.bodies: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._listening.settimeout(0.2)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._accepting.join()
        self._listening.close()
        for thread in self._serving:
            thread.join()

    @property
    def done_failing(self) -> bool:
        """Whether every failure has had its turn."""
        return not self._left

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            # A sender that keeps its connection must not keep this thread.
            connection.settimeout(20)
            serving = threading.Thread(target=self._serve, args=(connection,))
            serving.start()
            self._serving.append(serving)

    def _serve(self, connection: socket.socket) -> None:
        # Whoever sends may be gone at any time.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while True:
                headers: dict[str, str] = {}
                if not reader.readline().startswith(b"POST "):
                    return
                while (line := reader.readline().strip()) != b"":
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers["content-length"]))
                with self._lock:
                    self._requests += 1
                    how = self._left.pop(0) if self._left and self._requests % (TAKEN_BETWEEN + 1) == 0 else "200"
                    if how == "200" or how in ("huge answer", "slow"):
                        # Of a report, and of a text message for a provider.
                        name = headers.get("webhook-id") or headers["idempotency-key"]
                        self.taken[name] += 1
                        self.bodies[name] = json.loads(body)
                    if how != "200":
                        self.failed[how] += 1
                if not self._answer(connection, how):
                    return

    def _answer(self, connection: socket.socket, how: str) -> bool:
        """Returns whether the connection goes on."""
        if how == "200":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return True
        if how == "reset":
            # Closed with unsent data thrown away: the other side gets RST.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "hang up in the middle of the answer":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif how == "no HTTP":
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        elif how == "huge answer":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 100_000)
        elif how == "slow":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
            for _ in range(10):
                self._closing.wait(0.1)
                connection.sendall(b"x")
        elif how == "hang":
            self._closing.wait(30)
        else:
            more = {"503 seconds": b"Retry-After: 1\r\n", "302": b"Location: http://127.0.0.1:1/\r\n"}.get(how, b"")
            if how == "503 date":
                more = b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"
            connection.sendall(b"HTTP/1.1 %b Of course\r\n%bContent-Length: 0\r\n\r\n" % (how[:3].encode(), more))
        return False
