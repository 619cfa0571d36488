"""Several Asterisks as one pool: who gets a call, what became of one, and the end of all."""

from __future__ import annotations

import asyncio

import pytest

from ringback.clock import RealClock
from ringback.telephony.asterisk import engine as engine_module
from ringback.telephony.asterisk import keeper as keeper_module
from ringback.telephony.asterisk.engine import AsteriskEngine
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import Answered, EngineUnavailable, HungUpBy
from tests.telephony.asterisk.engines import channel, events_of, make_engine, order, run, until
from tests.telephony.asterisk.fake_ari import FakeAri, Fault

pytestmark = pytest.mark.enable_socket


def test_calls_are_divided_by_weight_up_to_the_lines():
    async def story(engine, first, second):
        for call_id in range(8):
            await engine.dial(order(call_id))
        assert [node.live_calls for node in engine.nodes] == [6, 2]
        assert engine.free_lines() == 2
        for call_id in range(8, 10):
            await engine.dial(order(call_id))
        assert [node.live_calls for node in engine.nodes] == [6, 4]
        with pytest.raises(EngineUnavailable, match="all lines of Asterisk are in use"):
            await engine.dial(order(10))

    run(story, nodes=2, options=[{"weight": 3, "lines": 6}, {"lines": 4}])


def test_a_node_that_is_drained_keeps_its_calls_and_gets_none():
    async def story(engine, first, second):
        one, other = (node.address.name for node in engine.nodes)
        leg = await engine.dial(order(1))
        engine.drain("nobody:1", on=True)
        engine.drain(one, on=True)
        for call_id in range(2, 5):
            await engine.dial(order(call_id))
        assert [node.live_calls for node in engine.nodes] == [1, 3]
        assert engine.free_lines() == 297
        await first.answer(channel(1))
        assert await leg.next_event() == Answered()
        assert engine.trouble() == ""
        engine.drain(other, on=True)
        assert engine.trouble() == f"no Asterisk takes calls: {one}: is being drained; {other}: is being drained"
        with pytest.raises(EngineUnavailable, match="drained"):
            await engine.dial(order(9))
        assert [(state.name, state.draining, state.live_calls, state.placed) for state in engine.node_states()] == [
            (one, True, 1, 1),
            (other, True, 3, 3),
        ]
        engine.drain(one, on=False)
        await engine.dial(order(9))
        assert [node.live_calls for node in engine.nodes] == [2, 3]

    run(story, nodes=2)


def test_the_same_call_is_not_placed_at_two_nodes_at_once():
    async def story(engine, first, second):
        done = await asyncio.gather(*(engine.dial(order(1)) for _ in range(5)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in done) == ["AsteriskLeg"] + ["ValueError"] * 4
        assert len(first.of("POST /channels") + second.of("POST /channels")) == 1

    run(story, nodes=2)


# --- settling ---


def test_what_an_earlier_process_left_is_settled_and_hung_up():
    async def story(engine, first, second):
        second.channels.update({channel(1): "Up", channel(2): "Ringing", channel(10): "Up"})
        up, ringing, gone = [await engine.settle(call_id, of=engine.known_as) for call_id in (1, 2, 3)]
        assert (up.sip_code, up.hung_up_by, up.engine_failed) == (200, HungUpBy.RINGBACK, False)
        assert (ringing.sip_code, ringing.hung_up_by) == (487, None)
        assert gone is None
        assert set(second.channels) == {channel(10)}

    run(story, nodes=2)


def test_a_node_that_is_away_or_says_nothing_does_not_hold_the_settling_up():
    async def story(engine, first, second):
        second.channels[channel(1)] = "Up"
        await first.shut()
        await until(lambda: not engine.nodes[0].connected)
        assert (await engine.settle(1, of=engine.known_as)).sip_code == 200
        second.fail("GET /channels", Fault(close=True), times=2)
        second.channels[channel(2)] = "Up"
        assert await engine.settle(2, of=engine.known_as) is None
        await first.open()

    run(story, nodes=2)


# --- start and stop ---


def test_a_node_that_is_not_there_at_the_start_joins_when_it_comes(monkeypatch):
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_SECONDS", 0.02)

    async def story():
        ari = FakeAri()
        await ari.open()
        await ari.shut()
        engine = make_engine(ari.address)
        await engine.start()
        assert engine.trouble() == f"no Asterisk is well: {ari.address.name}: connection refused"
        with pytest.raises(EngineUnavailable, match="no Asterisk is well"):
            await engine.dial(order(1))
        await ari.open()
        await until(engine.free_lines)
        await engine.dial(order(1))
        await engine.stop()
        assert ari.channels == {}
        await ari.shut()

    asyncio.run(story())


def test_stopping_hangs_up_every_call_and_tells_every_end(tmp_path):
    legs = []

    async def story(engine, first, second):
        for call_id in range(6):
            legs.append(await engine.dial(order(call_id, record_to=str(tmp_path / f"{call_id}.wav"))))
            for ari in (first, second):
                if channel(call_id) in ari.channels and call_id % 2:
                    await ari.answer(channel(call_id))
                    await ari.wait(f"POST /channels/rec-{channel(call_id)}/record")
                    ari.recordings[channel(call_id)] = b"RIFF"
                    await ari.feed("RecordingFinished", recording={"name": channel(call_id)})
        await engine.stop()
        assert {one for ari in (first, second) for one in ari.channels if not one.startswith("rec-")} == set()
        for leg in legs:
            end = (await events_of(leg))[-1]
            assert not end.engine_failed
            assert end.recorded is bool(leg.call_id % 2)
        assert engine.nodes == []
        assert engine.free_lines() == 0
        await legs[0].hang_up()  # on a call that has ended: nothing

    run(story, nodes=2)


def test_stopping_does_not_wait_for_ever_and_tells_what_is_not_known(monkeypatch):
    monkeypatch.setattr(engine_module, "LAST_CALLS_SECONDS", 0.1)

    async def story(engine, ari):
        leg = await engine.dial(order(1))
        ari.fail("DELETE /channels", Fault(500), times=100)
        await engine.stop()
        (end,) = await events_of(leg)
        assert end.engine_failed
        assert end.reason == "the connection to Asterisk was closed"

    run(story)


def test_no_asterisk_and_no_folder_are_told(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        AsteriskEngine(RealClock(), [], SoundFolder(tmp_path))

    async def story():
        (tmp_path / "file").write_text("")
        async with FakeAri() as ari:
            engine = AsteriskEngine(RealClock(), [ari.address], SoundFolder(tmp_path / "file"))
            with pytest.raises(EngineUnavailable, match="prompts for Asterisk cannot be written"):
                await engine.start()
            await engine.stop()

    asyncio.run(story())
