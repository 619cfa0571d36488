"""Turns that a call at an Asterisk can take: a transfer, a recording, a gap in its events."""

from __future__ import annotations

import asyncio

import pytest

from ringback.telephony.asterisk import leg as leg_module
from ringback.telephony.asterisk.events import Channel
from ringback.telephony.port import (
    Answered,
    EarlyMedia,
    Ended,
    HungUpBy,
    KeyPressed,
    Prompt,
    PromptFinished,
    Ringing,
    Transferred,
    Trying,
)
from tests.telephony.asterisk.fake_node import (
    BYE,
    CHANNEL,
    GONE,
    PROGRESS,
    SOFT,
    answered,
    ended,
    event,
    feed,
    playback,
    run,
    side_event,
    told,
)

PROMPT = Prompt("k", b"")
UP = Channel(CHANNEL, state="Up")


# --- transfer ---


def test_a_transfer_that_is_accepted_ends_the_call():
    async def story(node, leg):
        answered(leg)
        await leg.play(PROMPT)
        await leg.transfer("4930123")
        assert node.commands[1:] == [
            "DELETE /playbacks/CALL-p1", "POST /channels/CALL/variable", "POST /channels/CALL/continue",
        ]  # fmt: skip
        assert node.parameters[2]["value"] == "sip:4930123@10.0.0.9:5060"
        feed(leg, event("StasisStart", args=["transferred", "SUCCESS", "202"]))
        await node.settle()
        assert node.commands[-1] == "DELETE /channels/CALL"
        feed(leg, SOFT, GONE)
        assert told(leg) == [
            Transferred(accepted=True, sip_code=202),
            Ended(sip_code=200, hung_up_by=HungUpBy.RINGBACK, reason="transferred"),
        ]

    run(story, detect_machine=False)


@pytest.mark.parametrize(
    ("args", "code"),
    [(["FAILURE", "603"], 603), (["UNSUPPORTED", ""], None), (["FAILURE"], None), (["FAILURE", "0"], None)],
)
def test_a_transfer_that_is_refused_leaves_the_call_up(args, code):
    async def story(node, leg):
        answered(leg)
        await leg.transfer("4930123")
        feed(leg, event("StasisStart", args=["transferred", *args]))
        assert told(leg) == [Transferred(accepted=False, sip_code=code)]
        await leg.play(PROMPT)
        assert node.commands[-1] == "POST /channels/CALL/play/CALL-p1"

    run(story, detect_machine=False)


@pytest.mark.parametrize("refused", ["POST /channels/CALL/variable", "POST /channels/CALL/continue"])
def test_a_transfer_that_asterisk_does_not_take_is_told(refused):
    async def story(node, leg):
        answered(leg)
        node.refuses = (refused,)
        await leg.transfer("4930123")
        assert told(leg) == [Transferred(accepted=False)]

    run(story, detect_machine=False)


def test_a_far_side_that_hangs_up_during_a_transfer_ends_the_call():
    async def story(node, leg):
        answered(leg)
        await leg.transfer("4930123")
        feed(leg, BYE, GONE, event("StasisStart", args=["transferred", "SUCCESS", "202"]))
        await node.settle()
        (end,) = told(leg)
        assert end.hung_up_by is HungUpBy.CALLEE
        assert "DELETE /channels/CALL" not in node.commands

    run(story, detect_machine=False)


@pytest.mark.parametrize("target", ["", "1@2", "1;x=y", "sip:1", "1\r\nX: y", "+", "abc", "1" * 33])
def test_what_is_no_number_is_not_transferred_to(target):
    async def story(node, leg):
        answered(leg)
        with pytest.raises(ValueError, match="transfer target must be"):
            await leg.transfer(target)
        assert node.commands == []

    run(story, detect_machine=False)


# --- recording ---


@pytest.mark.parametrize("has", [True, False])
def test_a_recording_is_collected_before_the_end_is_told(has):
    async def story(node, leg):
        node.has_recording = has
        answered(leg)
        leg.on_side_channel("rec-", side_event("rec-", "side"))
        await asyncio.sleep(0)  # the command is on its way
        feed(leg, BYE, GONE)
        assert (told(leg), node.forgotten) == ([], [])
        leg.on_recorded()
        end = await ended(node, leg)
        assert (end.recorded, end.hung_up_by) == (has, HungUpBy.CALLEE)
        assert node.fetched == [(CHANNEL, "/r.wav")]
        assert node.forgotten == [7]

    run(story, record_to="/r.wav", detect_machine=False)


def test_a_recording_whose_end_is_not_told_is_collected_all_the_same(monkeypatch):
    monkeypatch.setattr(leg_module, "RECORDED_SECONDS", 0.01)

    async def story(node, leg):
        answered(leg)
        leg.on_side_channel("rec-", side_event("rec-", "side"))
        await asyncio.sleep(0)
        feed(leg, GONE)
        assert (await ended(node, leg)).recorded

    run(story, record_to="/r.wav", detect_machine=False)


def test_the_end_is_told_even_when_the_collecting_is_cancelled():
    async def story(node, leg):
        answered(leg)
        leg.on_side_channel("rec-", side_event("rec-", "side"))
        await asyncio.sleep(0)
        feed(leg, GONE)
        node.tasks[-1].cancel()  # before it has begun
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (end,) = told(leg)
        assert not end.recorded
        node.tasks.pop()

    run(story, record_to="/r.wav", detect_machine=False)


def test_a_call_that_was_never_recorded_asks_for_no_recording():
    async def story(node, leg):
        answered(leg)
        feed(leg, GONE)
        assert not (await ended(node, leg)).recorded
        assert node.fetched == []

    run(story, record_to="/r.wav")


# --- after a gap ---


def test_a_call_that_lives_is_followed_on():
    async def story(node, leg):
        await leg.resync(Channel(CHANNEL, state="Ringing"))
        await leg.resync(Channel(CHANNEL, state="Ringing"))
        await leg.resync(UP)
        await leg.resync(UP)
        assert told(leg) == [Ringing(), Answered()]
        await leg.play(PROMPT)
        await leg.resync(UP)
        assert told(leg) == []
        node.plays = False
        await leg.resync(UP)
        assert told(leg) == [PromptFinished()]

    run(story, detect_machine=False)


@pytest.mark.parametrize(("up", "by"), [(True, HungUpBy.RINGBACK), (False, None)])
def test_a_call_that_is_gone_is_told_as_lost_once(up, by):
    async def story(node, leg):
        if up:
            answered(leg)
        await leg.resync(None)
        await leg.resync(None)
        leg.lost("again")
        feed(leg, GONE)
        end = await ended(node, leg)
        assert (end.engine_failed, end.hung_up_by, end.sip_code) == (True, by, None)

    run(story, detect_machine=False)


def test_a_response_that_asterisk_does_not_tell_is_told_as_trying():
    async def story(node, leg):
        assert leg.silent
        leg.responded()
        leg.responded()
        assert not leg.silent
        feed(leg, PROGRESS)
        leg.responded()
        assert told(leg) == [Trying(), EarlyMedia()]
        feed(leg, GONE)
        assert not leg.silent

    run(story)


def test_a_key_is_told_as_it_is():
    async def story(node, leg):
        answered(leg)
        for key in "0123456789*#ABCD":
            feed(leg, event("ChannelDtmfReceived", digit=key))
        assert told(leg) == [KeyPressed(key) for key in "0123456789*#ABCD"]
        assert playback(1).playback is not None

    run(story)
