"""An ARI server for tests: it keeps what it was asked, does what an Asterisk would, and fails on demand.

It places nothing: a call begins to be dialled (one ``Dial`` event), and everything else is fed by the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import Any, Self

from aiohttp import BasicAuth, WSCloseCode, web

from ringback.telephony.asterisk.address import NodeAddress

LONGEST_WAIT = 10.0
USER, PASSWORD = "ringback", "geheim"
#: Stands for requests for test calls.
CANARY = "POST /channels!"


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as it came. ``body`` is the decoded JSON, else ``None``."""

    method: str
    path: str  # below /ari
    query: dict[str, str]
    body: Any

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class Fault:
    """What goes wrong: ``status`` is answered, or ``hang`` (no answer), ``close`` (before or ``after`` it is done)."""

    def __init__(self, status: int = 0, *, hang: bool = False, close: bool = False, after: bool = False) -> None:
        self.status = status
        self.hang = hang
        self.close = close
        self.after = after


class FakeAri:
    """Use as an async context manager."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.channels: dict[str, str] = {}  # id to state
        self.endpoints: dict[str, dict[str, str]] = {}
        self.auths: dict[str, dict[str, str]] = {}
        self.playbacks: set[str] = set()
        self.recordings: dict[str, bytes] = {}
        self.responded: set[str] = set()  # channels whose trunk has sent a response
        self.canary_cause: int | None = 17  # None: a test call never comes back
        self.dials = True  # False: what is accepted never leaves
        self.connections = 0
        self.port = 0
        self._faults: list[tuple[str, Fault, int]] = []
        self._streams: list[web.WebSocketResponse] = []
        self._changed = asyncio.Event()
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()

    async def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application()
        app.router.add_route("*", "/{anything:.*}", self._answer)
        self._released = asyncio.Event()
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def shut(self) -> None:
        """Nobody listens any more."""
        self._released.set()
        await self.drop()
        await self._runner.cleanup()

    async def restart(self) -> None:
        """Like a new process: no channels, no trunks."""
        await self.shut()
        self.channels.clear()
        self.endpoints.clear()
        self.auths.clear()
        self.playbacks.clear()
        await self.open()

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(
            name=f"127.0.0.1:{self.port}",
            base_url=f"http://127.0.0.1:{self.port}/ari",
            user=USER,
            password=PASSWORD,
        )

    # --- what tests do ---

    def fail(self, line: str, fault: Fault, *, times: int = 1) -> None:
        """The next ``times`` requests whose line begins so fail like this; ``POST /channels!`` are test calls."""
        self._faults.append((line, fault, times))

    async def feed(self, kind: str, channel: str = "", state: str = "Ringing", **parts: Any) -> None:
        """Send an event to everybody who is connected."""
        event: dict[str, Any] = {"type": kind, **parts}
        if channel:
            event["peer" if kind == "Dial" else "channel"] = {"id": channel, "state": state}
        for stream in list(self._streams):
            with contextlib.suppress(ConnectionError):
                await stream.send_str(json.dumps(event))

    async def answer(self, channel: str) -> None:
        """The callee picks up."""
        self.channels[channel] = "Up"
        await self.feed("ChannelStateChange", channel, "Up")
        await self.feed("StasisStart", channel, "Up", args=[])

    async def end(self, channel: str, cause: int = 16) -> None:
        """The channel is gone."""
        self.channels.pop(channel, None)
        await self.feed("ChannelDestroyed", channel, cause=cause)

    async def drop(self) -> None:
        """Close the event streams; calls go on."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.close(code=WSCloseCode.GOING_AWAY)

    async def wait(self, line: str, times: int = 1) -> Asked:
        """The ``times``-th request whose line begins so, when it has come."""
        await self.until(lambda: len(self.of(line)) >= times)
        return self.of(line)[times - 1]

    async def until(self, holds) -> None:
        """Wait until this holds; it is looked at after every request."""
        async with asyncio.timeout(LONGEST_WAIT):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def of(self, line: str) -> list[Asked]:
        """Requests whose line begins so, without test calls."""
        return [one for one in self.asked if one.line.startswith(line) and not _is_canary(one)]

    @property
    def canaries(self) -> int:
        return sum(_is_canary(one) for one in self.asked)

    # --- what it does ---

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/ari")
        if BasicAuth.decode(request.headers.get("Authorization", "Basic Og==")) != (USER, PASSWORD, "latin1"):
            return web.json_response({"message": "Authentication required"}, status=401)
        raw = await request.read()
        asked = Asked(request.method, path, dict(request.query), json.loads(raw) if raw else None)
        fault = self._fault(asked)
        self.asked.append(asked)
        self._changed.set()
        if fault is not None and fault.hang:
            await self._released.wait()
        if fault is not None and fault.close and not fault.after:
            return self._cut(request)
        if fault is not None and fault.status:
            headers = {"Location": "/ari/elsewhere"} if fault.status in {307, 308} else {}
            return web.json_response({"error": "made up"}, status=fault.status, headers=headers)
        if path == "/events":
            return await self._stream(request)
        response = await self._do(asked)
        self._changed.set()
        return self._cut(request) if fault is not None else response

    def _fault(self, asked: Asked) -> Fault | None:
        for number, (line, fault, times) in enumerate(self._faults):
            wanted = line == CANARY if _is_canary(asked) else asked.line.startswith(line)
            if wanted:
                self._faults[number : number + 1] = [(line, fault, times - 1)] if times > 1 else []
                return fault
        return None

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        stream = web.WebSocketResponse(timeout=0.1)
        await stream.prepare(request)
        replaced, self._streams = self._streams, [stream]
        for old in replaced:
            with contextlib.suppress(ConnectionError):
                await old.send_str(json.dumps({"type": "ApplicationReplaced", "application": request.query["app"]}))
        self.connections += 1
        self._changed.set()
        async for _ in stream:
            pass
        if stream in self._streams:
            self._streams.remove(stream)
        self._changed.set()
        return stream

    async def _do(self, asked: Asked) -> web.Response:  # noqa: PLR0911, PLR0912 - one case a request
        parts = asked.path.strip("/").split("/")
        match (asked.method, *parts):
            case ("POST", "channels"):
                return await self._originate(asked)
            case ("GET", "channels"):
                return web.json_response([self._channel(one) for one in self.channels])
            case ("GET", "channels", channel):
                return web.json_response(self._channel(channel)) if channel in self.channels else _none()
            case ("DELETE", "channels", channel):
                return await self._hang_up(channel)
            case ("GET", "channels", channel, "variable"):
                value = "PJSIP/x" if channel in self.responded else ""
                return web.json_response({"value": value}) if channel in self.channels else _none()
            case ("POST", "channels", channel, "play", playback) if channel in self.channels:
                self.playbacks.add(playback)
            case ("POST", "channels", channel, "snoop", side) if channel in self.channels:
                self.channels[side] = "Up"
                await self.feed("StasisStart", side, "Up", args=[asked.query["appArgs"]])
            case ("POST", "channels", channel, *_) if channel in self.channels:
                pass
            case ("GET" | "DELETE", "playbacks", playback):
                if playback not in self.playbacks:
                    return _none()
                if asked.method == "DELETE":
                    self.playbacks.remove(playback)
            case ("GET", "recordings", "stored", name, "file") if name in self.recordings:
                return web.Response(body=self.recordings[name])
            case ("DELETE", "recordings", "stored", name) if name in self.recordings:
                del self.recordings[name]
            case ("PUT", "applications", *_):
                return web.json_response({})
            case ("PUT", "asterisk", "config", "dynamic", "res_pjsip", kind, name):
                fields = {one["attribute"]: one["value"] for one in asked.body["fields"]}
                {"endpoint": self.endpoints, "auth": self.auths}[kind][name] = fields
                return web.json_response([])
            case _:
                return _none()
        return web.json_response({}, status=200)

    async def _originate(self, asked: Asked) -> web.Response:
        channel = asked.body["channelId"]
        if _is_canary(asked):
            if self.canary_cause is not None:
                await self.feed("ChannelDestroyed", channel, cause=self.canary_cause)
            return web.json_response(self._channel(channel))
        if asked.body["endpoint"].split("/")[1] not in self.endpoints:
            return web.json_response({"error": "Allocation failed"}, status=500)
        # As Asterisk does: the beginning of an id is taken for the id.
        if any(one.startswith(channel) for one in self.channels):
            return web.json_response({"message": "Channel with given unique ID already exists"}, status=409)
        self.channels[channel] = "Down"
        if self.dials:
            await self.feed("Dial", channel, "Down", dialstatus="")
        return web.json_response(self._channel(channel))

    async def _hang_up(self, channel: str) -> web.Response:
        if channel not in self.channels:
            return _none()
        await self.feed("ChannelHangupRequest", channel, soft=True, cause=32)
        await self.end(channel)
        return web.Response(status=204)

    def _channel(self, channel: str) -> dict[str, str]:
        return {"id": channel, "name": f"PJSIP/{channel}", "state": self.channels.get(channel, "Down")}


def _is_canary(asked: Asked) -> bool:
    return asked.line == "POST /channels" and asked.body["endpoint"].startswith("Local/")


def _none() -> web.Response:
    return web.json_response({"message": "not found"}, status=404)
