"""A real Asterisk that is killed, frozen and restarted under calls."""

from __future__ import annotations

import asyncio
import itertools
import signal

import pytest

from ringback.telephony.asterisk import client as client_module
from ringback.telephony.asterisk import keeper as keeper_module
from ringback.telephony.port import Answered, EngineUnavailable, Ringing
from tests.telephony.asterisk.engines import until
from tests.telephony.asterisk.real import only, order, run
from tests.telephony.sip_peer import Script, end_of, events_until

pytestmark = [pytest.mark.sip, pytest.mark.enable_socket]
call_ids = itertools.count(1)
SCRIPTS = {"1000": Script(), "1001": Script(final=None), "1002": Script(final=486)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(keeper_module, "CANARY_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(keeper_module, "LONGEST_PAUSE_SECONDS", 0.3)


async def well(engine, number=0):
    await until(lambda: not engine.nodes[number].trouble, seconds=30)


def test_killed_and_restarted_under_calls(asterisk):
    async def story(engine, peer):
        answered = await engine.dial(order(peer, "1000", next(call_ids), user="alice", password="secret"))
        await events_until(answered, Answered)
        ringing = await engine.dial(order(peer, "1001", next(call_ids)))
        await events_until(ringing, Ringing)
        await asyncio.to_thread(asterisk.kill)
        await until(lambda: engine.nodes[0].trouble)
        with pytest.raises(EngineUnavailable, match="no Asterisk is well"):
            await engine.dial(order(peer, "1000", next(call_ids)))
        await asyncio.to_thread(asterisk.start)
        ends = [await end_of(leg, within=30) for leg in (answered, ringing)]
        assert [end.engine_failed for end in ends] == [True, True]
        assert [end.hung_up_by is not None for end in ends] == [True, False]
        await well(engine)
        # The trunks are made again, with and without credentials.
        for parts in ({"user": "alice", "password": "secret"}, {}):
            leg = await engine.dial(order(peer, "1000", next(call_ids), **parts))
            await events_until(leg, Answered)
            await leg.hang_up()
            assert not (await end_of(leg)).engine_failed
        assert len(peer.calls) == 4

    run(story, asterisk, scripts=SCRIPTS)


def test_the_event_stream_breaks_and_calls_go_on(asterisk, monkeypatch):
    async def story(engine, peer):
        stays = await engine.dial(order(peer, "1000", next(call_ids)))
        await events_until(stays, Answered)
        ends = await engine.dial(order(peer, "1000", next(call_ids)))
        await events_until(ends, Answered)
        # Another connection under our name takes the events away, and is gone again.
        async with engine.nodes[0].client.events("ringback"):
            await until(lambda: engine.nodes[0].trouble)
            peer.calls[1].hang_up()
            await peer.calls[1].wait_for_response(200)
            await only(engine, stays.channel_id)
        await well(engine)
        assert (await end_of(ends)).engine_failed
        peer.calls[0].hang_up()
        end = await end_of(stays)
        assert not end.engine_failed

    monkeypatch.setattr(keeper_module, "REPLACED_PAUSE_SECONDS", 0.5)
    run(story, asterisk, scripts=SCRIPTS)


def test_one_of_two_dies_and_the_other_takes_the_calls(two_asterisks):
    async def story(engine, peer):
        legs = [await engine.dial(order(peer, "1000", next(call_ids))) for _ in range(2)]
        for leg in legs:
            await events_until(leg, Answered)
        assert [node.live_calls for node in engine.nodes] == [1, 1]
        await asyncio.to_thread(two_asterisks[0].kill)
        # At once, whether it has been noticed or not.
        for _ in range(4):
            leg = await engine.dial(order(peer, "1000", next(call_ids)))
            if leg in engine.nodes[1].legs:
                await events_until(leg, Answered)
                legs.append(leg)
        assert len(legs) >= 5
        await until(lambda: engine.nodes[0].trouble)
        assert engine.free_lines() == 300 - engine.nodes[1].live_calls
        for leg in legs[1:]:
            await leg.hang_up()
            assert not (await end_of(leg)).engine_failed

    run(story, *two_asterisks, scripts=SCRIPTS)


def test_a_frozen_asterisk_is_noticed_and_gets_calls_again(two_asterisks, monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 1.0)
    process = two_asterisks[0].process

    async def story(engine, peer):
        leg = await engine.dial(order(peer, "1000", next(call_ids)))
        await events_until(leg, Answered)
        assert leg in engine.nodes[0].legs
        process.send_signal(signal.SIGSTOP)
        try:
            await until(lambda: engine.nodes[0].trouble)
            other = await engine.dial(order(peer, "1000", next(call_ids)))
            assert other in engine.nodes[1].legs
            await leg.hang_up()  # cannot get through
            assert leg.doubtful
        finally:
            process.send_signal(signal.SIGCONT)
        await well(engine)
        await end_of(leg, within=30)
        await peer.calls[0].wait_for("BYE")
        again = await engine.dial(order(peer, "1000", next(call_ids)))
        assert again in engine.nodes[0].legs
        await events_until(again, Answered)

    run(story, *two_asterisks, scripts=SCRIPTS)


def test_calls_sent_into_a_freeze_are_never_sent_again_and_none_is_left_over(two_asterisks, monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 1.0)
    process = two_asterisks[0].process

    async def story(engine, peer):
        # The trunk is known, so the request for the call is what gets no answer.
        await end_of(await engine.dial(order(peer, "1002", next(call_ids))))
        engine.nodes[0].settled = True
        call_id = next(call_ids)
        process.send_signal(signal.SIGSTOP)
        try:
            leg = await engine.dial(order(peer, "1000", call_id))
            assert leg.doubtful
            assert leg in engine.nodes[0].legs
            assert engine.nodes[0].trouble
            await until(lambda: not engine.nodes[0].connected)
        finally:
            process.send_signal(signal.SIGCONT)
        await well(engine)
        await until(lambda: leg.placed.is_set() or leg not in engine.nodes[0].legs)
        await leg.hang_up()
        await end_of(leg)
        await only(engine)
        mine = [call for call in peer.calls if call.invite.headers["x-ringback-call"] == str(call_id)]
        assert len(mine) <= 1
        for call in mine:
            assert call.count("BYE") + call.count("CANCEL") == 1

    run(story, *two_asterisks, scripts=SCRIPTS)
