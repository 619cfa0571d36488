"""Blind transfer and the longest duration of the embedded engine, against a scripted peer on loopback."""

from __future__ import annotations

import itertools

import pytest

from ringback.clock import RealClock
from ringback.telephony.port import Answered, Ended, HungUpBy, Prompt, PromptFinished, Ringing, Transferred
from ringback.telephony.sip.engine import available
from tests.telephony.sip_peer import Script, SipPeer, end_of, events_until, next_event, order_to, pcm, tone

pytestmark = [
    pytest.mark.sip,
    pytest.mark.enable_socket,
    pytest.mark.skipif(available() is not None, reason="no embedded SIP engine on this platform"),
]
call_ids = itertools.count(1)
GONE_OVER = Ended(sip_code=200, hung_up_by=HungUpBy.RINGBACK, reason="transferred")


@pytest.fixture
def story(runner, engine):
    """Runs ``story(async function of a peer, the script of its callees)`` and checks that no call is left behind."""

    def run(what, script):
        async def with_peer():
            async with SipPeer(default=script).listening() as peer:
                await what(peer)
            assert engine.free_lines() == 100

        runner.run(with_peer())

    return run


async def answered_call(engine, peer):
    leg = await engine.dial(order_to(peer, "1000", next(call_ids), user="trunk", password="secret"))
    await events_until(leg, Answered)
    return leg, peer.calls[0]


def test_a_transfer_that_the_far_side_reports_done(story, engine):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        await leg.transfer("+4930123456")
        assert await next_event(leg) == Transferred(accepted=True, sip_code=200)
        assert await next_event(leg) == GONE_OVER
        refer = await call.wait_for("REFER")
        assert refer.headers["refer-to"].strip("<>") == f"sip:+4930123456@127.0.0.1:{peer.port}"
        await call.wait_for("BYE")
        assert call.count("REFER") == 1
        await leg.transfer("+4930123456")  # on an ended call: nothing

    story(what, Script())


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (Script(refer=603), 603),
        (Script(refer=405), 405),
        (Script(reports=("100 Trying", "486 Busy Here")), 486),
        (Script(reports=("503 Service Unavailable",)), 503),
    ],
)
def test_a_transfer_that_is_refused_leaves_the_call_up(story, engine, script, code):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        for times in (1, 2):
            await leg.transfer("100")
            assert await next_event(leg) == Transferred(accepted=False, sip_code=code)
            assert call.count("REFER") == times
        await leg.play(Prompt("tone", pcm(tone(0.1))))
        assert await next_event(leg) == PromptFinished()
        assert call.count("BYE") == 0
        await leg.hang_up()
        assert (await end_of(leg)).reason == "hung up"

    story(what, script)


@pytest.mark.parametrize("reports", [(), ("100 Trying",)])
def test_a_trunk_that_takes_the_refer_and_says_bye(story, engine, reports):
    async def what(peer):
        leg, _ = await answered_call(engine, peer)
        await leg.transfer("100")
        assert await next_event(leg) == Transferred(accepted=True, sip_code=202)
        assert await next_event(leg) == GONE_OVER

    story(what, Script(reports=reports, bye_after_refer=True))


def test_the_callee_hangs_up_before_the_trunk_answers(story, engine):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        await leg.transfer("100")
        await call.wait_for("REFER")
        call.hang_up()
        assert await next_event(leg) == Transferred(accepted=False)
        assert (await end_of(leg)).hung_up_by is HungUpBy.CALLEE

    story(what, Script(refer=None))


def test_we_hang_up_while_the_target_rings(story, engine):
    async def what(peer):
        leg, call = await answered_call(engine, peer)
        await leg.transfer("100")
        await call.wait_for("REFER")
        await leg.hang_up()
        assert await next_event(leg) == Transferred(accepted=False, sip_code=202)
        assert (await end_of(leg)).reason == "hung up"
        await call.wait_for("BYE")

    story(what, Script(reports=("180 Ringing", "183 Session Progress")))


def test_no_transfer_before_the_answer(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await events_until(leg, Ringing)
        await leg.transfer("100")
        await leg.hang_up()
        assert Transferred not in {type(event) for event in await events_until(leg, Ended)}
        assert peer.calls[0].count("REFER") == 0

    story(what, Script(final=None))


def test_a_call_that_outlives_its_dialler_is_hung_up(story, engine):
    async def what(peer):
        began = RealClock().monotonic()
        leg = await engine.dial(order_to(peer, "1000", next(call_ids), most_seconds=0.5))
        ended = await end_of(leg)
        assert (ended.reason, ended.hung_up_by) == ("longest duration", HungUpBy.RINGBACK)
        assert RealClock().monotonic() - began >= 0.5
        await peer.calls[0].wait_for("BYE")

    story(what, Script())


def test_a_call_that_rings_on_is_given_up(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids), most_seconds=0.2))
        assert (await end_of(leg)).sip_code == 487
        await peer.calls[0].wait_for("CANCEL")

    story(what, Script(final=None))
