"""A leg without an engine, and a conversation on it under virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ringback.clock import VirtualClock
from ringback.telephony.port import CallEvent, Ended, HungUpBy, Prompt, PromptFinished, Transferred
from ringback.voice.prompts import PromptMaker
from ringback.voice.speech import Speech
from ringback.voice.talk import TalkResult, talk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringback.clock import Clock
    from ringback.model.template import Template

#: A file of each length that the tests play.
AUDIO = {f"{seconds}s.wav": bytes([seconds, 0]) * 8_000 * seconds for seconds in (1, 2, 3)}

ACCEPTED = Transferred(accepted=True, sip_code=200)


class FakeLeg:
    """Plays prompts in (virtual) time and lets the callee act by a script of (seconds since the answer, event).

    ``done`` is what was asked of it: (seconds, what). With ``finishes_prompts=False`` or ``reports_end=False`` it is an
    engine that forgets to say so. ``transfer`` is the answer to a transfer, which comes a second later.
    """

    def __init__(
        self,
        clock: Clock,
        script: Iterable[tuple[float, CallEvent]] = (),
        *,
        finishes_prompts: bool = True,
        reports_end: bool = True,
        transfer: Transferred | ValueError = ACCEPTED,
    ) -> None:
        self.done: list[tuple[float, str]] = []
        self.ended = False
        self._clock = clock
        self._answered_at = clock.monotonic()
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue()
        self._finishes_prompts = finishes_prompts
        self._reports_end = reports_end
        self._transfer = transfer
        self._transferring: asyncio.Task[None] | None = None
        self._playing: asyncio.Task[None] | None = None
        # One task for all: timers of the same instant fire in no particular order.
        self._script = asyncio.create_task(self._act(sorted(script, key=lambda entry: entry[0])))
        self._end_taken = False

    async def next_event(self) -> CallEvent:
        assert not self._end_taken, "next_event after the end"
        event = await self._events.get()
        self._end_taken = isinstance(event, Ended)
        return event

    async def play(self, prompt: Prompt) -> None:
        self._log(f"play {prompt.seconds:g}")
        if not self.ended:
            self._stop()
            self._playing = asyncio.create_task(self._play(prompt.seconds))

    async def stop_playing(self) -> None:
        self._log("stop")
        self._stop()

    async def transfer(self, target: str) -> None:
        self._log(f"transfer {target}")
        if isinstance(self._transfer, ValueError):
            raise self._transfer
        self._transferring = asyncio.create_task(self._answer_transfer(self._transfer))

    async def _answer_transfer(self, answer: Transferred) -> None:
        await self._clock.sleep(1)
        self.emit(answer)
        if answer.accepted and self._reports_end:
            self.emit(Ended(hung_up_by=HungUpBy.RINGBACK, reason="transferred"))

    async def hang_up(self) -> None:
        self._log("hang up")
        self._stop()
        if self._reports_end:
            self.emit(Ended(hung_up_by=HungUpBy.RINGBACK))

    def emit(self, event: CallEvent) -> None:
        if not self.ended:
            self.ended = isinstance(event, Ended)
            self._events.put_nowait(event)

    async def close(self) -> None:
        tasks = [task for task in (self._script, self._playing, self._transferring) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _act(self, script: list[tuple[float, CallEvent]]) -> None:
        for at, event in script:
            wait = self._answered_at + at - self._clock.monotonic()
            if wait > 0:
                await self._clock.sleep(wait)
            self.emit(event)

    async def _play(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        if self._finishes_prompts:
            self.emit(PromptFinished())

    def _stop(self) -> None:
        if self._playing is not None:
            self._playing.cancel()

    def _log(self, what: str) -> None:
        self.done.append((round(self._clock.monotonic() - self._answered_at, 3), what))


def converse(
    template: Template,
    script: Iterable[tuple[float, CallEvent]] = (),
    *,
    texts: Mapping[str, str] | None = None,
    audio: Mapping[str, bytes] = AUDIO,
    max_seconds: float = 100.0,
    **leg_options: Any,
) -> tuple[TalkResult, FakeLeg, float]:
    """One whole conversation; the result, the leg, and how many virtual seconds it took."""
    clock = VirtualClock()

    async def main() -> tuple[TalkResult, FakeLeg, float]:
        leg = FakeLeg(clock, script, **leg_options)
        began = clock.monotonic()
        result = await talk(
            leg,
            template,
            texts=texts or {},
            prompts=PromptMaker(Speech(clock, None), audio),
            max_seconds=max_seconds,
            clock=clock,
        )
        took = clock.monotonic() - began
        await leg.close()
        return result, leg, took

    return clock.run(main())
