"""RTP of the carrier's calls: one socket a call, one clock for all.

A callee's phone sends a packet every 20 ms from the answer on, silence included: what listens at the other end
(answering machine detection, jitter buffers, RTP timeouts) counts on it. Frames are encoded in advance, so that a
packet costs little more than its system call.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final

from aiortp import DtmfEvent, RtpPacket, RtpTransport
from aiortp.dtmf import DTMF_EVENTS
from aiortp.sender import RtpSender

from ringback.farend import sounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.clock import Clock
    from ringback.farend.ear import Ear
    from ringback.farend.offer import Offer

#: RFC 4733: an event is reported every packet time while the key is down, and its end three times.
KEY_SECONDS: Final = 0.16
_KEY_VOLUME: Final = 10
_END_PACKETS: Final = 3
#: A clock that is later than this (a suspended machine) goes on from now instead of making up for it in a burst.
_LATEST_SECONDS: Final = 0.5
_PORT_TRIES: Final = 16


class MediaClock:
    """Gives every stream its turn each 20 ms. Runs only while there are streams."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streams: dict[RtpStream, None] = {}  # in order of arrival
        self._task: asyncio.Task[None] | None = None

    def add(self, stream: RtpStream) -> None:
        """Give ``stream`` turns from now on."""
        self._streams[stream] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    def remove(self, stream: RtpStream) -> None:
        """No more turns."""
        self._streams.pop(stream, None)

    async def stop(self) -> None:
        """Stop for good."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        due = self._clock.monotonic()
        while self._streams:
            for stream in tuple(self._streams):
                stream.tick()
            due += sounds.FRAME_SECONDS
            late = self._clock.monotonic() - due
            if late > _LATEST_SECONDS:
                due += late
            await self._clock.sleep(-late)


class RtpStream:
    """One call's audio: silence, unless it plays something."""

    def __init__(self, clock: MediaClock, offer: Offer) -> None:
        self.port = 0
        self._clock = clock
        self._transport = RtpTransport(on_rtp=self._receive, on_rtcp=_ignore)
        self.follow(offer)
        self._sender = RtpSender(self._transport, offer.payload_type, enable_history=False)
        self._sender.timestamp_increment = sounds.FRAME_SAMPLES
        self._playing: sounds.Frames = ()
        self._position = 0
        self._event_type: int | None = None  # what is playing is a key
        self._event_timestamp = 0
        self._on_pressed: Callable[[], None] | None = None
        self._played = asyncio.Event()
        self._ear: Ear | None = None

    @property
    def payload_type(self) -> int:
        """The codec, as its RTP payload type."""
        return self._offer.payload_type

    async def open(self, host: str) -> None:
        """Bind a socket at ``host``: ``port`` says which. Raises OSError."""
        bound = _bind_even_port(host)
        try:
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self._transport, sock=bound)
        except BaseException:
            bound.close()
            raise
        self.port = bound.getsockname()[1]

    def start(self) -> None:
        """Send from now on."""
        self._clock.add(self)

    def close(self) -> None:
        """Send and receive no more."""
        self._clock.remove(self)
        self._transport.close()

    def follow(self, offer: Offer) -> None:
        """The caller says where it wants its audio, or that it wants none (again, in a re-INVITE)."""
        self._offer = offer
        self._remote = offer.remote
        self._latched = False

    def listen(self, ear: Ear) -> None:
        """Let ``ear`` hear from now on what the caller plays."""
        self._ear = ear

    async def play(self, frames: sounds.Frames) -> None:
        """Play ``frames`` to their end."""
        self._start_playing(frames)
        await self._played.wait()

    async def press(self, key: str, on_pressed: Callable[[], None]) -> bool:
        """Send ``key`` as a telephone-event (RFC 4733); ``on_pressed`` is called with its first packet, at which some
        callers act already. False when the caller takes no telephone-events.
        """
        if self._offer.event_type is None:
            return False
        self._start_playing(_key_events(key))
        self._event_type, self._on_pressed = self._offer.event_type, on_pressed
        self._event_timestamp = self._sender.current_timestamp
        await self._played.wait()
        return True

    def _start_playing(self, frames: sounds.Frames) -> None:
        self._played.clear()
        self._playing, self._position, self._event_type = frames, 0, None

    def tick(self) -> None:
        """20 ms have passed: send one packet."""
        if self._ear is not None:
            self._ear.tick()
        if self._remote is not None:
            self._send_next(self._remote)
        self._sender.advance_timestamp()
        if self._playing:
            self._position += 1
            if self._position == len(self._playing):
                self._playing, self._event_type = (), None
                self._played.set()

    def _send_next(self, to: tuple[str, int]) -> None:
        first = int(self._position == 0)
        if not self._playing:
            self._sender.send_frame(sounds.silence(self._offer.payload_type), self._sender.current_timestamp, addr=to)
        elif self._event_type is None:
            frame = self._playing[self._position]
            self._sender.send_frame(frame, self._sender.current_timestamp, marker=first, addr=to)
        else:
            # Every packet of one event carries the time at which the key went down.
            event = self._playing[self._position]
            self._sender.send_raw(self._event_type, event, self._event_timestamp, marker=first, addr=to)
            if first and self._on_pressed is not None:
                self._on_pressed()

    def _receive(self, data: bytes, source: tuple[str, int]) -> None:
        if not self._latched:
            # A caller behind NAT names an address that it does not send from: answer where its audio comes from.
            self._latched = True
            if self._remote is not None:
                self._remote = source
        if self._ear is None:
            return
        with contextlib.suppress(ValueError):  # not RTP: nothing was heard
            packet = RtpPacket.parse(data)
            if packet.payload_type == self._offer.payload_type:
                self._ear.hear(packet.payload)


def _ignore(data: bytes, source: tuple[str, int]) -> None:
    """RTCP: the carrier keeps no quality figures."""


def _bind_even_port(host: str) -> socket.socket:
    """RTP ports are even (RFC 3550 section 11): some callers correct an odd one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_PORT_TRIES):
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            bound.bind((host, 0))
        except OSError:
            bound.close()
            raise
        if bound.getsockname()[1] % 2 == 0:
            return bound
        bound.close()
    raise OSError(f"no free even port after {_PORT_TRIES} tries")


def _key_events(key: str) -> sounds.Frames:
    steps = round(KEY_SECONDS / sounds.FRAME_SECONDS)
    held = [(step * sounds.FRAME_SAMPLES, False) for step in range(1, steps)]
    ends = [(steps * sounds.FRAME_SAMPLES, True)] * _END_PACKETS
    return tuple(
        DtmfEvent(event=DTMF_EVENTS[key], end=end, volume=_KEY_VOLUME, duration=duration).serialize()
        for duration, end in held + ends
    )
