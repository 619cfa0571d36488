"""The Asterisk engine: several Asterisk servers as one pool.

A call goes to the node with the smallest load for its weight, among those that are well and not being drained. A node
that is away takes none; its calls are followed on when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import structlog

from ringback.model.engine_node import NodeState, why_no_line
from ringback.model.numbers import masked
from ringback.telephony.asterisk.client import AriUnreachable
from ringback.telephony.asterisk.keeper import Keeper
from ringback.telephony.asterisk.node import Node
from ringback.telephony.port import Ended, EngineUnavailable, HungUpBy
from ringback.telephony.sip.addressing import address_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringback.clock import Clock
    from ringback.telephony.asterisk.address import NodeAddress
    from ringback.telephony.asterisk.sounds import SoundFolder
    from ringback.telephony.port import DialOrder, Leg

#: How long the start waits for every node; one that is not there by then joins when it comes.
START_SECONDS: Final = 5.0
#: How long the last calls may take to end when the engine stops.
LAST_CALLS_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


class AsteriskEngine:
    """Implements :class:`ringback.telephony.port.Engine`.

    Args:
        clock: The real clock.
        addresses: The nodes.
        sounds: Where prompts are written for all of them to read.
        app: Name of the ARI application, the beginning of every channel id. Two Ringbacks on one Asterisk need two.
        detect_machines: Listen to the start of every answered call for an answering machine.
    """

    name = "asterisk"

    def __init__(
        self,
        clock: Clock,
        addresses: Sequence[NodeAddress],
        sounds: SoundFolder,
        *,
        app: str = "ringback",
        detect_machines: bool = True,
    ) -> None:
        if not addresses:
            raise ValueError("there must be at least one Asterisk")
        self._clock = clock
        self._addresses = addresses
        self._sounds = sounds
        self._app = self.known_as = app
        self._detect_machines = detect_machines
        self.nodes: list[Node] = []
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect to the nodes. Raises :class:`EngineUnavailable` when prompts cannot be written.

        A node that does not answer is no error: it joins when it comes, and until then takes no calls.
        """
        try:
            await asyncio.to_thread(self._sounds.prepare)
        except OSError as error:
            raise EngineUnavailable(f"prompts for Asterisk cannot be written: {error}") from error
        self.nodes = [
            Node(address, self._clock, self._sounds, app=self._app, detect_machines=self._detect_machines)
            for address in self._addresses
        ]
        keepers = [Keeper(node, self._clock) for node in self.nodes]
        self._running = [asyncio.create_task(keeper.run()) for keeper in keepers]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*(keeper.tried.wait() for keeper in keepers))

    async def stop(self) -> None:
        """Hang up every call and free everything."""
        await asyncio.gather(*(node.hang_up_all() for node in self.nodes))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_SECONDS):
                while any(node.live_calls for node in self.nodes):
                    await self._clock.sleep(0.05)
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self.nodes))
        self.nodes, self._running = [], []

    def free_lines(self) -> int:
        """How many more calls the nodes that are well could take."""
        return sum(node.free_lines for node in self.nodes)

    def trouble(self) -> str:
        """Why no node takes a call: each is away or being drained. Empty when one is well."""
        return why_no_line(self.node_states())

    def node_states(self) -> list[NodeState]:
        """The nodes in the order of the settings."""
        return [
            NodeState(
                name=node.address.name,
                draining=node.draining,
                trouble=node.trouble,
                live_calls=node.live_calls,
                lines=node.address.lines,
                weight=node.address.weight,
                placed=node.placed,
            )
            for node in self.nodes
        ]

    def drain(self, name: str, *, on: bool) -> None:
        """Let a node take no new calls, or take them again."""
        for node in self.nodes:
            if node.address.name == name:
                node.draining = on

    async def dial(self, order: DialOrder) -> Leg:
        """Have a node send the INVITE; everything else arrives as events.

        Raises:
            ValueError: a part of the order cannot stand in a SIP request, or the call is up already; nothing was sent.
            EngineUnavailable: nothing was sent, so the call may be placed later.
        """
        address = address_call(order)
        if any(node.has_call(order.call_id) for node in self.nodes):
            raise ValueError(f"call {order.call_id} is up already")
        if order.beside is not None and not any(node.has_call(order.beside) for node in self.nodes):
            raise EngineUnavailable(f"call {order.beside} is not up (any more)")
        refusal = EngineUnavailable(self.trouble() or "all lines of Asterisk are in use")
        for node in sorted(self.nodes, key=lambda node: (node.live_calls + 1) / node.address.weight):
            if order.beside is not None and not node.has_call(order.beside):
                continue  # only calls of one Asterisk can be connected
            if node.free_lines == 0:
                continue
            try:
                leg = await node.dial(order, address)
            except EngineUnavailable as error:
                refusal = error
                continue
            _log.debug("dialled", call_id=order.call_id, callee=masked(order.callee), node=node.address.name)
            return leg
        raise refusal

    async def settle(self, call_id: int, *, of: str) -> Ended | None:
        """Ask every node for the channel of a call that a dead process placed under the name ``of``. One that lives is
        hung up.

        ``None`` when no node knows it (any more).
        """
        for node in self.nodes:
            if not node.connected:
                continue  # each call would wait for it; when it comes back, a channel that still lives there is hung up
            try:
                channel = await node.settle(call_id, of)
            except AriUnreachable as error:
                _log.warning("cannot ask for a call", node=node.address.name, call_id=call_id, error=str(error))
                continue
            if channel is not None and channel.state == "Up":
                return Ended(
                    sip_code=200,
                    hung_up_by=HungUpBy.RINGBACK,
                    reason="hung up: the process that held the call died during it",
                )
            if channel is not None:
                return Ended(sip_code=487, reason="given up: the process that held the call died before the answer")
        return None
