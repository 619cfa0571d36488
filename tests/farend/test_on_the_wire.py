"""What the carrier does when messages are lost, come again, or are hostile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from ringback.farend.timing import Timing
from tests.farend.far_end import QUICK, Lab, far_end
from tests.farend.sip_caller import Phone

pytestmark = [pytest.mark.enable_socket, pytest.mark.sip]

PERSON, BUSY_ONCE, BUSY, RINGS_ON, HANGS_UP = (f"4930777{digits}" for digits in ("00", "61", "60", "70", "55"))
#: Retransmission 50 times as fast as the RFC has it: it gives up after 0.64 s.
HASTY = msgspec.structs.replace(QUICK, t1=0.01)


def run(story: Callable[[Lab], Coroutine[None, None, None]], timing: Timing = QUICK) -> None:
    async def main() -> None:
        async with far_end(timing) as lab:
            await story(lab)

    asyncio.run(main())


def test_an_invite_that_comes_again_is_the_same_call() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY_ONCE)
        first = await call.response(486)
        call.invite()
        second = await call.response(486, count=2)
        assert second.raw == first.raw
        call.ack(second)
        call.invite()  # a copy that the network had kept back
        await lab.phone.ping()
        assert call.statuses() == [100, 486, 486]
        again = await lab.call(BUSY_ONCE)
        assert (await again.answered()).status == 200
        await again.hang_up()
        assert lab.diary.story(call) == ["invited", "refused 486", "ended"]

    run(story)


def test_an_invite_that_comes_again_while_it_rings_is_told_so_again() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(RINGS_ON)
        ringing = await call.response(180)
        call.invite()
        assert (await call.response(180, count=2)).raw == ringing.raw
        assert lab.carrier.live_calls == 1
        assert lab.diary.story(call) == ["invited"]

    run(story)


def test_an_invite_that_comes_again_after_the_answer_gets_the_same_answer() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        answer = await call.response(200)
        call.invite()
        assert (await call.response(200, count=2)).raw == answer.raw
        await call.answered()
        call.invite()
        await lab.phone.ping()
        assert call.statuses() == [100, 180, 200, 200]
        await call.hang_up()
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(story)


def test_the_same_call_id_with_another_branch_is_another_call() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY)
        await call.refused(486)
        call.next_attempt()
        call.ack(await call.response(486, count=2))
        assert lab.diary.story(call) == ["invited", "refused 486", "ended"] * 2

    run(story)


def test_an_answer_is_repeated_until_it_is_acknowledged() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        await call.response(200, count=3)
        await call.answered()
        await lab.phone.ping()
        known = len(call.statuses())
        await call.packets(15)  # 0.3 s: several more repetitions, were they not over
        assert len(call.statuses()) == known
        await call.hang_up()

    run(story, HASTY)


def test_a_refusal_is_repeated_until_it_is_acknowledged() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY)
        third = await call.response(486, count=3)
        call.ack(third)
        await lab.phone.ping()
        known = len(call.statuses())
        other = await lab.call(PERSON)
        await other.answered()
        await other.packets(15)
        assert len(call.statuses()) == known

    run(story, HASTY)


def test_an_ack_with_a_branch_of_its_own_ends_the_repetition_of_a_refusal() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY)
        call.ack(await call.response(486), branch="z9hG4bKinvented")
        await lab.phone.ping()
        known = len(call.statuses())
        other = await lab.call(PERSON)
        await other.answered()
        await other.packets(15)
        assert len(call.statuses()) == known

    run(story, HASTY)


def test_a_lost_ack_of_a_refusal_holds_nothing_up() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY)
        await call.response(486, count=11)  # the first and ten repetitions: RFC 3261 gives up after 64 T1
        assert await lab.diary.ended(call) == ["invited", "refused 486", "ended"]
        other = await lab.call(PERSON)
        await other.answered()
        await other.packets(15)
        assert len(call.statuses()) == 12  # with the 100
        assert lab.carrier.live_calls == 1

    run(story, HASTY)


def test_an_answer_that_is_never_acknowledged_ends_with_bye() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(HANGS_UP)
        await call.response(200, count=11)
        assert not [message for message in call.messages if message.method == "BYE"]
        call.agree(await call.requested("BYE"))
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(story, HASTY)


def test_a_bye_of_ours_is_repeated_until_it_is_answered() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(HANGS_UP)
        await call.answered()
        third = await call.requested("BYE", count=3)
        assert lab.carrier.live_calls == 1
        call.agree(third)
        await lab.phone.ping()
        assert lab.carrier.live_calls == 0
        assert len([message for message in call.messages if message.method == "BYE"]) in {3, 4}

    run(story, HASTY)


def test_a_bye_that_nobody_answers_is_given_up() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(HANGS_UP)
        await call.answered()
        await call.requested("BYE", count=11)
        other = await lab.call(PERSON)
        await other.answered()
        await other.packets(10)
        assert lab.carrier.live_calls == 1

    run(story, HASTY)


def test_a_bye_that_comes_again_gets_the_same_answer() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        await call.answered()
        bye = call.in_dialog("BYE")
        answer = await call.response(200, method="BYE")
        lab.phone.send(bye)
        assert (await call.response(200, method="BYE", count=2)).raw == answer.raw
        call.in_dialog("BYE")  # another one, about a dialog that is over
        await call.response(481, method="BYE")
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(story)


def test_byes_that_cross_are_one_bye() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(HANGS_UP)
        await call.answered()
        bye = await call.requested("BYE")
        await call.hang_up()
        call.agree(bye)
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(story)


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        await call.answered()
        call.cancel()
        await call.response(200, method="CANCEL")
        await call.packets(5)
        await call.hang_up()
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(story)


def test_a_cancel_of_a_call_that_is_over_is_answered() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY)
        await call.response(486)
        call.cancel()
        await call.response(200, method="CANCEL")
        unknown = await lab.call(RINGS_ON)
        lab.phone.send(unknown.request("CANCEL", branch="z9hG4bKunknown"))
        await unknown.response(481, method="CANCEL")
        assert lab.diary.story(unknown) == ["invited"]

    run(story)


def test_invite_and_cancel_in_one_breath() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        call.cancel()
        await call.refused(487)
        assert await lab.diary.ended(call) == ["invited", "cancelled", "ended"]

    run(story)


def test_a_bye_before_the_answer_ends_the_call() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(RINGS_ON)
        call.answer = await call.response(180)
        await call.hang_up()
        await call.refused(487)
        assert await lab.diary.ended(call) == ["invited", "cancelled", "ended"]

    run(story)


def test_options_and_unknown_methods() -> None:
    async def story(lab: Lab) -> None:
        answer = await lab.phone.ping()
        assert answer.status == 200
        assert "INVITE" in answer["allow"]
        call = await lab.call(BUSY)
        call.answer = await call.refused(486)
        call.in_dialog("PUBLISH")
        await call.response(405, method="PUBLISH")
        call.in_dialog("INVITE")
        await call.response(481)

    run(story)


def test_an_extension_that_is_required_is_refused() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON, headers=["Require: 100rel, precondition"])
        refusal = await call.refused(420)
        assert refusal["unsupported"] == "100rel, precondition"
        assert lab.diary.of(call) == []

    run(story)


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        "no sdp",
        "v=0\r\nm=audio x RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 70000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 18\r\n",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/SAVP 0\r\n",
        "v=0\r\nc=IN IP4 host.example\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP6 ::1\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 224.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 4000 RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 4000 RTP/AVP 0\r\n",
    ],
)
def test_media_that_cannot_be_is_not_acceptable(sdp: str) -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON, sdp=sdp)
        await call.refused(488)
        assert await lab.diary.ended(call) == ["invited", "refused 488", "ended"]
        await (await lab.call(BUSY, sdp=sdp)).refused(486)  # who does not answer needs no media

    run(story)


def test_the_caller_can_hold_and_resume() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PERSON)
        first = await call.answered()
        await call.packets(5)
        call.in_dialog("INVITE", body=call.sdp("sendonly"))
        held = await call.response(200, count=2)
        call.ack(held)
        assert "a=recvonly" in held.body
        assert held.to_tag == first.to_tag
        await lab.phone.ping()
        heard = len(call.heard.items)
        other = await lab.call(PERSON)
        await other.answered()
        await other.packets(10)
        assert len(call.heard.items) == heard
        call.in_dialog("INVITE", body=call.sdp())
        call.ack(await call.response(200, count=3))
        await call.packets(heard + 5)
        call.in_dialog("INVITE", sequence=1, body=call.sdp())  # an old one, out of order
        await call.response(500)
        await call.hang_up()
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(story)


def test_audio_goes_to_where_the_callers_audio_comes_from() -> None:
    async def story(lab: Lab) -> None:
        elsewhere = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n"
        call = await lab.call(PERSON, sdp=elsewhere)
        await call.answered()
        assert not call.heard.items
        call.say(b"\xff" * 160)
        await call.packets(5)
        await call.hang_up()

    run(story)


def test_a_proxy_that_records_its_route_is_named_in_the_answer() -> None:
    async def story(lab: Lab) -> None:
        route = f"<sip:127.0.0.1:{lab.phone.port};lr>"
        call = await lab.call(HANGS_UP, headers=[f"Record-Route: {route}"])
        assert (await call.answered())["record-route"] == route
        bye = await call.requested("BYE")
        assert bye["route"] == route
        call.agree(bye)

    run(story)


def test_without_rport_the_answer_goes_to_the_port_in_via() -> None:
    async def story(lab: Lab) -> None:
        listening = Phone(lab.phone.server)
        await listening.open()
        try:
            call = await lab.call(BUSY, rport=False)
            await call.refused(486)
            request = call.request("OPTIONS", branch="z9hG4bKother").replace(
                f"127.0.0.1:{lab.phone.port};branch".encode(), f"127.0.0.1:{listening.port};branch".encode()
            )
            lab.phone.send(request)
            await listening.inbox.wait(lambda messages: [m for m in messages if m.method == "OPTIONS"])
        finally:
            listening.close()

    run(story)


def test_answers_cannot_be_aimed_at_somebody_else() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(BUSY, rport=False)
        await call.refused(486)
        lab.phone.send(call.request("OPTIONS", branch="z9hG4bKaimed;received=127.0.0.99"))
        await call.response(200, method="OPTIONS")

    run(story)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\r\n\r\n",
        b"\x00" * 40,
        b"\xff\xfe\xfd",
        b"SIP/2.0 abc\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: x\r\nCSeq: z INVITE\r\n\r\n",
        b"INVITE\r\n\r\n",
        b"INVITE sip:123400@h SIP/2.0\r\n\r\n",
        b"INVITE sip:123400@h SIP/2.0\r\nVia: x\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: one INVITE\r\n\r\n",
        # Ports and hosts that a socket refuses in ways of its own.
        b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:99999;branch=z9hG4bKq\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:h>\r\nCall-ID: hostile-1\r\nCSeq: 1 OPTIONS\r\n\r\n",
        b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:-1;branch=z9hG4bKq\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:h>\r\nCall-ID: hostile-2\r\nCSeq: 1 OPTIONS\r\n\r\n",
        b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;received=..;rport=99999;branch=z9hG4bKq\r\n"
        b"From: <sip:a@b>;tag=1\r\nTo: <sip:h>\r\nCall-ID: hostile-3\r\nCSeq: 1 OPTIONS\r\n\r\n",
        b"ACK sip:h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKq\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:h>;tag=2\r\nCall-ID: hostile-4\r\nCSeq: 1 ACK\r\n\r\n",
    ],
)
def test_nonsense_does_not_disturb_other_calls(datagram: bytes) -> None:
    async def story(lab: Lab) -> None:
        lab.phone.send(datagram)
        call = await lab.call(BUSY)
        await call.refused(486)
        assert (await lab.phone.ping()).status == 200
        assert lab.diary.story(call) == ["invited", "refused 486", "ended"]

    run(story)


def test_an_rtp_port_hears_nonsense_without_harm() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call("493077740")
        await call.answered()
        for nonsense in (b"", b"\x80", b"\xff" * 11):
            call.say_raw(nonsense)
        assert await call.key() == "1"
        await call.hang_up()

    run(story, msgspec.structs.replace(QUICK, no_prompt=0.1))


def test_stopping_hangs_up_refuses_and_frees_everything() -> None:
    async def main() -> None:
        async with far_end() as lab:
            talking = await lab.call(PERSON)
            ringing = await lab.call(RINGS_ON)
            await talking.answered()
            await ringing.response(180)
            stopping = asyncio.create_task(lab.carrier.stop())
            talking.agree(await talking.requested("BYE"))
            await ringing.refused(503)
            await stopping
            assert lab.diary.story(talking) == ["invited", "answered", "bye farend", "ended"]
            assert lab.diary.story(ringing) == ["invited", "refused 503", "ended"]
            assert lab.carrier.live_calls == 0
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_stopping_does_not_wait_long_for_callers_that_are_gone() -> None:
    async def main() -> None:
        async with far_end() as lab:
            call = await lab.call(PERSON)
            await call.answered()
            async with asyncio.timeout(5):
                await lab.carrier.stop()
            assert lab.diary.story(call) == ["invited", "answered", "bye farend", "ended"]
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
