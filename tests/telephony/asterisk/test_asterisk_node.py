"""Placing calls at an Asterisk: once, whatever becomes of the request."""

from __future__ import annotations

import asyncio
import time

import pytest

from ringback.telephony.asterisk import client as client_module
from ringback.telephony.asterisk import keeper as keeper_module
from ringback.telephony.asterisk import node as node_module
from ringback.telephony.port import (
    Answered,
    Ended,
    EngineUnavailable,
    HungUpBy,
    Prompt,
    PromptFinished,
    Ringing,
    Trying,
)
from tests.telephony.asterisk.engines import channel, events_of, order, run, until
from tests.telephony.asterisk.fake_ari import Fault

pytestmark = pytest.mark.enable_socket


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(keeper_module, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "CANARY_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_SECONDS", 0.01)


def test_a_call_from_its_request_to_its_end():
    async def story(engine, ari):
        leg = await engine.dial(order(1, most_seconds=90.2))
        body = ari.of("POST /channels")[0].body
        assert body["endpoint"].startswith("PJSIP/ringback-")
        assert body["endpoint"].endswith("/sip:4917@10.0.0.9:5060")
        assert (body["app"], body["channelId"], body["callerId"], body["timeout"]) == (
            "ringback",
            channel(1),
            "<4930>",
            91,
        )
        assert body["variables"] == {
            "PJSIP_HEADER(add,X-Ringback-Call)": "1",
            "PJSIP_HEADER(add,X-Ringback-Task)": "7",
            "TIMEOUT(absolute)": "91",
        }
        assert engine.free_lines() == 299
        await ari.feed("Dial", channel(1), dialstatus="RINGING")
        await ari.answer(channel(1))
        assert [await leg.next_event(), await leg.next_event()] == [Ringing(), Answered()]
        await leg.play(Prompt("k", b"ab"))
        await ari.feed("PlaybackStarted", playback={"id": channel(1) + "-p1", "state": "playing"})  # nobody asked
        await ari.feed("PlaybackFinished", playback={"id": channel(1) + "-p1", "state": "done"})
        assert await leg.next_event() == PromptFinished()
        await leg.hang_up()
        (end,) = await events_of(leg)
        assert (end.hung_up_by, end.sip_code) == (HungUpBy.RINGBACK, 200)
        assert engine.free_lines() == 300

    run(story)


def test_a_limit_of_less_than_a_second_is_not_none():
    async def story(engine, ari):
        await engine.dial(order(1, most_seconds=0.2))
        assert ari.of("POST /channels")[0].body["timeout"] == 1

    run(story)


@pytest.mark.parametrize("after", [True, False], ids=["processed", "not processed"])
def test_a_request_without_an_answer_is_never_sent_again_and_asked_about(after):
    async def story(engine, first, second):
        first.fail("POST /channels", Fault(close=True, after=after))
        leg = await engine.dial(order(1))
        if after:
            assert not leg.doubtful or leg in engine.nodes[0].legs
            await first.feed("ChannelDestroyed", channel(1), cause=17)
            assert (await events_of(leg))[-1].engine_failed is False
        else:
            (end,) = await events_of(leg)
            assert (end.engine_failed, end.sip_code) == (True, None)
        assert len(first.of("POST /channels")) == 1
        assert second.of("POST /channels") == []

    run(story, nodes=2, options=[{"weight": 10}, {}])


def test_a_call_in_doubt_that_lives_is_followed_on():
    async def story(engine, ari):
        ari.dials = False  # its Dial event was lost
        ari.fail("POST /channels", Fault(close=True, after=True))
        leg = await engine.dial(order(1))
        await until(leg.placed.is_set)
        assert not leg.doubtful
        await ari.answer(channel(1))
        assert await leg.next_event() == Answered()
        await leg.hang_up()

    run(story)


def test_an_asterisk_that_does_not_answer_a_call_gets_no_more_until_it_is_known_to_work(monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 0.3)

    async def story(engine, ari):
        ari.fail("POST /channels", Fault(hang=True))
        leg = await engine.dial(order(1))
        assert "no answer to a call" in engine.nodes[0].trouble
        with pytest.raises(EngineUnavailable, match="no Asterisk is well"):
            await engine.dial(order(2))
        assert (await events_of(leg))[-1].engine_failed
        await until(engine.free_lines)

    run(story)


def test_what_is_not_sent_goes_to_another_node():
    async def story(engine, first, second):
        await first.shut()
        engine.nodes[0].get_well()  # not noticed yet
        await engine.dial(order(1))
        assert len(second.of("POST /channels")) == 1
        assert [node.live_calls for node in engine.nodes] == [0, 1]
        second.fail("POST /channels", Fault(500), times=2)
        engine.nodes[0].get_well()
        with pytest.raises(EngineUnavailable, match="refused the call: 500 made up"):
            await engine.dial(order(2))
        assert len(second.of("POST /channels")) == 3  # the trunk was made again between
        assert [node.live_calls for node in engine.nodes] == [0, 1]
        await first.open()

    run(story, nodes=2)


def test_a_trunk_that_cannot_be_made_sends_nothing():
    async def story(engine, ari):
        ari.fail("PUT /asterisk", Fault(403))
        with pytest.raises(EngineUnavailable, match="took no trunk: 403"):
            await engine.dial(order(1))
        assert ari.of("POST /channels") == []
        assert engine.nodes[0].live_calls == 0

    run(story)


def test_an_asterisk_that_forgot_its_trunks_gets_them_again():
    async def story(engine, ari):
        await engine.dial(order(1))
        ari.endpoints.clear()
        leg = await engine.dial(order(2))
        assert [one.body["channelId"] for one in ari.of("POST /channels")] == [channel(1), channel(2), channel(2)]
        assert leg.placed.is_set()

    run(story)


def test_a_call_that_is_up_is_not_placed_again_and_nothing_is_kept_of_the_try():
    async def story(engine, ari):
        leg = await engine.dial(order(1))
        with pytest.raises(ValueError, match="call 1 is up already"):
            await engine.dial(order(1))
        ari.channels[channel(2)] = "Up"  # an earlier process
        with pytest.raises(ValueError, match="call 2 is up already"):
            await engine.dial(order(2))
        assert [live.call_id for live in engine.nodes[0].legs] == [leg.call_id]

    run(story)


def test_an_order_that_cannot_stand_in_a_request_is_refused_before_anything():
    async def story(engine, ari):
        for bad in ({"callee": "1\r\nX: y"}, {"caller_id": '1" <sip:x>'}, {"callee": ""}):
            with pytest.raises(ValueError, match="must be"):
                await engine.dial(order(1, **bad))
        assert engine.nodes[0].live_calls == 0
        assert ari.of("POST") == []

    run(story)


def test_a_call_that_is_too_late_does_not_leave(monkeypatch):
    async def story(engine, ari):
        with pytest.raises(EngineUnavailable, match="too late"):
            await engine.dial(order(1, leave_by=time.monotonic() - 0.001))
        assert ari.of("POST /channels") == []
        leg = await engine.dial(order(1, leave_by=time.monotonic() + 5))
        assert leg.call_id == 1

    run(story)


def test_accepted_and_nothing_left_makes_a_node_ill(monkeypatch):
    monkeypatch.setattr(node_module, "PLACED_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "CANARY_EVERY_SECONDS", 60)

    async def story(engine, ari):
        ari.dials = False
        leg = await engine.dial(order(1))
        assert "nothing left" in engine.nodes[0].trouble
        assert engine.free_lines() == 0
        await leg.hang_up()
        assert isinstance((await events_of(leg))[-1], Ended)

    run(story)


@pytest.mark.parametrize("when", ["under way", "accepted"])
def test_a_dial_that_is_cancelled_leaves_no_call(when, monkeypatch):
    monkeypatch.setattr(node_module, "PLACED_SECONDS", 60)

    async def story(engine, ari):
        ari.dials = False
        if when == "under way":
            ari.fail("POST /channels", Fault(hang=True))
        dialling = asyncio.create_task(engine.dial(order(1)))
        if when == "under way":
            await ari.wait("POST /channels")
        else:
            await ari.until(lambda: ari.channels)
            await until(lambda: engine.nodes[0].placed)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        if when == "under way":
            await ari.wait("DELETE")
            ari.channels[channel(1)] = "Ringing"  # it got through after the hang-up
        await until(lambda: not ari.channels and not engine.nodes[0].live_calls)

    run(story)


def test_a_re_sync_does_not_lose_a_call_whose_request_is_under_way():
    async def story(engine, ari):
        real = engine.nodes[0].client.request
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(method, path, **parts):
            if path == "/channels" and method == "POST" and "PJSIP" in parts["body"]["endpoint"]:
                arrived.set()
                await go.wait()
            return await real(method, path, **parts)

        engine.nodes[0].client.request = slow
        dialling = asyncio.create_task(engine.dial(order(1)))
        await arrived.wait()
        connections = ari.connections
        await ari.drop()
        await until(lambda: ari.connections > connections and not engine.nodes[0].trouble)
        go.set()
        leg = await dialling
        await ari.answer(channel(1))
        assert await leg.next_event() == Answered()
        await leg.hang_up()

    run(story)


def test_a_hang_up_without_an_answer_is_sent_again_on_the_same_connection():
    async def story(engine, ari):
        leg = await engine.dial(order(1))
        ari.fail("DELETE /channels", Fault(500), times=3)
        await leg.hang_up()
        (end,) = await events_of(leg)
        assert not end.engine_failed
        assert ari.channels == {}
        assert ari.connections == 1

    run(story)


def test_a_response_that_is_not_told_is_asked_for():
    async def story(engine, ari):
        leg = await engine.dial(order(1))
        await ari.wait(f"GET /channels/{channel(1)}/variable")
        assert leg.silent
        ari.responded.add(channel(1))
        assert await leg.next_event() == Trying()

    run(story)


def test_a_prompt_that_asterisk_cannot_play_is_told_as_finished(monkeypatch):
    monkeypatch.setattr(node_module, "HANG_UP_FOLLOWS_SECONDS", 0.02)

    async def story(engine, ari):
        leg = await engine.dial(order(1))
        await ari.answer(channel(1))
        assert await leg.next_event() == Answered()
        await leg.play(Prompt("k", b"ab"))
        await ari.feed("PlaybackFinished", playback={"id": channel(1) + "-p1", "state": "failed"})
        assert await leg.next_event() == PromptFinished()

    run(story)


@pytest.mark.parametrize("works", [True, False])
def test_a_recording_is_fetched_and_removed_there(tmp_path, works):
    path = tmp_path / "calls" / "r.wav"

    async def story(engine, ari):
        leg = await engine.dial(order(1, record_to=str(path)))
        await ari.answer(channel(1))
        await ari.wait(f"POST /channels/rec-{channel(1)}/record")
        if works:
            ari.recordings[channel(1)] = b"RIFF" + bytes(200_000)
        await ari.feed("RecordingFinished", recording={"name": channel(1)})
        await ari.end(channel(1))
        end = (await events_of(leg))[-1]
        assert end.recorded is works
        assert path.exists() is works
        if works:
            assert path.stat().st_size == 200_004
            assert ari.recordings == {}

    run(story)


def test_what_breaks_beside_everything_else_is_logged(capsys):
    async def story(engine, ari):
        async def breaks():
            raise RuntimeError("a bug")

        done = asyncio.Event()
        engine.nodes[0].spawn(breaks(), then=done.set)
        await done.wait()

    run(story)
    assert "a bug" in capsys.readouterr().out
