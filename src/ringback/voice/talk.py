"""Runs a template on an answered call.

What the steps mean is written in one place, the first half of the conversation below. They all wait in one method,
``_listen``, which has what they share: keys are written down and kept for the next gather, a machine or the end of the
call breaks in, and the longest duration is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from ringback.model.connect_step import Connect
from ringback.model.template import Gather, Hangup, OnVoicemail, Pause, Play, Say, Step, Tag, Template, Transfer
from ringback.model.text_variables import substituted
from ringback.telephony.port import (
    Ended,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    PromptFinished,
    TalkingStarted,
    Transferred,
)
from ringback.voice import talk_result as why
from ringback.voice.connecting import WithPhones
from ringback.voice.talk_result import MAX_NODE_CHANGES, TalkResult, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ringback.clock import Clock
    from ringback.telephony.port import CallEvent, Leg, Prompt
    from ringback.voice.prompts import PromptMaker
    from ringback.voice.seats import Seat, Seats

#: How long an engine may take to report the end of a call that was hung up.
END_WAIT_SECONDS = 5.0

log = structlog.get_logger(__name__)


async def talk(
    leg: Leg,
    template: Template,
    *,
    texts: Mapping[str, str],
    prompts: PromptMaker,
    max_seconds: float,
    clock: Clock,
    seats: Seats | None = None,
    seat: Seat | None = None,
) -> TalkResult:
    """Run the template on a leg that has just been answered, until the call has ended.

    ``texts`` maps text variables, such as ``text1``, to their values; ``max_seconds`` is counted from now. All events
    of the leg from here on are taken here. ``seats`` are the phones that the callee may be connected with (``None``:
    none); ``seat`` is the one that was called first, and picked up.
    """
    conversation = _Conversation(leg, template, texts=texts, prompts=prompts, clock=clock, max_seconds=max_seconds)
    conversation.seats, conversation.seat = seats, seat
    try:
        return await conversation.run()
    finally:
        conversation.stop_listening()


class _HangUp(Exception):
    """How a step ends the conversation: hang up now. The text is the reason."""


class _CallEnded(Exception):
    """The call has ended."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.reason)
        self.ended = ended


class _Conversation(WithPhones):
    def __init__(
        self,
        leg: Leg,
        template: Template,
        *,
        texts: Mapping[str, str],
        prompts: PromptMaker,
        clock: Clock,
        max_seconds: float,
    ) -> None:
        super().__init__(leg)
        self._template = template
        self._texts = texts
        self._prompts = prompts
        self._clock = clock
        self._over_at = clock.monotonic() + max_seconds
        self._next_event: asyncio.Task[CallEvent] | None = None
        self._playing = False
        self._spoken = False  # the callee has begun to speak since the prompt began
        self._keys: list[str] = []  # all that were pressed
        self._typed: list[str] = []  # those that no gather has taken yet
        self._intent: str | None = None
        self._machine = False
        self._transferred: Transferred | None = None

    async def run(self) -> TalkResult:
        try:
            reason = await self._run_template()
            ended = await self._hang_up()
        except _CallEnded as end:
            ended, reason = end.ended, reason_of(end.ended)
        reason = "; ".join([*self.of_phones, reason])
        return TalkResult(
            keys="".join(self._keys), intent=self._intent, machine=self._machine, ended=ended, reason=reason
        )

    # --- what the steps mean ---

    async def _run_template(self) -> str:
        """Run node after node; returns why the call is to be hung up."""
        node = self._template.initial_node
        try:
            for _ in range(MAX_NODE_CHANGES + 1):
                target = await self._run_node(self._template.nodes[node])
                if target is None:
                    return why.TEMPLATE_ENDED
                node = target
        except _HangUp as order:
            return str(order)
        log.warning("template_goes_round", template=self._template.name, node=node)
        return why.TOO_MANY_NODE_CHANGES

    async def _run_node(self, steps: Sequence[Step]) -> str | None:
        """Run the steps in order; returns the node to go to, ``None`` at the end of the steps."""
        for step in steps:
            match step:
                case Say() | Play():
                    await self._prompt(step)
                case Pause(seconds):
                    await self._pause(seconds)
                case Gather():
                    target = await self._gather(step)
                    if target is not None:
                        return target
                case Tag(intent):
                    self._intent = intent
                case Transfer():
                    await self._transfer(step)
                case Connect():
                    await self._stop_playing()
                    if await self.connect(step.group, substituted(step.phone, self._texts).strip()):
                        raise _HangUp(why.PHONE_HUNG_UP)
                case Hangup():
                    raise _HangUp(why.TEMPLATE_ENDED)
        return None

    async def _prompt(self, step: Say | Play) -> None:
        """Play to the end, or, where it may be interrupted, until the callee speaks or presses a key.

        Either way keys are kept for the next gather.
        """
        prompt = await self._made(step)
        pressed = len(self._keys)
        await self._play(prompt)
        while self._playing and not (step.barge_in and (self._spoken or len(self._keys) > pressed)):
            await self._listen()
        await self._stop_playing()

    async def _pause(self, seconds: float) -> None:
        """Wait, listening. Keys are kept for the next gather."""
        over_at = self._clock.monotonic() + seconds
        while await self._listen(until=over_at):
            pass

    async def _transfer(self, step: Transfer) -> None:
        """Ask the trunk to take the callee over. Refused, the conversation goes on."""
        try:
            await self.leg.transfer(substituted(step.target, self._texts).strip())
        except ValueError as error:  # what a text variable holds is no number
            log.warning("not_transferred", reason=str(error))
            return
        while self._transferred is None:
            await self._listen()
        answer, self._transferred = self._transferred, None
        if answer.accepted:
            raise _HangUp(why.TRANSFERRED)  # the engine does that already; its end is to come
        log.info("not_transferred", sip_code=answer.sip_code)

    async def _gather(self, step: Gather) -> str | None:
        """Collect keys and choose. Keys typed ahead count, and a prompt that nobody needs any more is not played."""
        prompt = await self._made(step.prompt) if step.prompt is not None else None
        barge_in = step.prompt is not None and step.prompt.barge_in
        entered = self._take(step, "")
        if prompt is not None and not entered:
            await self._play(prompt)
            while self._playing and not entered and not (barge_in and self._spoken):
                await self._listen()
                entered = self._take(step, entered)
            await self._stop_playing()
        timed_out = False
        while len(entered) < step.max_keys and not timed_out:
            before = entered
            patience_ends = self._clock.monotonic() + step.timeout
            while entered == before and not timed_out:
                timed_out = not await self._listen(until=patience_ends)
                entered = self._take(step, entered)
        return step.cases.get(entered, step.default)

    def _take(self, step: Gather, entered: str) -> str:
        """``entered`` with what was typed since; keys that the gather does not accept are passed over."""
        while self._typed and len(entered) < step.max_keys:
            key = self._typed.pop(0)
            if key in step.keys:
                entered += key
        return entered

    # --- playing ---

    async def _made(self, step: Say | Play) -> Prompt:
        """The prompt of a step, listening while it is made."""
        template = self._template
        making = asyncio.ensure_future(self._prompts.prompt(step, template.language, self._texts, template.voice))
        try:
            while not making.done():
                await self._listen(work=making)
            # What has happened by now belongs before the prompt: the end of the last one is not taken for its end.
            while await self._listen(until=self._clock.monotonic()):
                pass
            return making.result()
        finally:
            making.cancel()

    async def _play(self, prompt: Prompt) -> None:
        self._spoken = False
        if prompt.pcm:
            await self.leg.play(prompt)
            self._playing = True

    async def _stop_playing(self) -> None:
        if self._playing:
            await self.leg.stop_playing()
            self._playing = False

    # --- listening ---

    async def _listen(self, *, until: float | None = None, work: asyncio.Future[Any] | None = None) -> bool:
        """Wait for one event and take note of it; false when ``until`` came, or ``work`` was done, before one.

        Raises:
            _CallEnded: the call has ended.
            _HangUp: a machine answered and the template does not talk to machines, or the longest duration is over.
        """
        now = self._clock.monotonic()
        if now >= self._over_at:
            raise _HangUp(why.MAXIMUM_DURATION)
        wait_until = self._over_at if until is None else min(until, self._over_at)
        event = self._event()
        waiting: set[asyncio.Future[Any]] = {event}
        if work is not None:
            waiting.add(work)
        # A wait that runs out leaves the task as it is: an event is never lost to a timeout.
        done, _ = await asyncio.wait(waiting, timeout=max(0.0, wait_until - now), return_when=asyncio.FIRST_COMPLETED)
        if event in done:
            self._note(event.result())
            return True
        if not done and wait_until == self._over_at:
            raise _HangUp(why.MAXIMUM_DURATION)
        return False

    def _event(self) -> asyncio.Task[CallEvent]:
        if self._next_event is None:
            self._next_event = asyncio.create_task(_next_event(self.leg))
        return self._next_event

    def _note(self, event: CallEvent) -> None:
        self._next_event = None
        match event:
            case KeyPressed(key):
                self._keys.append(key)
                self._typed.append(key)
            case TalkingStarted():
                self._spoken = True
            case PromptFinished():
                self._playing = False
            case Transferred():
                self._transferred = event
            case MachineDetected():
                self._machine = True
                # Who talks hears it, and decides.
                if self._template.on_voicemail is OnVoicemail.HANG_UP and not self.with_a_person:
                    raise _HangUp(why.ANSWERING_MACHINE)
            case Ended():
                raise _CallEnded(event)
            case _:
                pass  # progress of a call that is up already

    def stop_listening(self) -> None:
        """Give up the event that is being waited for, if any."""
        if self._next_event is not None:
            self._next_event.cancel()

    # --- the end ---

    async def _hang_up(self) -> Ended:
        """Stop everything and wait for the end of the call."""
        try:
            async with asyncio.timeout(END_WAIT_SECONDS):
                await self._stop_playing()
                await self.leg.hang_up()
                while True:
                    event = self._event()
                    await asyncio.wait({event})
                    with contextlib.suppress(_HangUp):  # that is being done
                        self._note(event.result())
        except _CallEnded as end:
            return end.ended
        except TimeoutError:
            log.warning("no_end_reported", waited_seconds=END_WAIT_SECONDS)
            return Ended(hung_up_by=HungUpBy.RINGBACK, reason=why.NO_END_REPORTED)


async def _next_event(leg: Leg) -> CallEvent:
    return await leg.next_event()
