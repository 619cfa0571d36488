"""Rules that hold for a call at an Asterisk whatever is told and asked in whatever order."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.asterisk import leg as leg_module
from ringback.telephony.asterisk.events import Channel
from ringback.telephony.port import Answered, Ended, KeyPressed, MachineDetected, Prompt, PromptFinished
from tests.telephony.asterisk.fake_node import CHANNEL, FakeNode, event, leg_at, side_event, told

STATES = st.sampled_from(["Down", "Ringing", "Up", "Busy", ""])
CODES = st.none() | st.integers(0, 700)
ARGS = st.lists(
    st.sampled_from(["side", "detected", "transferred", "SUCCESS", "FAILURE", "MACHINE", "HUMAN", "202", ""]),
    max_size=3,
)
EVENTS = (
    st.builds(lambda status: event("Dial", dialstatus=status), st.sampled_from(["", "RINGING", "PROGRESS", "ANSWER"]))
    | st.builds(lambda state: event("ChannelStateChange", state), STATES)
    | st.builds(lambda args: event("StasisStart", args=args), st.just([]) | ARGS)
    | st.builds(lambda key: event("ChannelDtmfReceived", digit=key), st.sampled_from(["", "5", "#"]))
    | st.builds(
        lambda soft, cause, code: event("ChannelHangupRequest", soft=soft, cause=cause, tech_cause=code),
        st.booleans(),
        CODES,
        CODES,
    )
)
END = st.builds(lambda cause: event("ChannelDestroyed", cause=cause), CODES)
STEPS = st.lists(
    st.tuples(st.just("event"), EVENTS)
    | st.tuples(st.just("side"), st.tuples(st.sampled_from(["amd-", "rec-"]), ARGS))
    | st.tuples(st.just("played"), st.integers(0, 4))
    | st.tuples(st.just("resync"), st.builds(lambda state: Channel(CHANNEL, state=state), STATES))
    | st.tuples(st.sampled_from(["play", "stop", "transfer", "hang_up", "responded", "recorded", "turn"]), st.none())
    # Rare, or nothing would happen before it.
    | st.tuples(st.just("event"), END)
    | st.tuples(st.sampled_from(["resync", "lost"]), st.none()),
    max_size=25,
)


async def take(leg, node, what, value):
    match what:
        case "event":
            leg.on_event(value)
        case "side":
            leg.on_side_channel(value[0], side_event(value[0], *value[1]))
        case "played":
            leg.on_played(f"{CHANNEL}-p{value}")
        case "resync":
            node.spawn(leg.resync(value))
        case "lost":
            leg.lost("gone")
        case "responded":
            leg.responded()
        case "recorded":
            leg.on_recorded()
        case "play":
            node.spawn(leg.play(Prompt("k", b"")))
        case "stop":
            node.spawn(leg.stop_playing())
        case "transfer":
            node.spawn(leg.transfer("123"))
        case "hang_up":
            node.spawn(leg.hang_up())
    if what == "turn":
        await asyncio.sleep(0)


@given(STEPS, st.booleans(), st.booleans(), st.sampled_from([(), ("DELETE",), ("POST",), ("POST", "DELETE")]))
def test_one_end_and_it_is_last_and_nothing_of_a_conversation_before_the_answer(steps, record, detect, refuses):
    async def story():
        node = FakeNode()
        node.refuses = refuses
        leg = leg_at(node, record_to="/r.wav" if record else "", detect_machine=detect)
        for what, value in steps:
            await take(leg, node, what, value)
        leg.on_event(event("ChannelDestroyed", cause=16))
        leg.on_recorded()
        await node.settle()
        leg.on_event(event("StasisStart"))
        await node.settle()
        events = told(leg)
        assert [type(one) for one in events].count(Ended) == 1
        assert isinstance(events[-1], Ended)
        assert node.forgotten == [7]
        kinds = [type(one) for one in events]
        for once in (Answered, MachineDetected):
            assert kinds.count(once) <= 1
        for later in (KeyPressed, PromptFinished):
            if later in kinds:
                assert Answered in kinds[: kinds.index(later)]
        assert (events[-1].hung_up_by is not None) == (Answered in kinds)
        assert kinds.count(PromptFinished) <= sum(what == "play" for what, _ in steps)

    original = leg_module.RECORDED_SECONDS
    leg_module.RECORDED_SECONDS = 0.001  # hypothesis and a fixture per example do not go together
    try:
        asyncio.run(story())
    finally:
        leg_module.RECORDED_SECONDS = original
