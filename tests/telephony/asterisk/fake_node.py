"""What a call of the Asterisk engine needs of its node, for tests without any Asterisk: commands are kept."""

from __future__ import annotations

import asyncio

from ringback.telephony.asterisk.events import AriEvent, Channel, Playback
from ringback.telephony.asterisk.leg import AsteriskLeg
from ringback.telephony.port import Ended

CHANNEL = "ringback-0000000000000007"


class FakeNode:
    """``refuses``: commands whose line begins so are refused."""

    app = "ringback"

    def __init__(self):
        self.commands: list[str] = []
        self.parameters: list[dict[str, str]] = []
        self.refuses: tuple[str, ...] = ()
        self.plays = True
        self.unwritable = False
        self.has_recording = True
        self.fetched: list[tuple[str, str]] = []
        self.forgotten: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.before_answer = None  # called when a command has been sent, before it is answered

    async def command(self, method, path, params=None):
        line = f"{method} {path.replace(CHANNEL, 'CALL')}"
        self.commands.append(line)
        self.parameters.append(dict(params or {}))
        if self.before_answer is not None:
            self.before_answer(line)
        await asyncio.sleep(0)
        return not line.startswith(self.refuses) if self.refuses else True

    async def has_playback(self, playback_id):
        return self.plays

    async def sound(self, prompt):
        if self.unwritable:
            raise PermissionError("no")
        return f"sound:{prompt.key}"

    def not_played(self, told):
        told()

    async def fetch_recording(self, name, path):
        self.fetched.append((name, path))
        return self.has_recording

    def spawn(self, work, then=None):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        if then is not None:
            task.add_done_callback(lambda _: then())

    def forget(self, call_id):
        self.forgotten.append(call_id)

    async def settle(self):
        """Let everything that was spawned come to its end."""
        while pending := [task for task in self.tasks if not task.done()]:
            await asyncio.gather(*pending)
        await asyncio.sleep(0)


def leg_at(node, **parts):
    """A call that has just been placed."""
    return AsteriskLeg(7, CHANNEL, node, target_host="10.0.0.9:5060", **parts)


def event(kind, state="", **parts):
    """An event of the call's own channel."""
    about = Channel(CHANNEL, state=state)
    return AriEvent(type=kind, **{"peer" if kind == "Dial" else "channel": about}, **parts)


def side_event(prefix, *args):
    """A side channel enters the application."""
    return AriEvent(type="StasisStart", channel=Channel(prefix + CHANNEL, state="Up"), args=list(args))


def playback(number, state="done"):
    return AriEvent(type="PlaybackFinished", playback=Playback(f"{CHANNEL}-p{number}", state))


TRYING, RINGING, PROGRESS, ANSWER = (
    event("Dial", dialstatus=status) for status in ("", "RINGING", "PROGRESS", "ANSWER")
)
STATE_RINGING, STATE_UP = (event("ChannelStateChange", state) for state in ("Ringing", "Up"))
ENTERED = event("StasisStart")
BYE = event("ChannelHangupRequest")
SOFT = event("ChannelHangupRequest", soft=True, cause=32)
GONE = event("ChannelDestroyed", cause=16)
KEY = event("ChannelDtmfReceived", digit="5")


def feed(leg, *events):
    for one in events:
        leg.on_event(one)


def told(leg):
    """Everything that has been told and not been taken."""
    events = []
    while not leg._events.empty():
        events.append(leg._events.get_nowait())
    return events


def kinds(events):
    """Names of the events, the end last."""
    assert [type(one) for one in events].count(Ended) <= 1
    return [type(one).__name__ for one in events]


def run(story, **parts):
    """Runs a story of a node and a call that has just been placed."""

    async def with_leg():
        node = FakeNode()
        await story(node, leg_at(node, **parts))
        await node.settle()

    asyncio.run(with_leg())


def answered(leg):
    feed(leg, TRYING, STATE_RINGING, RINGING, STATE_UP, ANSWER, ENTERED)
    told(leg)


async def ended(node, leg):
    await node.settle()
    (end,) = told(leg)
    assert isinstance(end, Ended)
    return end
