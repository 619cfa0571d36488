"""Runs all cases of one engine at the same time, through the dialler's own code, and gathers what came of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ringback.clock import Clock, RealClock, VirtualClock
from ringback.farend.carrier import Carrier
from ringback.farend.log import By, Bye, CallLog, Cancelled, Entry, Invited
from ringback.model.task import Limits
from ringback.roles.one_call import run_call
from ringback.store.calls import CallResult
from ringback.store.leases import Lease
from ringback.telephony.port import Answered, CallEvent, Destination, DialOrder, Ended, Engine, Leg, Prompt, Transferred
from ringback.voice.prompts import PromptMaker
from ringback.voice.speech import Speech
from tests.parts import parts
from tests.telephony.conformance import sipp_carrier
from tests.telephony.conformance.case import Acts, Case, Number, Peer, Sipp, Vanishing
from tests.telephony.conformance.engines import ENGINES, WITHOUT_WIRE, why_not
from tests.telephony.conformance.sipp_carrier import SippCarrier
from tests.telephony.conformance.table import CASES
from tests.telephony.conformance.talks import SOUNDS, TEMPLATES
from tests.telephony.sip_peer import PeerCall, SipPeer

NO_REPLY_SECONDS: Final = 2.0
#: Between two INVITEs: the machine should not be what the suite measures.
_GAP_SECONDS: Final = 0.05
#: Far over the longest case.
_LONGEST_CASE_SECONDS: Final = 45.0
#: An engine that hangs shall say so, not hold up everything.
_LONGEST_RUN_SECONDS: Final = 170.0
_CALLER_ID: Final = "4930555"
_TASK_ID: Final = 7


class Seen(msgspec.Struct, kw_only=True):
    """What came of a case's last call. ``requests``: methods that the carrier got on each call, in order.

    ``complaints``: what the carrier had to complain about. ``trouble``: what broke in Ringback, if anything did.
    """

    result: CallResult | None = None
    events: list[CallEvent] = []
    requests: list[list[str]] = []
    complaints: str = ""
    trouble: str = ""
    recording: Path | None = None
    peer_call: PeerCall | None = None

    @property
    def ended(self) -> Ended:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Ended), self.events
        return last


class _WatchedLeg:
    """A leg whose events are written down on their way to the dialler."""

    def __init__(self, leg: Leg, events: list[CallEvent]) -> None:
        self._leg = leg
        self._events = events

    async def next_event(self) -> CallEvent:
        event = await self._leg.next_event()
        self._events.append(event)
        return event

    async def play(self, prompt: Prompt) -> None:
        await self._leg.play(prompt)

    async def stop_playing(self) -> None:
        await self._leg.stop_playing()

    async def transfer(self, target: str) -> None:
        await self._leg.transfer(target)

    async def hang_up(self) -> None:
        await self._leg.hang_up()


class _TransferringLeg(_WatchedLeg):
    """Transfers the call as soon as it is up, and hides that from the template, which talks on when it is refused."""

    def __init__(self, leg: Leg, events: list[CallEvent], target: str) -> None:
        super().__init__(leg, events)
        self._target = target

    async def next_event(self) -> CallEvent:
        event = await super().next_event()
        if isinstance(event, Answered):
            await self._leg.transfer(self._target)
            while not isinstance(event, Transferred | Ended):
                event = await super().next_event()
            return event if isinstance(event, Ended) else Answered()
        return event


class _Placing:
    """Places the calls of a run."""

    def __init__(self, engine: Engine, clock: Clock, folder: Path) -> None:
        self._engine = engine
        self._clock = clock
        self._folder = folder
        self._speech = Speech(clock, None)
        self._calls = 0

    async def place(self, case: Case, callee: str, host: str, port: int) -> Seen:
        """One call, from the order to its result."""
        self._calls += 1
        call_id = self._calls
        seen = Seen(recording=self._folder / f"{case.name}.wav" if case.records else None)
        limits = Limits(ring_seconds=case.ring_seconds, call_seconds=case.call_seconds)
        order = DialOrder(
            call_id=call_id,
            task_id=_TASK_ID,
            callee=callee,
            caller_id=_CALLER_ID,
            destination=Destination(host=host, port=port, user=case.user, password=case.password),
            record_to=str(seen.recording or ""),
            detect_talking=TEMPLATES[case.talk].may_be_interrupted,
        )
        lease = Lease(
            call_id=call_id,
            lease_no=1,
            task_id=_TASK_ID,
            trunk_id=1,
            callee=callee,
            dialled=callee,
            caller_id=_CALLER_ID,
            texts=None,
            template_id=1,
            limits=limits,
            slot_us=self._clock.now_us(),
        )
        try:
            async with asyncio.timeout(_LONGEST_CASE_SECONDS):
                leg = await self._engine.dial(order)
                seen.result = await run_call(
                    _TransferringLeg(leg, seen.events, case.transfers_to)
                    if case.transfers_to
                    else _WatchedLeg(leg, seen.events),
                    lease,
                    template=TEMPLATES[case.talk],
                    prompts=PromptMaker(self._speech, SOUNDS),
                    clock=self._clock,
                    no_reply_seconds=NO_REPLY_SECONDS,
                    on_response=lambda _: None,
                    on_answer=lambda _: None,
                )
        except Exception as error:  # noqa: BLE001 - reported by the test of the case, beside what was seen until then
            seen.trouble = repr(error)
        return seen


def run(engine: str, folder: Path) -> dict[str, Seen]:
    """All cases that this engine runs, by name. SIPp's are left out where there is no SIPp."""
    cases = [case for case in CASES if why_not(engine, case) is None]
    if engine in WITHOUT_WIRE:
        clock = VirtualClock()
        return clock.run(_run_in_memory(engine, cases, folder, clock))
    try:
        parts.sipp_command()
    except parts.PartMissing:
        cases = [case for case in cases if not isinstance(case.carrier, Sipp)]
    return asyncio.run(asyncio.wait_for(_run_on_the_wire(engine, cases, folder, RealClock()), _LONGEST_RUN_SECONDS))


async def _run_in_memory(engine: str, cases: Sequence[Case], folder: Path, clock: Clock) -> dict[str, Seen]:
    async with ENGINES[engine](clock) as running:
        placing = _Placing(running, clock, folder)
        return await _at_once(clock, {case.name: _call_number(placing, case, "sandbox", 5060) for case in cases})


async def _run_on_the_wire(engine: str, cases: Sequence[Case], folder: Path, clock: Clock) -> dict[str, Seen]:
    scripted = [case for case in cases if isinstance(case.carrier, Sipp)]
    peer_cases = {f"4931{number:02}": case for number, case in enumerate(cases) if isinstance(case.carrier, Peer)}
    diary = _Diary()
    far_end = Carrier("127.0.0.1", 0, clock=clock, log=diary)
    async with contextlib.AsyncExitStack() as stack:
        sipp = SippCarrier([case.carrier.steps for case in scripted if isinstance(case.carrier, Sipp)], folder / "sipp")
        if scripted:
            await stack.enter_async_context(sipp.running())
        await far_end.start()
        stack.push_async_callback(far_end.stop)
        peer = await stack.enter_async_context(SipPeer().listening())
        placing = _Placing(await stack.enter_async_context(ENGINES[engine](clock)), clock, folder)
        work: dict[str, Coroutine[object, object, Seen]] = {}
        for number, case in enumerate(scripted):
            work[case.name] = placing.place(case, sipp_carrier.callee(number), sipp.host, sipp.port)
        for callee, case in peer_cases.items():
            work[case.name] = _call_peer(placing, case, callee, peer)
        for case in cases:
            if isinstance(case.carrier, Number):
                work[case.name] = _call_number(placing, case, *far_end.address)
        vanishing = asyncio.create_task(_call_who_vanishes(placing, cases))
        seen = await _at_once(clock, work)
        seen |= await vanishing
    # Now that the carriers have ended, what they wrote is complete.
    for number, case in enumerate(scripted):
        seen[case.name].requests = sipp.requests(sipp_carrier.callee(number))
        seen[case.name].complaints = sipp.complaints(sipp_carrier.callee(number))
    for case in cases:
        if isinstance(case.carrier, Number):
            seen[case.name].requests = diary.requests(_number(case))
    return seen


async def _at_once(clock: Clock, work: Mapping[str, Coroutine[object, object, Seen]]) -> dict[str, Seen]:
    tasks = {}
    for name, coroutine in work.items():
        tasks[name] = asyncio.create_task(coroutine)
        await clock.sleep(_GAP_SECONDS)
    return {name: await task for name, task in tasks.items()}


# --- one case at each carrier ---


def _number(case: Case) -> str:
    """A number of its own for each case, for the far end counts the calls of a number."""
    assert isinstance(case.carrier, Number)
    return f"4932{CASES.index(case):03}{case.carrier.digits}"


async def _call_number(placing: _Placing, case: Case, host: str, port: int) -> Seen:
    assert isinstance(case.carrier, Number)
    for _ in range(case.carrier.calls):
        seen = await placing.place(case, _number(case), host, port)
    return seen


async def _call_peer(placing: _Placing, case: Case, callee: str, peer: SipPeer) -> Seen:
    assert isinstance(case.carrier, Peer)
    peer.scripts[callee] = case.carrier.script
    acting = None if case.carrier.acts is None else asyncio.create_task(_act(peer, callee, case.carrier.acts))
    seen = await placing.place(case, callee, peer.host, peer.port)
    if acting is not None:
        try:
            await acting
        except (AssertionError, TimeoutError) as error:
            seen.complaints = f"the peer: {error!r}"
    _look_back(seen, peer, callee)
    return seen


async def _act(peer: SipPeer, callee: str, acts: Acts) -> None:
    number = 0
    while (call := await peer.call(number)).callee != callee:
        number += 1
    await acts(call)


async def _call_who_vanishes(placing: _Placing, cases: Sequence[Case]) -> dict[str, Seen]:
    during, without, after = sorted(
        (case for case in cases if isinstance(case.carrier, Vanishing)),
        key=lambda case: case.carrier.stage if isinstance(case.carrier, Vanishing) else 0,
    )
    peer = SipPeer()
    async with peer.listening():
        call = asyncio.create_task(placing.place(during, "493300", peer.host, peer.port))
        with contextlib.suppress(TimeoutError):  # then the case itself fails
            await (await peer.call()).heard_packets(10)
    seen = {during.name: await call, without.name: await placing.place(without, "493301", peer.host, peer.port)}
    async with peer.listening():
        seen[after.name] = await placing.place(after, "493302", peer.host, peer.port)
    _look_back(seen[after.name], peer, "493302")
    return seen


def _look_back(seen: Seen, peer: SipPeer, callee: str) -> None:
    calls = [call for call in peer.calls if call.callee == callee]
    seen.requests = [[m.method for m in call.messages if not m.start.startswith("SIP/2.0")] for call in calls]
    seen.peer_call = calls[-1] if calls else None


class _Diary(CallLog):
    """Keeps the far end's entries."""

    def __init__(self) -> None:
        super().__init__(None)
        self._entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        self._entries.append(entry)

    def requests(self, callee: str) -> list[list[str]]:
        """The methods of the requests on each call to this number; ACK is not written down."""
        calls = [entry.sip_call_id for entry in self._entries if isinstance(entry, Invited) and entry.callee == callee]
        return [
            [word for entry in self._entries if entry.sip_call_id == call for word in _method(entry)] for call in calls
        ]


def _method(entry: Entry) -> list[str]:
    match entry:
        case Invited():
            return ["INVITE"]
        case Cancelled():
            return ["CANCEL"]
        case Bye(by=By.CALLER):
            return ["BYE"]
        case _:
            return []
