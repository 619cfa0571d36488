"""One call at an Asterisk: what it tells, in which order, whatever order Asterisk tells it in."""

from __future__ import annotations

import asyncio

import pytest

from ringback.telephony.asterisk.events import Channel
from ringback.telephony.port import (
    HungUpBy,
    MachineDetected,
    Prompt,
    PromptFinished,
)
from tests.telephony.asterisk.fake_node import (
    ANSWER,
    BYE,
    CHANNEL,
    ENTERED,
    GONE,
    KEY,
    PROGRESS,
    RINGING,
    SOFT,
    STATE_RINGING,
    STATE_UP,
    TRYING,
    answered,
    ended,
    event,
    feed,
    kinds,
    run,
    side_event,
    told,
)

PROMPT = Prompt("k", b"")
UP = Channel(CHANNEL, state="Up")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([TRYING, STATE_RINGING, RINGING, STATE_UP, ANSWER, ENTERED, KEY, BYE, GONE],
         "Ringing Answered KeyPressed Ended"),
        ([TRYING, PROGRESS, RINGING, STATE_UP, ENTERED, SOFT, GONE], "EarlyMedia Ringing Answered Ended"),
        ([RINGING, PROGRESS, STATE_UP, ENTERED, GONE], "Ringing EarlyMedia Answered Ended"),
        # Everything twice.
        ([RINGING, RINGING, PROGRESS, PROGRESS, STATE_UP, STATE_UP, ENTERED, ENTERED, GONE, GONE],
         "Ringing EarlyMedia Answered Ended"),
        # Up, and over before it could enter the application; and not even up.
        ([TRYING, STATE_UP, BYE, GONE], "Answered Ended"),
        ([TRYING, GONE], "Ended"),
        ([GONE], "Ended"),
        # In the application before its state is told.
        ([TRYING, ENTERED, STATE_UP, GONE], "Answered Ended"),
        # Keys before the answer are the far end's early media, and after the end nobody's.
        ([TRYING, PROGRESS, KEY, STATE_UP, KEY, ENTERED, KEY, GONE, KEY], "EarlyMedia Answered KeyPressed Ended"),
        ([ENTERED, event("ChannelDtmfReceived"), GONE], "Answered Ended"),
        # A type that nobody asked for.
        ([event("ChannelVarset"), GONE], "Ended"),
    ],
)  # fmt: skip
def test_what_is_told_in_which_order(events, expected):
    async def story(node, leg):
        feed(leg, *events)
        await node.settle()
        assert kinds(told(leg)) == expected.split()
        assert node.forgotten == [7]
        assert leg.placed.is_set()

    run(story, detect_machine=False)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event("ChannelHangupRequest", tech_cause=486, cause=17), event("ChannelDestroyed", cause=17)],
         (486, 17, None)),
        ([STATE_UP, ENTERED, BYE, event("ChannelDestroyed", cause=0)], (200, None, HungUpBy.CALLEE)),
        ([STATE_UP, ENTERED, event("ChannelHangupRequest", cause=31), event("ChannelDestroyed", cause=31)],
         (200, 31, HungUpBy.CALLEE)),
        ([STATE_UP, ENTERED, SOFT, GONE], (200, None, HungUpBy.RINGBACK)),
        ([RINGING, event("ChannelDestroyed", cause=19, tech_cause=480)], (None, 19, None)),
    ],
)  # fmt: skip
def test_how_it_ended(events, expected):
    async def story(node, leg):
        feed(leg, *events)
        end = told(leg)[-1]
        assert (end.sip_code, end.q850_cause, end.hung_up_by) == expected

    run(story)


def test_an_answered_call_is_listened_to_and_recorded_beside_the_conversation():
    async def story(node, leg):
        answered(leg)
        await node.settle()
        assert node.commands == ["POST /channels/CALL/snoop/amd-CALL", "POST /channels/CALL/snoop/rec-CALL"]
        assert [one["spy"] for one in node.parameters] == ["in", "both"]
        leg.on_side_channel("amd-", side_event("amd-", "side"))
        leg.on_side_channel("rec-", side_event("rec-", "side"))
        await node.settle()
        assert node.commands[2:] == ["POST /channels/amd-CALL/continue", "POST /channels/rec-CALL/record"]
        assert node.parameters[2]["context"] == "ringback-amd"
        assert node.parameters[3] == {"name": CHANNEL, "format": "wav", "ifExists": "overwrite"}
        leg.on_side_channel("amd-", side_event("amd-", "nonsense"))
        assert told(leg) == []

    run(story, record_to="/r.wav")


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("MACHINE", [MachineDetected()]), ("HUMAN", []), ("NOTSURE", []), ("HANGUP", []), ("", [])],
)
def test_only_a_machine_is_told_and_the_side_channel_goes(verdict, expected):
    async def story(node, leg):
        answered(leg)
        for _ in range(2):
            leg.on_side_channel("amd-", side_event("amd-", "detected", verdict, "LONGGREETING-2300"))
        await node.settle()
        assert told(leg) == expected
        assert "DELETE /channels/amd-CALL" in node.commands

    run(story)


def test_a_prompt_plays_to_its_end():
    async def story(node, leg):
        await leg.play(PROMPT)  # not answered yet: nothing
        assert node.commands == []
        answered(leg)
        await leg.play(PROMPT)
        assert node.commands == ["POST /channels/CALL/play/CALL-p1"]
        assert node.parameters == [{"media": "sound:k"}]
        assert not leg.on_played(f"{CHANNEL}-p9")
        assert leg.on_played(f"{CHANNEL}-p1")
        assert not leg.on_played(f"{CHANNEL}-p1")
        assert told(leg) == [PromptFinished()]

    run(story, detect_machine=False)


def test_a_prompt_that_is_stopped_or_replaced_is_not_told_as_finished():
    async def story(node, leg):
        answered(leg)
        await leg.play(PROMPT)
        await leg.play(PROMPT)
        await leg.stop_playing()
        await leg.stop_playing()
        for number in (1, 2):
            assert not leg.on_played(f"{CHANNEL}-p{number}")
        assert told(leg) == []
        assert [line.rpartition("-")[0] + line[-3:] for line in node.commands] == [
            "POST /channels/CALL/play/CALL-p1",
            "DELETE /playbacks/CALL-p1",
            "POST /channels/CALL/play/CALL-p2",
            "DELETE /playbacks/CALL-p2",
        ]

    run(story, detect_machine=False)


def test_a_prompt_that_is_stopped_before_it_has_started_is_stopped_once_it_has():
    async def story(node, leg):
        answered(leg)
        playing = asyncio.create_task(leg.play(PROMPT))
        await asyncio.sleep(0)
        assert len(node.commands) == 1  # on its way
        node.refuses = ("DELETE",)  # it is not there yet
        await leg.stop_playing()
        await playing
        assert node.commands == [
            "POST /channels/CALL/play/CALL-p1",
            "DELETE /playbacks/CALL-p1",
            "DELETE /playbacks/CALL-p1",
        ]
        assert told(leg) == []

    run(story, detect_machine=False)


@pytest.mark.parametrize("how", ["refused", "unwritable"])
def test_a_conversation_does_not_wait_for_a_prompt_that_cannot_be_played(how):
    async def story(node, leg):
        answered(leg)
        node.refuses = ("POST /channels/CALL/play",) if how == "refused" else ()
        node.unwritable = how == "unwritable"
        await leg.play(PROMPT)
        assert told(leg) == [PromptFinished()]

    run(story, detect_machine=False)


def test_a_call_that_ends_while_a_prompt_is_asked_for_tells_no_prompt():
    async def story(node, leg):
        answered(leg)
        node.refuses = ("POST",)
        node.before_answer = lambda line: feed(leg, BYE, GONE)
        await leg.play(PROMPT)
        await leg.play(PROMPT)
        await leg.stop_playing()
        await leg.transfer("123")
        await leg.hang_up()
        assert len(node.commands) == 1
        assert kinds(told(leg)) == ["Ended"]

    run(story, detect_machine=False)


def test_hanging_up_twice_is_asked_once_and_the_end_is_ours():
    async def story(node, leg):
        answered(leg)
        await leg.hang_up()
        await leg.hang_up()
        assert node.commands == ["DELETE /channels/CALL"]
        assert not leg.doubtful
        feed(leg, SOFT, GONE)
        assert (await ended(node, leg)).hung_up_by is HungUpBy.RINGBACK

    run(story, detect_machine=False)


def test_a_hang_up_that_did_not_get_through_is_asked_for_again():
    async def story(node, leg):
        answered(leg)
        node.refuses = ("DELETE",)
        await leg.hang_up()
        assert leg.doubtful
        await leg.resync(UP)
        assert leg.doubtful
        node.refuses = ()
        await leg.resync(UP)
        assert not leg.doubtful
        assert node.commands == ["DELETE /channels/CALL"] * 3
        assert told(leg) == []

    run(story, detect_machine=False)


def test_an_answer_that_crosses_our_hang_up_is_told_and_not_listened_to():
    async def story(node, leg):
        feed(leg, TRYING, RINGING)
        await leg.hang_up()
        feed(leg, STATE_UP, ENTERED, SOFT, GONE)
        await node.settle()
        assert kinds(told(leg)) == ["Ringing", "Answered", "Ended"]
        assert node.commands == ["DELETE /channels/CALL"]

    run(story, record_to="/r.wav")
