"""What tests on a real Asterisk share: an engine on it, a scripted far side, and a way to drop the engine."""

from __future__ import annotations

import asyncio

import msgspec

from ringback.clock import RealClock
from ringback.telephony.asterisk.address import read_addresses
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from tests.telephony.asterisk.engines import until
from tests.telephony.sip_peer import SipPeer, order_to


def order(peer, callee, call_id, **parts):
    """As the far side's ``order_to``; also ``most_seconds`` and ``record_to``."""
    more = {name: parts.pop(name) for name in ("most_seconds", "record_to") if name in parts}
    return msgspec.structs.replace(order_to(peer, callee, call_id, **parts), **more)


async def started(*asterisks, **parts):
    """An engine on these, started. Prompts are in the first one's folder: all of them read it."""
    addresses = read_addresses(",".join(one.address for one in asterisks))
    options = {"detect_machines": False, **parts}
    engine = AsteriskEngine(RealClock(), addresses, SoundFolder(asterisks[0].sounds), **options)
    await engine.start()
    try:
        await until(lambda: not any(node.trouble for node in engine.nodes))
    except TimeoutError:
        await engine.stop()
        raise
    return engine


async def drop(engine):
    """What a dead process leaves: connections closed, nothing hung up."""
    for running in engine._running:
        running.cancel()
    await asyncio.gather(*engine._running, return_exceptions=True)
    for node in engine.nodes:
        await node.close()


def run(story, *asterisks, scripts=None, default=None, **parts):
    """Runs ``story(engine, peer)``."""

    async def with_engine():
        async with SipPeer(scripts, default=default).listening() as peer:
            engine = await started(*asterisks, **parts)
            try:
                await story(engine, peer)
            finally:
                await engine.stop()

    asyncio.run(with_engine())


async def channels(engine, number=0):
    """Ids of all channels at a node, without test calls."""
    listed = msgspec.json.decode(await engine.nodes[number].client.request("GET", "/channels"))
    return {one["id"] for one in listed if "-canary-" not in one["id"]}


async def only(engine, *ids, number=0):
    """Wait until these are the only channels at a node."""
    async with asyncio.timeout(10):
        while await channels(engine, number) != set(ids):  # noqa: ASYNC110 - another process is being waited for
            await asyncio.sleep(0.05)
