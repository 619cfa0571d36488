"""A real SIP stack as the caller: what the carrier does is understood by others than its own test caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING

import pytest

from ringback.clock import RealClock
from ringback.farend import sounds
from ringback.farend.digest import Credentials
from tests.farend.far_end import QUICK, Diary, Lab, far_end
from tests.farend.sip_caller import PATIENCE, Mailbox

baresip = pytest.importorskip("baresip")

if TYPE_CHECKING:
    from baresip import Call, StackEvent, UserAgent

pytestmark = [pytest.mark.enable_socket, pytest.mark.sip]

PREFIX = "49301234"


class Caller:
    """A user agent of the stack, and every event of its calls."""

    def __init__(self, agent: UserAgent, port: int) -> None:
        self._agent = agent
        self._port = port
        self.box = Mailbox()

    async def dial(self, digits: str) -> Call:
        return await self._agent.dial(f"sip:{PREFIX}{digits}@127.0.0.1:{self._port}", {"X-Ringback-Call": "31"})

    async def event(self, name: str) -> StackEvent:
        return await self.box.wait(lambda events: next((e for e in events if e.event.name == name), None))

    @property
    def names(self) -> list[str]:
        return [event.event.name for event in self.box.items]


@contextlib.asynccontextmanager
async def caller_of(lab: Lab, password: str) -> AsyncIterator[Caller]:
    runtime = baresip.Runtime()
    await runtime.start(baresip.Config(net_interface="127.0.0.1", max_concurrent_calls=None))
    try:
        account = baresip.Account(user="robin", domain="127.0.0.1", password=password, reg_interval=0)
        caller = Caller(await baresip.UserAgent.create(runtime, account), lab.carrier.address[1])
        runtime.subscribe(caller.box.put)
        yield caller
    finally:
        await runtime.close()


def run(story: Callable[[Lab, Caller], Coroutine[None, None, None]], credentials: Credentials | None = None) -> None:
    async def main() -> None:
        async with far_end(QUICK, credentials) as lab, caller_of(lab, "secret") as caller:
            await story(lab, caller)

    asyncio.run(main())


async def story_of(diary: Diary) -> list[str]:
    """The story of the only call, when it has ended."""
    await diary.box.wait(lambda entries: type(entries[-1]).__name__ == "Ended" if entries else None)
    return diary.story(None)


def test_a_person_is_heard() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        call = await caller.dial("00")
        await call.wait_established(PATIENCE)
        loud = bytearray()
        async with asyncio.timeout(PATIENCE):
            while len(loud) < 16_000 * sounds.HELLO_SECONDS / 2:
                pcm = call.audio.read(3_200)
                loud += b"".join(pcm[i : i + 2] for i in range(0, len(pcm), 2) if pcm[i + 1] not in (0, 0xFF))
                await RealClock().sleep(0.02)  # the stack's audio can only be polled
        await call.hangup()
        assert await story_of(lab.diary) == ["invited", "answered", "bye caller", "ended"]
        assert lab.diary.of()[0].call == "31"
        assert "CALL_RINGING" in caller.names

    run(story)


def test_a_key_is_heard_after_the_prompt() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        call = await caller.dial("45")
        await call.wait_established(PATIENCE)
        call.audio.write(b"\x00\x20\x00\xe0" * 4_000)  # half a second of noise
        assert (await caller.event("CALL_DTMF_START")).text == "9"
        await call.hangup()
        assert await story_of(lab.diary) == ["invited", "answered", "keysent 9", "bye caller", "ended"]

    run(story)


def test_a_call_that_is_hung_up_closes() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        await caller.dial("55")
        await caller.event("CALL_ESTABLISHED")
        await caller.event("CALL_CLOSED")
        assert await story_of(lab.diary) == ["invited", "answered", "bye farend", "ended"]
        await lab.phone.ping()
        assert lab.carrier.live_calls == 0  # our BYE was answered

    run(story)


@pytest.mark.parametrize(
    ("digits", "code"), [("60", 486), ("80", 603), ("85", 480), ("90", 404), ("94", 503), ("96", 500)]
)
def test_refusals_arrive(digits: str, code: int) -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        await caller.dial(digits)
        closed = await caller.event("CALL_CLOSED")
        assert str(code) in closed.text
        assert await story_of(lab.diary) == ["invited", f"refused {code}", "ended"]

    run(story)


def test_ringing_can_be_cancelled() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        call = await caller.dial("70")
        await caller.event("CALL_RINGING")
        await call.hangup()
        assert await story_of(lab.diary) == ["invited", "cancelled", "ended"]

    run(story)


def test_early_media_is_progress() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        await caller.dial("98")
        await caller.event("CALL_PROGRESS")
        assert "480" in (await caller.event("CALL_CLOSED")).text
        assert await story_of(lab.diary) == ["invited", "refused 480", "ended"]

    run(story)


def test_a_challenge_is_answered() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        call = await caller.dial("00")
        await call.wait_established(PATIENCE)
        await call.hangup()
        assert await story_of(lab.diary) == ["challenged", "invited", "answered", "bye caller", "ended"]

    run(story, Credentials("robin", "secret"))


def test_a_wrong_password_is_refused() -> None:
    async def story(lab: Lab, caller: Caller) -> None:
        await caller.dial("00")
        assert "403" in (await caller.event("CALL_CLOSED")).text
        assert await story_of(lab.diary) == ["challenged", "invited", "refused 403", "ended"]

    run(story, Credentials("robin", "another"))
