"""Runs the carrier as a program."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final

from ringback.clock import RealClock
from ringback.farend.carrier import Carrier
from ringback.farend.log import CallLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringback.farend.digest import Credentials
    from ringback.farend.timing import Timing

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class FarEndError(Exception):
    """The carrier cannot run. The text says why, for people."""


async def serve(
    listen: str,
    log_path: Path | None = None,
    *,
    credentials: Credentials | None = None,
    timing: Timing | None = None,
) -> None:
    """Run the carrier on ``listen`` (``HOST:PORT``, port 0: any free one) until SIGTERM or SIGINT.

    Prints ``far end listening on HOST:PORT`` on standard output once calls are taken. ``log_path``: where the call log
    is appended to.

    Raises:
        FarEndError: the address is not one, or cannot be listened on; or the log cannot be written.
    """
    host, port = parse_listen(listen)
    try:
        log = CallLog(log_path)
    except OSError as error:
        raise FarEndError(f"cannot write the call log {log_path}: {error.strerror}") from error
    carrier = Carrier(host, port, clock=RealClock(), log=log, credentials=credentials, timing=timing)
    with contextlib.closing(log), _stop_event() as stopped:
        try:
            await carrier.start()
        except OSError as error:
            raise FarEndError(f"cannot listen on {listen}: {_reason(error)}") from error
        try:
            print(f"far end listening on {format_address(*carrier.address)}", flush=True)
            await stopped.wait()
        finally:
            await carrier.stop()


def parse_listen(text: str) -> tuple[str, int]:
    """``HOST:PORT`` (an IPv6 host in brackets). Raises FarEndError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise FarEndError(f"not an address to listen on: {text!r} (HOST:PORT, for example 127.0.0.1:5060)")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


@contextlib.contextmanager
def _stop_event() -> Iterator[asyncio.Event]:
    """An event that is set when the program is asked to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
