"""Keeping an Asterisk connected: health, re-syncs after a gap, and channels that nobody follows."""

from __future__ import annotations

import asyncio

import pytest

from ringback.telephony.asterisk import keeper as keeper_module
from ringback.telephony.port import PHONE_LEG, Answered, EngineUnavailable, HungUpBy, Prompt, PromptFinished
from tests.telephony.asterisk.engines import channel, events_of, order, run, until
from tests.telephony.asterisk.fake_ari import Fault

pytestmark = pytest.mark.enable_socket


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(keeper_module, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "CANARY_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "CANARY_SECONDS", 0.2)
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(keeper_module, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "REPLACED_PAUSE_SECONDS", 0.3)


async def answered(engine, ari, call_id):
    leg = await engine.dial(order(call_id))
    await ari.answer(channel(call_id))
    assert await leg.next_event() == Answered()
    return leg


async def away_and_back(engine, ari, meanwhile):
    """The event stream breaks; ``meanwhile`` happens before it is back."""
    connections = ari.connections
    ari.fail("GET /events", Fault(503), times=2)
    await ari.drop()
    await until(lambda: engine.nodes[0].trouble)
    await meanwhile()
    await until(lambda: ari.connections > connections and not engine.nodes[0].trouble)


# --- re-sync ---


def test_after_a_gap_every_call_knows_what_has_become_of_it():
    async def story(engine, ari):
        lives, gone, unanswered, plays = [
            await answered(engine, ari, 1),
            await answered(engine, ari, 2),
            await engine.dial(order(3)),
            await answered(engine, ari, 4),
        ]
        for leg in (lives, plays):
            await leg.play(Prompt("k", b"ab"))

        async def meanwhile():
            del ari.channels[channel(2)]
            ari.channels[channel(3)] = "Up"
            ari.playbacks.remove(f"{channel(4)}-p1")

        await away_and_back(engine, ari, meanwhile)
        (end,) = await events_of(gone)
        assert (end.engine_failed, end.hung_up_by) == (True, HungUpBy.RINGBACK)
        assert await unanswered.next_event() == Answered()
        assert await plays.next_event() == PromptFinished()
        assert lives._events.empty()
        # Its events come again.
        await ari.feed("ChannelDtmfReceived", channel(1), digit="1")
        assert type(await lives.next_event()).__name__ == "KeyPressed"

    run(story)


def test_a_hang_up_that_could_not_be_sent_is_sent_after_the_gap():
    async def story(engine, ari):
        leg = await answered(engine, ari, 1)

        async def meanwhile():
            ari.fail("DELETE /channels", Fault(close=True), times=2)
            await leg.hang_up()
            assert channel(1) in ari.channels

        await away_and_back(engine, ari, meanwhile)
        (end,) = await events_of(leg)
        assert end.hung_up_by is HungUpBy.RINGBACK
        assert ari.channels == {}

    run(story)


def test_trunks_are_made_again_after_a_restart():
    async def story(engine, ari):
        leg = await answered(engine, ari, 1)
        await ari.restart()
        assert (await events_of(leg))[-1].engine_failed
        await until(lambda: not engine.nodes[0].trouble)
        again = await answered(engine, ari, 2)
        assert len(ari.endpoints) == 1
        await again.hang_up()

    run(story)


def test_calls_of_an_asterisk_that_stays_away_are_told_as_lost(monkeypatch):
    monkeypatch.setattr(keeper_module, "LOST_AFTER_SECONDS", 0.3)

    async def story(engine, ari):
        leg = await answered(engine, ari, 1)
        await ari.shut()
        (end,) = await events_of(leg)
        assert end.engine_failed
        assert "has been away for" in end.reason
        assert engine.nodes[0].live_calls == 0
        # It comes back with the call still up: nobody follows it.
        engine.nodes[0].settled = True
        await ari.open()
        await until(lambda: not ari.channels)

    run(story)


# --- health ---


@pytest.mark.parametrize(
    ("cause", "says"),
    [(None, "did not come back"), (0, "no ringback-canary"), (3, "no ringback-canary")],
    ids=["never back", "no context", "no extension"],
)
def test_an_asterisk_whose_test_call_fails_gets_no_calls_until_it_works(cause, says):
    def prepare(ari):
        ari.canary_cause = cause

    async def story(engine, ari):
        assert says in engine.nodes[0].trouble
        assert engine.free_lines() == 0
        with pytest.raises(EngineUnavailable, match=says):
            await engine.dial(order(1))
        ari.canary_cause = 17
        await until(engine.free_lines)
        ari.canary_cause = cause
        await until(lambda: not engine.free_lines())
        assert says in engine.nodes[0].trouble

    run(story, prepare=prepare)


def test_a_test_call_that_hangs_is_hung_up():
    def prepare(ari):
        ari.canary_cause = None

    async def story(engine, ari):
        # The fake keeps no channel of it, so the first one's id is all that can be looked at.
        assert (await ari.wait("DELETE /channels/ringback-canary-")).path.endswith("-000000000001")

    run(story, prepare=prepare)


@pytest.mark.parametrize("line", ["GET /events", "PUT /applications", "POST /channels!"])
def test_an_asterisk_that_refuses_is_ill_with_its_words(line):
    def prepare(ari):
        ari.fail(line, Fault(500), times=1000)

    async def story(engine, ari):
        assert "500" in engine.nodes[0].trouble
        assert engine.free_lines() == 0

    run(story, prepare=prepare)


def test_a_bug_of_ours_makes_the_node_ill_and_it_is_tried_again(capsys):
    async def story(engine, ari):
        node = engine.nodes[0]
        real = node.hand_out

        def breaks(event):
            node.hand_out = real
            raise KeyError("a bug")

        node.hand_out = breaks
        leg = await engine.dial(order(1))  # its first event
        await until(lambda: ari.connections == 2 and not node.trouble)
        await ari.answer(channel(1))
        assert await leg.next_event() == Answered()

    run(story)
    assert "a bug" in capsys.readouterr().out


def test_a_text_that_is_no_event_makes_a_new_connection():
    async def story(engine, ari):
        for stream in ari._streams:
            await stream.send_str("no json")
        await until(lambda: ari.connections == 2 and not engine.nodes[0].trouble)

    run(story)


def test_it_is_ill_from_the_moment_that_the_connection_fails():
    async def story(engine, ari):
        await ari.shut()
        await until(lambda: engine.free_lines() == 0)
        assert not engine.nodes[0].connected
        await ari.open()
        await until(lambda: engine.free_lines() == 300)

    run(story)


def test_a_name_that_another_program_takes_is_not_fought_for():
    async def story(engine, ari):
        node = engine.nodes[0]
        node.settled = True
        ari.channels[channel(9)] = "Up"  # the other program's
        before = ari.connections
        await ari.feed("ApplicationReplaced")
        await until(lambda: node.trouble)
        assert "another program uses the name 'ringback'" in node.trouble
        assert ari.connections == before
        assert not node.settled
        await until(lambda: not node.trouble)  # in the end, when the name may be free
        assert ari.connections == before + 1
        assert channel(9) in ari.channels

    run(story)


# --- channels that nobody follows ---


def test_the_sweep_hangs_up_ours_that_nobody_follows_and_nothing_else():
    others = [
        "1700000000.5",
        "ringback-5",
        "ringback2-" + "5".zfill(16),
        "amd-" + channel(1),
        "ringback-x",
        channel(5) + "0",
    ]

    def prepare(ari):
        for one in (channel(5), channel(6), *others):
            ari.channels[one] = "Up"

    async def story(engine, ari):
        leg = await engine.dial(order(1))
        assert channel(5) in ari.channels  # it may still be settled
        await until(lambda: channel(5) not in ari.channels and channel(6) not in ari.channels)
        canaries = ari.canaries
        assert canaries >= keeper_module.SWEEP_EVERY
        await ari.until(lambda: ari.canaries > canaries + keeper_module.SWEEP_EVERY)
        assert set(ari.channels) == {channel(1), *others}
        assert leg._events.empty()

    run(story, prepare=prepare)


def test_a_call_that_comes_up_after_it_was_told_as_lost_is_hung_up_as_it_begins():
    async def story(engine, ari):
        engine.nodes[0].settled = True
        ari.channels[channel(5)] = "Down"
        await ari.feed("Dial", channel(5), dialstatus="")
        await ari.wait(f"DELETE /channels/{channel(5)}")
        # Its last words are not a beginning, and other channels are others'.
        asked = len(ari.of("DELETE"))
        for one in (channel(6), "x-1", "amd-" + channel(6)):
            await ari.feed("Dial", one, dialstatus="BUSY")
            await ari.feed("ChannelDestroyed", one)
        await ari.feed("StasisStart", "1700000000.5", args=[])
        await ari.feed("Dial", channel(7), dialstatus="")
        await ari.wait(f"DELETE /channels/{channel(7)}")
        assert len(ari.of("DELETE")) == asked + 1

    run(story)


def test_before_an_earlier_process_is_settled_its_calls_are_left_alone():
    async def story(engine, ari):
        ari.channels[channel(5)] = "Ringing"
        await ari.feed("Dial", channel(5), dialstatus="")
        await asyncio.sleep(0)
        end = await engine.settle(5, of=engine.known_as)
        assert end is not None
        # Its own channel once, and that of a phone that it may have been connected with.
        assert [one.path for one in ari.of("DELETE")] == [
            f"/channels/{channel(5)}",
            f"/channels/{channel(PHONE_LEG + 5)}",
        ]

    run(story)
