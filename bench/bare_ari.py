"""The least that a program can do to place calls through Asterisk: originate, wait for the answer, hang up, wait for
the end. Written on the HTTP client that Ringback uses, with nothing of Ringback in it.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Final
from urllib.parse import urlsplit

import aiohttp

#: Like Ringback's: each costs Asterisk a thread.
CONNECTIONS: Final = 40
LONGEST_WAIT_SECONDS: Final = 10.0
ENDPOINT: Final = {
    "disallow": "all",
    "allow": "ulaw",
    "send_connected_line": "no",
    "direct_media": "no",
}


async def bare_loop(ari: str, carrier_port: int, *, calls: int, at_once: int) -> float:
    """Place ``calls`` calls, ``at_once`` at a time. Returns the seconds it took. ``ari`` is http://USER:PASSWORD@HOST:PORT.

    Raises TimeoutError when a call does not do what it should.
    """
    parts = urlsplit(ari)
    assert parts.username is not None
    assert parts.password is not None
    base = f"http://{parts.hostname}:{parts.port}/ari"
    headers = {"Authorization": aiohttp.encode_basic_auth(parts.username, parts.password)}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with (
        aiohttp.ClientSession(headers=headers, connector=connector, raise_for_status=True) as session,
        session.ws_connect(base + "/events?app=bare") as stream,
    ):
        wanted = {"allowed": [{"type": "StasisStart"}, {"type": "ChannelDestroyed"}]}
        await session.put(base + "/applications/bare/eventFilter", json=wanted)
        fields = [{"attribute": name, "value": value} for name, value in ENDPOINT.items()]
        await session.put(base + "/asterisk/config/dynamic/res_pjsip/endpoint/bare", json={"fields": fields})
        awaited: dict[tuple[str, str], asyncio.Future[None]] = {}

        async def read() -> None:
            async for message in stream:
                event = json.loads(message.data)
                future = awaited.pop((event["channel"]["id"], event["type"]), None)
                if future is not None and not future.done():
                    future.set_result(None)

        async def place(name: str, number: int) -> None:
            loop = asyncio.get_running_loop()
            started = awaited[name, "StasisStart"] = loop.create_future()
            destroyed = awaited[name, "ChannelDestroyed"] = loop.create_future()
            target = f"PJSIP/bare/sip:4930{number:07d}@127.0.0.1:{carrier_port}"
            body = {"endpoint": target, "app": "bare", "channelId": name}
            async with session.post(base + "/channels", json=body) as answer:
                await answer.read()
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await started
            async with session.delete(base + f"/channels/{name}") as answer:
                await answer.read()
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await destroyed

        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                # Asterisk takes the beginning of a channel id for the whole of it, so all have the same length.
                await place(f"bare{number:08d}", number)

        reading = asyncio.create_task(read())
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        took = time.perf_counter() - began
        reading.cancel()
        return took
