"""The embedded engine's signalling, against a scripted peer on loopback."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest

from ringback.clock import RealClock
from ringback.telephony.port import (
    Answered,
    EarlyMedia,
    Ended,
    EngineUnavailable,
    HungUpBy,
    KeyPressed,
    Ringing,
    Trying,
)
from ringback.telephony.sip.engine import SipEngine, available
from tests.telephony.sip_peer import (
    Script,
    SipPeer,
    end_of,
    events_until,
    next_event,
    order_to,
)

pytestmark = [
    pytest.mark.sip,
    pytest.mark.enable_socket,
    pytest.mark.skipif(available() is not None, reason="no embedded SIP engine on this platform"),
]
call_ids = itertools.count(1)


def known(events):
    """Without Trying, which is left out when something better is known by the time it is seen."""
    return [event for event in events if event != Trying()]


@pytest.fixture
def story(runner, engine):
    """Runs ``story(scripts, async function of a peer)`` and checks that no call is left behind."""

    def run(what, scripts=None, *, default=None):
        async def with_peer():
            async with SipPeer(scripts, default=default).listening() as peer:
                result = await what(peer)
            assert engine.free_lines() == 100
            return result

        return runner.run(with_peer())

    return run


def test_a_call_is_answered_and_we_hang_up(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "4917000", next(call_ids)))
        assert known(await events_until(leg, Answered)) == [Ringing(), Answered()]
        await leg.hang_up()
        ended = await end_of(leg)
        assert (ended.hung_up_by, ended.sip_code, ended.engine_failed) == (HungUpBy.RINGBACK, 200, False)
        call = await peer.call()
        await call.wait_for("BYE")
        assert [message.method for message in call.messages] == ["INVITE", "ACK", "BYE"]
        await leg.hang_up()  # on an ended call: nothing

    story(what)


def test_the_invite_says_who_calls_whom_and_for_what(story, engine):
    async def what(peer):
        call_id = next(call_ids)
        leg = await engine.dial(order_to(peer, "4917000", call_id, caller_id="+4930-55"))
        invite = (await peer.call()).invite
        assert invite.start == f"INVITE sip:4917000@127.0.0.1:{peer.port} SIP/2.0"
        assert invite.headers["x-ringback-call"] == str(call_id)
        assert invite.headers["x-ringback-task"] == "77"
        assert invite.headers["from"].startswith("<sip:+4930-55@127.0.0.1>;tag=")
        assert re.search(r"m=audio \d+ RTP/AVP 0 8 101\r\n", invite.body)
        await leg.hang_up()
        await end_of(leg)

    story(what)


@pytest.mark.parametrize(
    ("parts", "start"),
    [
        ({"caller_id": ""}, "<sip:anonymous@anonymous.invalid>"),
        ({"caller_id": "", "user": "trunk-7", "password": "x"}, "<sip:trunk-7@127.0.0.1>"),
        ({"caller_id": "", "user": "trunk/7", "password": "x"}, "<sip:anonymous@anonymous.invalid>"),
    ],
)
def test_without_a_caller_id_the_trunks_user_calls_or_nobody(story, engine, parts, start):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "4917000", next(call_ids), **parts))
        assert (await end_of(leg)).sip_code == 486
        assert peer.calls[0].invite.headers["from"].startswith(start)

    story(what, default=Script(final=486))


def test_the_callee_hangs_up_and_says_why(story, engine):
    async def what(peer):
        legs = [await engine.dial(order_to(peer, callee, next(call_ids))) for callee in ("1000", "1001")]
        with_reason, without = [await end_of(leg) for leg in legs]
        assert (with_reason.hung_up_by, with_reason.q850_cause) == (HungUpBy.CALLEE, 31)
        assert (without.hung_up_by, without.q850_cause) == (HungUpBy.CALLEE, None)

    story(
        what,
        {
            "1000": Script(hangs_up_after=0.1, bye_reason='SIP;cause=200, Q.850 ;cause=31;text="x"'),
            "1001": Script(hangs_up_after=0.1),
        },
    )


@pytest.mark.parametrize("code", [404, 480, 486, 488, 500, 503, 600, 603])
def test_a_refusal_is_reported_with_its_code(story, engine, code):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        events = await events_until(leg, Ended)
        assert known(events[:-1]) == []
        assert (events[-1].sip_code, events[-1].q850_cause, events[-1].hung_up_by) == (code, None, None)
        await (await peer.call()).wait_for("ACK")

    story(what, default=Script(provisional=(100,), final=code))


def test_a_refusal_carries_the_q850_cause(story, engine):
    async def what(peer):
        ended = await end_of(await engine.dial(order_to(peer, "1000", next(call_ids))))
        assert (ended.sip_code, ended.q850_cause, ended.reason) == (500, 41, "500 Server Internal Error")

    story(what, default=Script(final=500, reason='Q.850;cause=41;text="Temporary failure, sorry"'))


def test_early_media_then_no(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        events = await events_until(leg, Ended)
        assert known(events[:-1]) == [EarlyMedia()]
        assert events[-1].sip_code == 480

    story(what, default=Script(provisional=(100, 183), final=480))


def test_digest_right_wrong_and_missing(story, engine):
    async def what(peer):
        right = await engine.dial(order_to(peer, "1", next(call_ids), user="u1", password="p; x"))
        assert known(await events_until(right, Answered)) == [Ringing(), Answered()]
        await right.hang_up()
        await end_of(right)
        wrong = await end_of(await engine.dial(order_to(peer, "1", next(call_ids), user="u1", password="no")))
        missing = await end_of(await engine.dial(order_to(peer, "1", next(call_ids))))
        assert (wrong.sip_code, missing.sip_code) == (401, 401)
        assert peer.calls[0].invite.headers["from"].startswith("<sip:4930123456@")  # not the digest user

    story(what, default=Script(digest=("u1", "p; x")))


def test_a_redirect_is_never_followed(story, engine):
    async def what(peer):
        elsewhere = f"<sip:900@127.0.0.1:{peer.port}>"
        peer.default = Script(provisional=(100,), final=302, contact=elsewhere)
        ended = await end_of(await engine.dial(order_to(peer, "1000", next(call_ids))))
        assert ended.sip_code == 302
        # Whatever it might have sent because of the redirect left before the INVITE of a later call.
        await end_of(await engine.dial(order_to(peer, "1001", next(call_ids))))
        assert [call.callee for call in peer.calls] == ["1000", "1001"]
        assert peer.strays == []

    story(what)


def test_a_redirect_to_nowhere(story, engine):
    async def what(peer):
        ended = await end_of(await engine.dial(order_to(peer, "1000", next(call_ids))))
        assert ended.sip_code == 302
        assert len(peer.calls) == 1

    story(what, default=Script(provisional=(100,), final=302, contact=None))


def test_an_answer_with_a_codec_we_do_not_have_is_hung_up(story, engine):
    async def what(peer):
        ended = await end_of(await engine.dial(order_to(peer, "1000", next(call_ids))))
        assert ended.hung_up_by is HungUpBy.RINGBACK
        assert "without media" in ended.reason
        await (await peer.call()).wait_for("BYE")
        assert peer.calls[0].count("ACK") == 1

    story(what, default=Script(codec=18))


def test_giving_up_while_it_rings_sends_cancel(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await events_until(leg, Ringing)
        await leg.hang_up()
        ended = await end_of(leg, within=1)
        assert (ended.sip_code, ended.hung_up_by) == (487, None)
        await peer.calls[0].wait_for("ACK")
        assert [message.method for message in peer.calls[0].messages] == ["INVITE", "CANCEL", "ACK"]

    story(what, default=Script(final=None))


def test_a_call_given_up_at_once_does_not_ring_on(story, engine):
    """CANCEL may not leave before a provisional response: it must wait for it, not be forgotten."""

    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await leg.hang_up()
        await leg.hang_up()
        call = await peer.call()
        await call.wait_for("CANCEL")
        assert (await end_of(leg, within=1)).sip_code == 487

    story(what, default=Script(provisional_after=0.3, final=None))


def test_no_reply_at_all(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        call = await peer.call()
        await call.wait_for("INVITE", times=2)  # it was sent again, in vain
        await leg.hang_up()
        assert await events_until(leg, Ended, within=1.5) == [Ended(reason="given up without a final response")]
        with pytest.raises(TimeoutError):  # and is not sent any more; the next would be due in less than a second
            async with asyncio.timeout(1.2):
                await call.wait_for("INVITE", times=3)

    story(what, default=Script(silent=True))


def test_an_answer_that_crosses_our_cancel_is_hung_up(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await events_until(leg, Ringing)
        await leg.hang_up()
        ended = await end_of(leg, within=1)
        assert (ended.sip_code, ended.hung_up_by) == (None, None)
        call = await peer.call()
        await call.wait_for("BYE")
        assert [message.method for message in call.messages] == ["INVITE", "CANCEL", "ACK", "BYE"]

    story(what, default=Script(final=None, answers_cancel=True))


def test_an_answer_without_media_is_hung_up(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        events = await events_until(leg, Ended)
        assert Answered() in events
        assert events[-1].hung_up_by is HungUpBy.RINGBACK
        assert "without media" in events[-1].reason
        await peer.calls[0].wait_for("BYE")

    story(what, default=Script(with_body=False))


def test_thirty_quick_busies_are_all_reported(story, engine):
    async def what(peer):
        legs = [await engine.dial(order_to(peer, f"10{n:02}", next(call_ids))) for n in range(30)]
        assert [(await end_of(leg)).sip_code for leg in legs] == [486] * 30
        assert sorted(call.callee for call in peer.calls) == [f"10{n:02}" for n in range(30)]

    story(what, default=Script(provisional=(), final=486))


def test_keys_are_reported_once_each(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        events = await events_until(leg, Ended)
        assert [event for event in events if isinstance(event, KeyPressed)] == [
            KeyPressed("1"),
            KeyPressed("2"),
            KeyPressed("2"),
            KeyPressed("#"),
            KeyPressed("*"),
        ]

    story(what, default=Script(presses="122#*", hangs_up_after=0.1))


@pytest.mark.parametrize(
    "parts",
    [
        {"callee": "1000@evil"},
        {"callee": "1000\r\nX-Evil: 1"},
        {"callee": "1000;transport=tcp"},
        {"callee": ""},
        {"caller_id": "1\r\nX-Evil: 1"},
        {"caller_id": "a@b"},
        {"caller_id": '"x" <sip:y'},
        {"host": "127.0.0.1>;auth_pass=x"},
        {"host": "peer\r\nX-Evil: 1"},
        {"user": 'u";catchall=yes', "password": "x"},
        {"user": "u", "password": 'x";catchall=yes;y="'},
        {"port": 0},
    ],
)
def test_nothing_of_a_user_gets_into_headers_or_addresses(story, engine, parts):
    async def what(peer):
        callee = parts.get("callee", "1000")
        rest = {name: value for name, value in parts.items() if name != "callee"}
        with pytest.raises(ValueError, match="must be"):
            await engine.dial(order_to(peer, callee, next(call_ids), **rest))
        await end_of(await engine.dial(order_to(peer, "2000", next(call_ids))))
        assert [call.callee for call in peer.calls] == ["2000"]

    story(what, default=Script(final=486))


def test_a_call_id_is_up_once_only(story, engine):
    async def what(peer):
        order = order_to(peer, "1000", next(call_ids))
        leg = await engine.dial(order)
        with pytest.raises(ValueError, match="up already"):
            await engine.dial(order)
        assert await engine.settle(order.call_id, of=engine.known_as) is None
        await leg.hang_up()
        await end_of(leg)
        assert len(peer.calls) == 1

    story(what)


def test_nobody_can_call_us_or_send_us_elsewhere(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await events_until(leg, Answered)
        call = await peer.call()
        call.request("REFER", f"Refer-To: <sip:900@127.0.0.1:{peer.port}>\r\n")
        await call.wait_for_response(501)
        call.request("INVITE", "X-Ringback-Call: 1\r\n", call_id="stranger", body=call.invite.body)
        await peer.stray("SIP/2.0 486")
        call.hang_up()
        assert (await end_of(leg)).hung_up_by is HungUpBy.CALLEE
        assert [call.callee for call in peer.calls] == ["1000"]

    story(what)


def test_a_trunk_that_no_local_address_reaches(runner):
    async def what():
        engine = SipEngine(RealClock(), workers=1, local_host="127.0.0.1")
        await engine.start()
        try:
            with pytest.raises(EngineUnavailable, match="no local network address"):
                await engine.dial(order_to(SipPeer(), "1000", 1, host="198.51.100.1", port=5060))
            async with SipPeer(default=Script(final=486)).listening() as peer:
                leg = await engine.dial(order_to(peer, "1000", 2, host="localhost"))
                assert (await end_of(leg)).sip_code == 486
        finally:
            await engine.stop()

    runner.run(what())


def test_a_call_that_is_only_being_tried(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        assert await next_event(leg) == Trying()
        await leg.hang_up()
        assert (await end_of(leg, within=1)).sip_code == 487

    story(what, default=Script(provisional=(100,), final=None))


def test_events_stay_in_order_for_a_slow_reader(story, engine):
    async def what(peer):
        leg = await engine.dial(order_to(peer, "1000", next(call_ids)))
        await (await peer.call()).wait_for_response(200)  # to the peer's BYE: it is all over
        assert known(await events_until(leg, Ended))[:2] == [Ringing(), Answered()]

    story(what, default=Script(hangs_up_after=0.0))
