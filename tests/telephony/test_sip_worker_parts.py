"""The parts of a worker process, without one: feeding prompts and telling a call's events, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from ringback.clock import VirtualClock
from ringback.telephony.port import BYTES_PER_SECOND, Ended, HungUpBy, Transferred
from ringback.telephony.sip.messages import Happened, What
from ringback.telephony.sip.wire import Seen

pytest.importorskip("baresip")

from baresip import Event, StackEvent
from baresip.errors import AudioNotActive, StaleHandleError, TransferFailed

from ringback.telephony.sip.media import AHEAD_BYTES, MediaLoop
from ringback.telephony.sip.outgoing_call import CONFIRM_SECONDS, RESPONSE_GRACE_SECONDS, TRANSFER_SECONDS, OutgoingCall
from ringback.telephony.sip.worker import ENGINE_SILENT_SECONDS, Worker

FRAME_BYTES = BYTES_PER_SECOND // 50


class FakeAudio:
    """Sends 20 ms every 20 ms of virtual time, holds one frame back, and flushes at the next tick, as the real one."""

    def __init__(self, clock):
        self._clock = clock
        self._buffer = b""
        self._next_tick = 0.0
        self._flush = False
        self.active = True
        self.tx_ready = True
        self.most_buffered = 0
        self.sent = b""
        self.heard = b""

    def _tick(self):
        while self._next_tick <= self._clock.monotonic():
            self._next_tick += 0.02
            if self._flush:
                self._buffer, self._flush = b"", False
            self.sent += self._buffer[:FRAME_BYTES]
            self._buffer = self._buffer[FRAME_BYTES:]

    @property
    def tx_buffered(self):
        return len(self._buffer)

    def info(self):
        if not self.active:
            raise AudioNotActive("no audio")
        self._tick()
        return self

    def write(self, pcm):
        self._tick()
        self._buffer += bytes(pcm)
        self.most_buffered = max(self.most_buffered, len(self._buffer))
        return len(pcm)

    def flush_tx(self):
        self._tick()
        self._flush = True

    def read(self, max_bytes):
        if not self.active:
            raise AudioNotActive("no audio")
        heard, self.heard = self.heard[:max_bytes], self.heard[max_bytes:]
        return heard


def with_loop(what):
    """Run ``what(clock, media)`` beside a running media loop."""
    clock = VirtualClock()

    async def story():
        media = MediaLoop(clock)
        running = asyncio.create_task(media.run())
        try:
            return await what(clock, media)
        finally:
            running.cancel()

    return clock.run(story())


def counting(seconds):
    """PCM without a repeated frame."""
    return bytes(n // FRAME_BYTES % 250 + 1 for n in range(round(seconds * BYTES_PER_SECOND)))


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.2, 0.21, 3.0])
def test_a_prompt_is_sent_whole_and_then_finished(seconds):
    async def what(clock, media):
        audio, finished = FakeAudio(clock), asyncio.Event()
        media.play(1, audio, counting(seconds), finished.set)
        await finished.wait()
        assert audio.sent.rstrip(b"\0") == counting(seconds)
        assert seconds <= clock.monotonic() <= seconds + 0.15
        assert audio.most_buffered <= AHEAD_BYTES

    with_loop(what)


def test_a_prompt_right_after_another_loses_nothing_to_the_flush():
    async def what(clock, media):
        audio, finished = FakeAudio(clock), asyncio.Event()
        media.play(1, audio, counting(2), lambda: pytest.fail("it was replaced"))
        await clock.sleep(0.5)
        media.stop(1)
        media.stop(1)
        stopped = len(audio.sent)
        media.play(1, audio, counting(0.3), finished.set)
        await finished.wait()
        assert audio.sent[stopped:].rstrip(b"\0") == counting(0.3)

    with_loop(what)


def test_a_flush_of_an_empty_buffer_does_not_take_the_next_prompt_along():
    async def what(clock, media):
        audio, finished = FakeAudio(clock), asyncio.Event()
        media.play(1, audio, counting(0.02), lambda: pytest.fail("it was stopped"))
        await clock.sleep(0.03)
        assert audio.info().tx_buffered == 0
        media.stop(1)
        sent = len(audio.sent)
        media.play(1, audio, counting(0.3), finished.set)
        await finished.wait()
        assert audio.sent[sent:].rstrip(b"\0") == counting(0.3)

    with_loop(what)


def test_a_prompt_waits_while_there_is_no_media():
    async def what(clock, media):
        audio, finished = FakeAudio(clock), asyncio.Event()
        audio.active = False
        media.play(1, audio, counting(0.1), finished.set)
        await clock.sleep(1)
        audio.active, audio.tx_ready = True, False
        await clock.sleep(1)
        assert not finished.is_set()
        audio.tx_ready = True
        await finished.wait()
        assert audio.sent == counting(0.1)

    with_loop(what)


def test_a_forgotten_call_is_neither_fed_nor_heard():
    async def what(clock, media):
        audio = FakeAudio(clock)
        media.play(1, audio, counting(1), lambda: pytest.fail("forgotten"))
        media.listen(1, audio, lambda: pytest.fail("forgotten"))
        media.forget(1)
        audio.heard = counting(9)
        await clock.sleep(5)
        assert len(audio.heard) == len(counting(9))

    with_loop(what)


def test_listening_ends_with_a_machine_or_after_a_while():
    async def what(clock, media):
        loud, dead = FakeAudio(clock), FakeAudio(clock)
        dead.active = False
        machine = asyncio.Event()
        media.listen(1, loud, machine.set)
        media.listen(2, dead, lambda: pytest.fail("nothing was heard"))
        loud.heard = b"\x00\x30\x00\xd0" * 2 * BYTES_PER_SECOND
        await machine.wait()
        await clock.sleep(20)
        assert media._listening == {}
        assert len(loud.heard) > 0  # not read any further

    with_loop(what)


LOUD = b"\x00\x30\x00\xd0"  # two samples


def speech(seconds):
    return LOUD * round(seconds * BYTES_PER_SECOND / len(LOUD))


def silence(seconds):
    return bytes(round(seconds * BYTES_PER_SECOND))


def talk_heard(*pieces):
    """When (seconds) talk begins in these pieces of audio, received as time goes on; None: nothing comes so long."""

    async def what(clock, media):
        audio, told = FakeAudio(clock), []
        media.listen_for_talk(1, audio, lambda: told.append(round(clock.monotonic(), 2)))
        for piece in pieces:
            for start in range(0, len(piece), FRAME_BYTES) if isinstance(piece, bytes) else ():
                audio.heard += piece[start : start + FRAME_BYTES]
                await clock.sleep(0.02)
            if not isinstance(piece, bytes):
                await clock.sleep(piece)
        await clock.sleep(0.2)
        return told

    return with_loop(what)


def test_talk_is_told_each_time_it_begins():
    first, second = talk_heard(silence(0.5), speech(0.6), silence(1), speech(1))
    assert 0.6 <= first <= 0.7
    assert 2.2 <= second <= 2.3


def test_talk_begins_anew_where_the_far_side_sent_nothing_in_between():
    first, second = talk_heard(speech(0.5), 1.5, speech(0.5))
    assert 0.1 <= first <= 0.2
    assert 2.1 <= second <= 2.2
    assert len(talk_heard(speech(0.5), 0.3, speech(0.5))) == 1


def test_what_came_before_the_answer_is_not_heard():
    async def what(clock, media):
        audio = FakeAudio(clock)
        audio.heard = speech(0.9)  # a ring-back tone
        media.listen_for_talk(1, audio, lambda: pytest.fail("nobody has spoken"))
        await clock.sleep(1)

    with_loop(what)


def test_a_call_can_be_listened_to_for_all_purposes_at_once():
    async def what(clock, media):
        audio, machine, talks = FakeAudio(clock), asyncio.Event(), []
        media.listen_for_talk(1, audio, lambda: talks.append(clock.monotonic()))
        media.listen(1, audio, machine.set)
        audio.heard = speech(3)
        await machine.wait()
        assert len(talks) == 1
        audio.heard = silence(2)
        await clock.sleep(30)
        audio.heard = speech(1)
        await clock.sleep(0.5)
        assert len(talks) == 2
        media.forget(1)
        audio.heard = silence(2) + speech(2)
        await clock.sleep(5)
        assert len(talks) == 2
        assert len(audio.heard) == len(silence(2) + speech(2))

    with_loop(what)


class FakeNative:
    """A native call whose hang-up closes it at once."""

    def __init__(self, clock):
        self.audio = FakeAudio(clock)
        self.hung_up_at = None
        self.stale = False
        self.closed = lambda: None
        self._clock = clock

    async def hangup(self):
        if self.stale:
            raise StaleHandleError("gone")
        self.hung_up_at = self._clock.monotonic()
        self.closed()

    async def transfer(self, uri, *, timeout):  # noqa: ASYNC109 - the binding's signature
        await self._clock.sleep(timeout)
        raise TransferFailed(f"no transfer outcome within {timeout:g} s")


class Story:
    """One call with its events."""

    def __init__(self, clock, media, *, most_seconds=7_200, record=None, detect_talking=False):
        self.clock = clock
        self.told = []
        self.ended = asyncio.Event()
        self.call = OutgoingCall(
            7,
            media,
            self.told.append,
            self.ended.set,
            detect_machine=True,
            detect_talking=detect_talking,
            most_seconds=most_seconds,
            record=record,
        )
        self.native = FakeNative(clock)
        self.native.closed = lambda: self.on(Event.CALL_CLOSED, "Rejected by user")

    def on(self, event, text=None):
        self.call.on_native(StackEvent(event, text=text))

    async def end(self):
        await self.ended.wait()
        assert [happened.what for happened in self.told].count(What.ENDED) == 1
        assert self.told[-1].what is What.ENDED
        return self.told[-1].ended

    def kinds(self):
        return [happened.what for happened in self.told]


def tell(what, **parts):
    """Run ``what(story)`` in virtual time."""
    return with_loop(lambda clock, media: what(Story(clock, media, **parts)))


def test_everything_can_overtake_the_completion_of_the_dial():
    async def what(story):
        story.on(Event.CALL_OUTGOING)
        story.on(Event.CALL_RINGING)
        story.on(Event.CALL_CLOSED, "486 Busy Here")
        await story.clock.sleep(1)
        assert story.kinds() == [What.RINGING]  # no end yet: it may still be refused
        story.call.placed(story.native)
        assert await story.end() == Ended(sip_code=486, reason="486 Busy Here")

    tell(what)


def test_a_refused_dial_tells_no_end():
    async def what(story):
        story.call.hang_up()
        story.on(Event.CALL_CLOSED, "Cannot assign requested address [99]")
        story.call.refused()
        await story.clock.sleep(5)
        assert story.told == []

    tell(what)


def test_an_answer_before_the_dial_came_back_is_listened_to():
    async def what(story):
        story.on(Event.CALL_ESTABLISHED)
        story.call.placed(story.native)
        story.native.audio.heard = b"\x00\x30\x00\xd0" * 2 * BYTES_PER_SECOND
        await story.clock.sleep(1)
        assert story.kinds() == [What.ANSWERED, What.MACHINE_DETECTED]

    tell(what)


@pytest.mark.parametrize("detect_talking", [True, False])
def test_talk_is_told_when_that_is_asked_for(detect_talking):
    async def what(story):
        story.call.placed(story.native)
        story.on(Event.CALL_ESTABLISHED)
        for _ in range(2):
            story.native.audio.heard = speech(0.5) + silence(1)
            await story.clock.sleep(1.5)
        assert story.kinds() == [What.ANSWERED, *[What.TALKING_STARTED] * 2 * detect_talking]

    tell(what, detect_talking=detect_talking)


def test_each_kind_of_progress_is_told_once_and_trying_only_first():
    async def what(story):
        story.call.placed(story.native)
        story.call.on_wire(Seen("INVITE", 100))
        story.call.on_wire(Seen("INVITE", 100))
        for event in (Event.CALL_RINGING, Event.CALL_PROGRESS, Event.CALL_RINGING, Event.CALL_ESTABLISHED):
            story.on(event)
        story.call.on_wire(Seen("INVITE", 100))
        assert story.kinds() == [What.TRYING, What.RINGING, What.EARLY_MEDIA, What.ANSWERED]
        late = Story(story.clock, MediaLoop(story.clock))
        late.on(Event.CALL_RINGING)
        late.call.on_wire(Seen("INVITE", 100))
        assert late.kinds() == [What.RINGING]

    tell(what)


def test_giving_up_waits_for_a_response_but_not_for_ever():
    async def what(story):
        story.call.placed(story.native)
        story.call.hang_up()
        assert await story.end() == Ended(reason="given up without a final response")
        assert story.native.hung_up_at == pytest.approx(RESPONSE_GRACE_SECONDS)
        assert story.clock.monotonic() == pytest.approx(RESPONSE_GRACE_SECONDS)

    tell(what)


def test_giving_up_at_the_first_response():
    async def what(story):
        story.call.placed(story.native)
        story.call.hang_up()
        await story.clock.sleep(0.2)
        story.call.on_wire(Seen("INVITE", 100))
        await story.clock.sleep(0.1)
        assert story.native.hung_up_at == pytest.approx(0.2)
        assert not story.ended.is_set()  # the CANCEL is not confirmed yet
        story.call.on_wire(Seen("INVITE", 487))
        assert (await story.end()).sip_code == 487

    tell(what)


def test_an_unconfirmed_cancel_ends_all_the_same():
    async def what(story):
        story.call.placed(story.native)
        story.on(Event.CALL_RINGING)
        story.call.hang_up()
        assert (await story.end()).sip_code is None
        assert story.clock.monotonic() == pytest.approx(CONFIRM_SECONDS)

    tell(what)


def test_a_challenge_is_no_end():
    async def what(story):
        story.call.placed(story.native)
        story.call.on_wire(Seen("INVITE", 401))
        story.call.hang_up()
        await story.clock.sleep(0.1)
        assert not story.ended.is_set()
        story.call.on_wire(Seen("INVITE", 487))
        assert (await story.end()).sip_code == 487

    tell(what)


def test_a_hang_up_on_both_sides_at_once():
    async def what(story):
        story.call.placed(story.native)
        story.on(Event.CALL_ESTABLISHED)
        story.native.stale = True  # the BYE was there first; its event is on the way
        story.call.hang_up()
        await story.clock.sleep(0.01)
        story.call.on_wire(Seen("BYE", 0, 16))
        story.on(Event.CALL_CLOSED, "Connection reset by peer [104]")
        ended = await story.end()
        assert (ended.hung_up_by, ended.q850_cause) == (HungUpBy.CALLEE, 16)

    tell(what)


@pytest.mark.parametrize("response", [None, 202])
def test_a_transfer_without_a_report_goes_by_the_response(response):
    async def what(story):
        story.call.placed(story.native)
        story.on(Event.CALL_ESTABLISHED)
        story.call.transfer("sip:1@192.0.2.1")
        story.call.transfer("sip:2@192.0.2.1")  # one at a time
        story.call.on_wire(Seen("REFER", 100))
        story.call.on_wire(Seen("REFER", 407))
        if response is not None:
            story.call.on_wire(Seen("REFER", response))
        await story.clock.sleep(TRANSFER_SECONDS + 1)
        if response is None:
            story.call.hang_up()
        ended = await story.end()
        accepted = response is not None
        answers = [happened.transferred for happened in story.told if happened.what is What.TRANSFERRED]
        assert answers == [Transferred(accepted=accepted, sip_code=response)]
        assert ended.reason == ("transferred" if accepted else "hung up")
        assert story.native.hung_up_at >= TRANSFER_SECONDS

    tell(what)


def test_the_longest_duration_counts_from_the_invite_and_ends_with_the_call(capsys):
    async def what(story):
        story.call.placed(story.native)
        await story.clock.sleep(40)
        story.on(Event.CALL_ESTABLISHED)
        ended = await story.end()
        assert (story.native.hung_up_at, ended.reason) == (60, "longest duration")

    tell(what, most_seconds=60)

    async def short(story):
        story.call.placed(story.native)
        story.on(Event.CALL_CLOSED, "486 Busy Here")
        await story.end()
        await story.clock.sleep(100)
        assert story.native.hung_up_at is None

    capsys.readouterr()
    tell(short, most_seconds=60)
    assert "outlived" not in capsys.readouterr().out


def test_keys_that_are_none_are_dropped():
    async def what(story):
        for text in ("5", "x", None, "55", "#"):
            story.on(Event.CALL_DTMF_START, text)
            story.on(Event.CALL_DTMF_END)
        assert story.told == [Happened(7, What.KEY_PRESSED, key="5"), Happened(7, What.KEY_PRESSED, key="#")]

    tell(what)


def test_prompts_are_played_between_answer_and_end_only():
    async def what(story):
        story.call.play(1, counting(0.1))
        story.call.placed(story.native)
        story.call.play(2, counting(0.1))
        story.on(Event.CALL_ESTABLISHED)
        story.call.play(3, counting(0.1))
        await story.clock.sleep(1)
        story.on(Event.CALL_CLOSED, "Connection reset by peer [104]")
        story.call.play(4, counting(0.1))
        await story.end()
        finished = [happened.number for happened in story.told if happened.what is What.PROMPT_FINISHED]
        assert finished == [3]
        assert story.native.audio.sent == counting(0.1)

    tell(what)


def test_a_worker_whose_engine_is_frozen_ends():
    clock = VirtualClock()

    class Writer:
        def write(self, frame):
            pass

    async def story():
        worker = Worker(Writer(), detect_machines=True)
        await worker.serve(asyncio.StreamReader())  # open, but nothing ever comes
        return clock.monotonic()

    assert ENGINE_SILENT_SECONDS <= clock.run(story()) <= ENGINE_SILENT_SECONDS + 1


class TestConnecting:
    """Two calls that hear each other."""

    def test_what_one_says_the_other_hears_soon_and_whole(self):
        async def what(clock, media):
            one, other = FakeAudio(clock), FakeAudio(clock)
            media.connect(1, one, 2, other)
            said = counting(2.0)
            for start in range(0, len(said), FRAME_BYTES):
                one.heard += said[start : start + FRAME_BYTES]
                await clock.sleep(0.02)
            await clock.sleep(0.5)
            other.info()
            assert said in other.sent
            assert other.sent.index(said) <= BYTES_PER_SECOND * 0.15
            one.info()
            assert one.sent.strip(b"\0") == b""

        with_loop(what)

    def test_what_comes_in_bursts_is_smoothed_and_a_fast_clock_loses_frames(self):
        async def what(clock, media):
            one, other = FakeAudio(clock), FakeAudio(clock)
            media.connect(1, one, 2, other)
            for _ in range(100):
                one.heard += b"\1" * (3 * FRAME_BYTES)  # three times as fast as it can be sent
                await clock.sleep(0.02)
            assert other.most_buffered <= BYTES_PER_SECOND // 5

        with_loop(what)

    def test_the_end_of_one_disconnects_both(self):
        async def what(clock, media):
            one, other = FakeAudio(clock), FakeAudio(clock)
            media.connect(1, one, 2, other)
            await clock.sleep(0.1)
            media.forget(1)
            other.heard = counting(0.2)
            await clock.sleep(0.2)
            one.info()
            assert one.sent.strip(b"\0") == b""
            # And the one that is left can be played to.
            finished = asyncio.Event()
            media.play(2, other, counting(0.3), finished.set)
            await finished.wait()
            assert other.sent.endswith(counting(0.3)) or counting(0.3) in other.sent

        with_loop(what)

    def test_a_prompt_that_plays_is_cut_off(self):
        async def what(clock, media):
            one, other = FakeAudio(clock), FakeAudio(clock)
            media.play(1, one, counting(3), lambda: pytest.fail("it was cut off"))
            await clock.sleep(0.3)
            media.connect(1, one, 2, other)
            other.heard = bytes([255]) * (5 * FRAME_BYTES)  # at once: it must not be flushed with the prompt
            await clock.sleep(0.06)
            other.heard = bytes([255]) * (5 * FRAME_BYTES)
            await clock.sleep(0.5)
            one.info()
            assert one.sent.count(bytes([255]) * FRAME_BYTES) >= 1
            assert len(one.sent.partition(bytes([255]))[0].rstrip(b"\0")) <= 0.35 * BYTES_PER_SECOND

        with_loop(what)

    def test_a_new_connection_replaces_the_old_one(self):
        async def what(clock, media):
            one, other, third = FakeAudio(clock), FakeAudio(clock), FakeAudio(clock)
            media.connect(1, one, 2, other)
            await clock.sleep(0.1)
            media.connect(1, one, 3, third)
            one.heard = counting(0.1)
            await clock.sleep(0.3)
            third.info()
            other.info()
            assert counting(0.1) in third.sent
            assert other.sent.strip(b"\0") == b""

        with_loop(what)
