"""The native SIP stack of a worker process: its one runtime, its user agents, and the events of its calls.

One runtime has one local interface, and a process can have one runtime at a time. User agents cannot be given back,
and the native handle table has room for 1,023 objects; so when too many have been made, or another interface is
needed, the runtime is started anew (a few milliseconds), which is possible only while no call is up.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

import structlog
from baresip import Call, Config, Event, Runtime, StackEvent, UserAgent
from baresip.call import CallState
from baresip.errors import BaresipError, CommandQueueFull, CommandTimeout, NoLocalAddressError, RuntimeDead

from ringback.clock import RealClock
from ringback.telephony.sip.addressing import CALL_HEADER, TASK_HEADER, Account

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringback.telephony.sip.addressing import CallAddress

#: Far under the handle table's size, with room for the calls.
MOST_USER_AGENTS: Final = 400
#: Hanging up 150 answered calls keeps the native thread busy for 6 s.
COMMAND_SECONDS: Final = 10.0
#: The engine's ping goes through to the native thread; the binding's own watchdog only logs, and after 2 s already.
WATCHDOG_SECONDS: Final = 3_600.0

_MORE_CONFIG: Final = "\n".join(
    (
        "sip_transports udp",
        "dns_getaddrinfo yes",  # resolve host names as the machine does, with its hosts file
        "call_hold_other_calls no",
    )
)
#: In the text of the one dial error that comes after the INVITE has left. It means that handles leaked.
_TABLE_FULL: Final = "table_full"
#: A REFER of the far side is refused: it could make us call anybody.
_ACCOUNT_POLICY: Final = ";call_transfer=no"

_log = structlog.get_logger(__name__)


class NotSent(Exception):
    """No INVITE left. ``worn``: because this process can take no new account before its calls have ended."""

    def __init__(self, reason: str, *, worn: bool = False) -> None:
        super().__init__(reason)
        self.worn = worn


class SipStack:
    """Dials. ``on_event(call_id, event)`` gets every native event of a call of ours, ``busy()`` tells whether any call
    but the one being dialled is up, and ``on_dead(reason)`` is called when the native thread has died.
    """

    def __init__(
        self,
        on_event: Callable[[int, StackEvent], None],
        busy: Callable[[], bool],
        on_dead: Callable[[str], None],
    ) -> None:
        self._on_event = on_event
        self._busy = busy
        self._on_dead = on_dead
        self._runtime: Runtime | None = None
        self._interface = ""
        self._agents: dict[Account, UserAgent] = {}
        self._dialling = asyncio.Lock()
        self._clock = RealClock()
        self._rejecting: set[asyncio.Task[None]] = set()

    async def dial(self, call_id: int, task_id: int, address: CallAddress, leave_by: float = math.inf) -> Call:
        """Send an INVITE, unless it is past ``leave_by`` (monotonic seconds) when its turn has come.

        Raises:
            NotSent: nothing was sent.
            CommandTimeout, RuntimeDead: the native thread hangs or died; whether an INVITE left is unknown.
        """
        headers = {CALL_HEADER: str(call_id), TASK_HEADER: str(task_id)}
        async with self._dialling:
            try:
                agent = await self._agent(address)
                if self._clock.monotonic() > leave_by:
                    raise NotSent("it is too late for this call to leave")
                try:
                    call = await agent.dial(address.request_uri, headers)
                except NoLocalAddressError:
                    if self._busy():
                        raise
                    # The machine's addresses may have changed since the runtime looked at them.
                    await self._restart(address.interface)
                    agent = await self._agent(address)
                    call = await agent.dial(address.request_uri, headers)
            except (CommandTimeout, RuntimeDead):
                raise
            except NoLocalAddressError as error:
                raise NotSent("no local network address reaches the trunk") from error
            except CommandQueueFull as error:
                raise NotSent("the SIP stack is overloaded") from error
            except BaresipError as error:
                if _TABLE_FULL in str(error):
                    raise RuntimeDead("no handle was left for a call") from error
                raise NotSent(f"the SIP stack refused the call: {error}") from error
        # The call object listens to every event of the runtime and, when it was created after its call had closed,
        # for ever. Events reach us by their call header instead.
        if call._on_stack_event in call._runtime._listeners:  # noqa: SLF001 - see above; no public way
            call._runtime.unsubscribe(call._on_stack_event)  # noqa: SLF001 - the binding has no public way (see above)
        # So its state stands still. Whether a transfer can be asked for is checked by OutgoingCall instead.
        call._state = CallState.ESTABLISHED  # noqa: SLF001 - see above
        return call

    async def ping(self) -> None:
        """Return when the native thread has answered. Raises CommandTimeout when it does not."""
        if self._runtime is not None:
            await self._runtime.set_native_log_level("warning")  # the cheapest public command with an answer

    async def close(self) -> None:
        """Free the runtime; calls that are up are ended."""
        runtime, self._runtime = self._runtime, None
        self._agents.clear()
        if runtime is not None:
            await runtime.close()

    async def _agent(self, address: CallAddress) -> UserAgent:
        if self._runtime is None or self._interface != address.interface:
            await self._restart(address.interface)
        agent = self._agents.get(address.account)
        if agent is None:
            if len(self._agents) >= MOST_USER_AGENTS:
                await self._restart(address.interface)
            assert self._runtime is not None
            agent = await UserAgent.create(self._runtime, address.account.line() + _ACCOUNT_POLICY)
            self._agents[address.account] = agent
        return agent

    async def _restart(self, interface: str) -> None:
        if self._runtime is not None and self._busy():
            raise NotSent("this worker must end its calls before it can take another kind of call", worn=True)
        await self.close()
        runtime = Runtime(command_timeout=COMMAND_SECONDS, watchdog_interval=WATCHDOG_SECONDS)
        await runtime.start(
            Config(
                net_interface=interface or None,
                max_concurrent_calls=None,  # the engine counts
                sip_trace=True,
                extra_config_text=_MORE_CONFIG,
            )
        )
        runtime.on_dead = lambda: self._on_dead("the native thread exited")
        runtime.subscribe(self._on_stack_event)
        self._runtime, self._interface = runtime, interface
        _log.info("SIP stack started", interface=interface or "found by itself")

    def _on_stack_event(self, event: StackEvent) -> None:
        # Events carry the headers that were given when dialling, so the call needs no lookup by its handle, which
        # may not be known yet (a quick 486 overtakes the dial command's completion) and is used again later.
        ours = event.headers.get(CALL_HEADER)
        if ours is not None:
            self._on_event(int(ours), event)
        elif event.event is Event.CALL_INCOMING and self._runtime is not None:
            call = Call(self._runtime, handle=event.call, ua_handle=event.ua, state=CallState.INCOMING)
            task = asyncio.get_running_loop().create_task(_reject(call))
            self._rejecting.add(task)
            task.add_done_callback(self._rejecting.discard)


async def _reject(call: Call) -> None:
    try:
        await call.reject()
    except BaresipError as error:
        _log.debug("incoming call went away by itself", error=str(error))
