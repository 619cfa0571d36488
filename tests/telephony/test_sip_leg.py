"""The engine's side of a call: what reaches the caller of the port, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from ringback.telephony.port import (
    Answered,
    Destination,
    DialOrder,
    Ended,
    KeyPressed,
    Prompt,
    PromptFinished,
    Transferred,
)
from ringback.telephony.sip.addressing import address_call
from ringback.telephony.sip.leg import SipLeg, lost
from ringback.telephony.sip.messages import (
    HangUp,
    Happened,
    StopPlaying,
    Transfer,
    What,
    decode_from_worker,
    read_frame,
    to_frame,
)

PROMPT = Prompt("k", b"")
ADDRESS = address_call(
    DialOrder(call_id=7, task_id=1, callee="100", caller_id="", destination=Destination(host="192.0.2.1", port=5070))
)


class FakeWorker:
    def __init__(self):
        self.commands = []

    async def command(self, message):
        self.commands.append(message)

    async def play(self, call_id, number, prompt):
        self.commands.append((call_id, number, prompt.key))


def finished(number):
    return Happened(7, What.PROMPT_FINISHED, number=number)


def test_a_prompt_that_finished_while_it_was_stopped_or_replaced_is_not_told():
    async def story():
        worker = FakeWorker()
        leg = SipLeg(7, worker, ADDRESS)
        await leg.play(PROMPT)
        await leg.play(PROMPT)
        leg.deliver(finished(1))
        leg.deliver(finished(2))
        assert await leg.next_event() == PromptFinished()
        await leg.play(PROMPT)
        leg.deliver(finished(3))  # on its way when the caller stops it
        await leg.stop_playing()
        await leg.stop_playing()
        leg.deliver(Happened(7, What.KEY_PRESSED, key="1"))
        assert await leg.next_event() == KeyPressed("1")
        assert worker.commands == [(7, 1, "k"), (7, 2, "k"), (7, 3, "k"), StopPlaying(7)]

    asyncio.run(story())


def test_nothing_follows_the_end():
    async def story():
        worker = FakeWorker()
        leg = SipLeg(7, worker, ADDRESS)
        leg.deliver(Happened(7, What.ANSWERED))
        leg.deliver(Happened(7, What.ENDED, ended=Ended(sip_code=200)))
        leg.deliver(lost(7, "late"))
        await leg.play(PROMPT)
        await leg.hang_up()
        assert worker.commands == []
        assert await leg.next_event() == Answered()
        assert await leg.next_event() == Ended(sip_code=200)
        assert leg._events.empty()

    asyncio.run(story())


def test_hanging_up_twice_is_asked_once():
    async def story():
        worker = FakeWorker()
        leg = SipLeg(7, worker, ADDRESS)
        await leg.hang_up()
        await leg.hang_up()
        assert worker.commands == [HangUp(7)]

    asyncio.run(story())


def test_a_transfer_is_asked_of_the_trunk_of_the_call():
    async def story():
        worker = FakeWorker()
        leg = SipLeg(7, worker, ADDRESS)
        for target in ("", "alice", "49 30", "1@example.com", "1;method=BYE", "1" * 33):
            with pytest.raises(ValueError, match="transfer target must be 1 to 32 digits"):
                await leg.transfer(target)
        await leg.transfer("+4930")
        assert worker.commands == [Transfer(7, "sip:+4930@192.0.2.1:5070")]
        leg.deliver(Happened(7, What.TRANSFERRED, transferred=Transferred(accepted=False, sip_code=603)))
        assert await leg.next_event() == Transferred(accepted=False, sip_code=603)
        leg.deliver(lost(7, "gone"))
        await leg.transfer("1")
        assert len(worker.commands) == 1

    asyncio.run(story())


def test_frames():
    async def story():
        reader = asyncio.StreamReader()
        messages = [lost(7, "x"), Happened(8, What.RINGING)]
        for message in messages:
            reader.feed_data(to_frame(message))
        reader.feed_data(to_frame(messages[0])[:5])
        reader.feed_eof()
        read = [await read_frame(reader) for _ in range(3)]
        assert [decode_from_worker(frame) for frame in read if frame is not None] == messages
        assert read[2] is None
        broken = asyncio.StreamReader()
        broken.feed_data(b"\xff\xff\xff\xff")
        assert await read_frame(broken) is None

    asyncio.run(story())
