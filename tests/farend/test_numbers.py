"""What each test number does on the wire: every row of the table of far-end numbers."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from ringback.farend import sounds
from tests.farend.far_end import QUICK, Lab, far_end
from tests.farend.sip_caller import EVENTS, LOUD_FRAME, PCMA, PCMU, QUIET_FRAME, OutgoingCall

pytestmark = [pytest.mark.enable_socket, pytest.mark.sip]

PREFIX = "49301234"
HELLO_FRAMES = round(sounds.HELLO_SECONDS / sounds.FRAME_SECONDS)


def run(story: Callable[[Lab], Coroutine[None, None, None]], **timing: float) -> None:
    """Run a story against a carrier with the quick timing, changed in part."""

    async def main() -> None:
        async with far_end(msgspec.structs.replace(QUICK, **timing)) as lab:
            await story(lab)

    asyncio.run(main())


def each(one: Callable[[Lab, str], Coroutine[None, None, None]], *digits: str) -> Callable[[Lab], Coroutine]:
    """The story of one number, of several numbers at once."""

    async def story(lab: Lab) -> None:
        async with asyncio.TaskGroup() as group:
            for each_digits in digits:
                group.create_task(one(lab, each_digits))

    return story


async def expect_person(lab: Lab, call: OutgoingCall) -> None:
    await call.answered()
    await call.packets(HELLO_FRAMES // 2, lambda packet: packet.is_loud)
    await call.hang_up()
    assert call.statuses() == [100, 180, 200]
    assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]


def test_a_person_rings_answers_says_hello_and_listens() -> None:
    async def one(lab: Lab, digits: str) -> None:
        call = await lab.call(PREFIX + digits)
        answer = await call.answered()
        assert int(re.search(r"m=audio (\d+)", answer.body)[1]) % 2 == 0  # RTP on an even port
        packets = await call.packets(HELLO_FRAMES + 25)
        await call.hang_up()
        assert call.statuses() == [100, 180, 200]
        assert [packet.is_loud for packet in packets[: HELLO_FRAMES + 20]] == [True] * HELLO_FRAMES + [False] * 20
        assert {packet.payload_type for packet in packets} == {0}
        steps = [(b.sequence - a.sequence, b.timestamp - a.timestamp) for a, b in itertools.pairwise(packets)]
        assert {(sequence % 65_536, timestamp % 2**32) for sequence, timestamp in steps} == {(1, 160)}
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(each(one, "00", "17", "39"))


def test_a_person_hangs_up_after_the_longest_listening() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "00")
        await call.answered()
        bye = await call.requested("BYE")
        call.agree(bye)
        assert "Q.850" in bye["reason"]
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(story, longest_listen=0.2)


def test_a_key_is_pressed_once_the_prompt_has_ended() -> None:
    async def one(lab: Lab, digits: str) -> None:
        key = "1" if digits < "45" else "9"
        call = await lab.call(PREFIX + digits)
        await call.answered()
        for heard in range(HELLO_FRAMES, HELLO_FRAMES + 30):  # the prompt goes on: no key may come
            packets = await call.packets(heard)
            assert not [packet for packet in packets if packet.payload_type == EVENTS]
            call.say(LOUD_FRAME)
        call.say(QUIET_FRAME)
        assert await call.key() == key
        events = [packet for packet in call.heard.items if packet.payload_type == EVENTS]
        assert [packet.marker for packet in events] == [True] + [False] * (len(events) - 1)
        assert len({packet.timestamp for packet in events}) == 1
        await call.hang_up()
        assert await lab.diary.ended(call) == ["invited", "answered", f"keysent {key}", "bye caller", "ended"]

    run(each(one, "40", "44", "45", "49"), prompt_silence=0.4)


def test_a_prompt_that_is_over_before_the_hello_is_heard_too() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "40")
        await call.answered()
        call.say(LOUD_FRAME, 3)
        assert await call.key() == "1"
        assert not [packet for packet in call.heard.items[:HELLO_FRAMES] if packet.payload_type == EVENTS]
        await call.hang_up()

    run(story, no_prompt=30.0)


def test_a_key_is_pressed_after_a_while_when_there_is_no_prompt() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "40")
        await call.answered()
        call.say(QUIET_FRAME, 5)
        assert await call.key() == "1"
        await call.hang_up()

    run(story, no_prompt=0.1)


def test_a_key_has_the_payload_type_that_the_caller_gave_to_events() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(
            PREFIX + "40",
            sdp=(
                "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio {port} RTP/AVP 96 0 97\r\n"
                "a=rtpmap:96 telephone-event/48000\r\na=rtpmap:97 telephone-event/8000\r\n"
            ),
        )
        answer = await call.answered()
        assert "RTP/AVP 0 97\r\n" in answer.body
        keys = await call.packets(8, lambda packet: packet.payload_type != PCMU)
        assert {packet.payload_type for packet in keys} == {97}
        await call.hang_up()

    run(story, no_prompt=0.05)


def test_no_key_is_sent_to_a_caller_that_takes_no_events() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "40", formats="0")
        await call.answered()
        await call.requested("BYE")
        assert not [packet for packet in call.heard.items if packet.payload_type != 0]
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(story, no_prompt=0.05, longest_listen=0.8)


def test_voicemail_greets_without_a_pause_beeps_and_records() -> None:
    async def one(lab: Lab, digits: str) -> None:
        call = await lab.call(PREFIX + digits)
        await call.answered()
        sound = round((QUICK.voicemail_greeting + sounds.BEEP_SECONDS) / sounds.FRAME_SECONDS)
        packets = await call.packets(sound + 10)
        assert [packet.is_loud for packet in packets[: sound + 10]] == [True] * sound + [False] * 10
        await call.hang_up()
        assert call.statuses() == [100, 180, 200]
        assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]

    run(each(one, "50", "54"))


def test_voicemail_stops_recording_at_the_limit() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "50")
        await call.answered()
        call.agree(await call.requested("BYE"))
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(story, longest_listen=0.3)


def test_answers_and_hangs_up_at_once() -> None:
    async def one(lab: Lab, digits: str) -> None:
        call = await lab.call(PREFIX + digits)
        await call.answered()
        call.agree(await call.requested("BYE"))
        assert await lab.diary.ended(call) == ["invited", "answered", "bye farend", "ended"]

    run(each(one, "55", "59"))


@pytest.mark.parametrize(
    ("digits", "code", "q850"),
    [
        ("60", 486, 17),
        ("80", 603, 21),
        ("84", 603, 21),
        ("85", 480, 19),
        ("89", 480, 19),
        ("90", 404, 1),
        ("93", 404, 1),
        ("94", 503, 34),
        ("95", 503, 34),
        ("96", 500, 41),
    ],
)
def test_refuses_without_ringing(digits: str, code: int, q850: int) -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + digits)
        response = await call.refused(code)
        assert response["reason"] == f"Q.850;cause={q850}"
        assert await lab.diary.ended(call) == ["invited", f"refused {code}", "ended"]
        await lab.phone.ping()
        assert call.statuses() == [100, code]

    run(story)


def test_redirects_to_another_address() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "99")
        response = await call.refused(302)
        assert response["contact"].startswith("<sip:")
        assert "127.0.0.1" not in response["contact"]
        assert await lab.diary.ended(call) == ["invited", "refused 302", "ended"]

    run(story)


@pytest.mark.parametrize("busy_calls", [1, 2])
def test_busy_for_its_first_calls_then_a_person(busy_calls: int) -> None:
    async def story(lab: Lab) -> None:
        for _ in range(busy_calls):
            await (await lab.call(f"{PREFIX}6{busy_calls}")).refused(486)
        other = await lab.call(f"{PREFIX}069")  # calls of one number do not count for another
        await other.refused(486)
        await expect_person(lab, await lab.call(f"{PREFIX}6{busy_calls}"))
        await expect_person(lab, await lab.call(f"{PREFIX}6{busy_calls}"))

    run(story)


def test_a_number_that_is_always_busy_stays_busy() -> None:
    async def story(lab: Lab) -> None:
        for _ in range(12):
            await (await lab.call(PREFIX + "60")).refused(486)

    run(story)


async def give_up(lab: Lab, call: OutgoingCall) -> None:
    await call.response(180)
    call.cancel()
    await call.response(200, method="CANCEL")
    await call.refused(487)
    assert await lab.diary.ended(call) == ["invited", "cancelled", "ended"]


def test_rings_until_the_caller_gives_up() -> None:
    async def story(lab: Lab) -> None:
        await give_up(lab, call := await lab.call(PREFIX + "70"))
        assert call.statuses() == [100, 180, 487]

    run(story)


def test_a_phone_does_not_ring_for_ever() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "70")
        await call.refused(480)
        assert await lab.diary.ended(call) == ["invited", "refused 480", "ended"]

    run(story, longest_ring=0.1)


@pytest.mark.parametrize("unanswered_calls", [1, 2])
def test_rings_on_for_its_first_calls_then_presses_1(unanswered_calls: int) -> None:
    async def story(lab: Lab) -> None:
        for _ in range(unanswered_calls):
            await give_up(lab, await lab.call(f"{PREFIX}7{unanswered_calls}"))
        call = await lab.call(f"{PREFIX}7{unanswered_calls}")
        await call.answered()
        assert await call.key() == "1"
        await call.hang_up()

    run(story, no_prompt=0.05)


def test_a_silent_number_says_nothing_at_all() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "97")
        call.invite()
        await lab.phone.ping()
        call.cancel()
        assert await lab.diary.ended(call) == ["invited", "cancelled", "ended"]
        await lab.phone.ping()
        assert call.messages == []

    run(story)


def test_a_silent_call_ends_when_the_caller_must_have_given_up() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "97")
        assert await lab.diary.ended(call) == ["invited", "ended"]
        assert call.messages == []

    run(story, t1=0.002)


def test_early_media_then_unavailable() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "98")
        progress = await call.response(183)
        assert "m=audio" in progress.body
        await call.packets(4, lambda packet: packet.is_loud)
        await call.refused(480)
        assert call.statuses() == [100, 183, 480]
        assert await lab.diary.ended(call) == ["invited", "refused 480", "ended"]

    run(story)


def test_early_media_can_be_cancelled() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "98")
        await call.response(183)
        call.cancel()
        await call.refused(487)
        assert await lab.diary.ended(call) == ["invited", "cancelled", "ended"]

    run(story, early_media=30.0)


@pytest.mark.parametrize("callee", ["bob", "7", "12a45", "４９３０００"])
def test_what_is_no_number_is_not_found(callee: str) -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(callee)
        await call.refused(404)
        assert lab.diary.of(call)[0].callee == callee
        assert await lab.diary.ended(call) == ["invited", "refused 404", "ended"]

    run(story)


def test_a_plus_sign_is_not_part_of_the_number() -> None:
    async def story(lab: Lab) -> None:
        await (await lab.call(f"+{PREFIX}61")).refused(486)
        call = await lab.call(f"{PREFIX}61")
        await call.response(180)
        assert {entry.callee for entry in lab.diary.of() if hasattr(entry, "callee")} == {f"{PREFIX}61"}

    run(story)


def test_a_law_is_spoken_with_those_who_prefer_it() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "40", formats="8 0 101")
        answer = await call.answered()
        assert "RTP/AVP 8 101" in answer.body
        packets = await call.packets(HELLO_FRAMES)
        assert {packet.payload_type for packet in packets} == {PCMA}
        call.say(LOUD_FRAME, 3, payload_type=PCMA)
        assert await call.key() == "1"
        await call.hang_up()

    run(story)


def test_the_headers_of_the_caller_are_logged() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call(PREFIX + "60", headers=["X-Ringback-Call: 4711", "X-Ringback-Task: 12"], caller="+49555")
        await call.refused(486)
        bare = await lab.call(PREFIX + "60")
        await bare.refused(486)
        first, second = lab.diary.of(call)[0], lab.diary.of(bare)[0]
        assert (first.callee, first.caller, first.call, first.task) == (PREFIX + "60", "+49555", "4711", "12")
        assert (second.call, second.task) == (None, None)

    run(story)


def test_many_calls_at_once_end_as_they_should() -> None:
    async def story(lab: Lab) -> None:
        people = [await lab.call(f"{PREFIX}{n:03}00") for n in range(40)]
        busy = [await lab.call(f"{PREFIX}{n:03}60") for n in range(40)]
        for call in people:
            await call.answered()
        for call in busy:
            await call.refused(486)
        assert lab.carrier.live_calls == 40
        for call in people:
            await call.hang_up()
        for call in people:
            assert await lab.diary.ended(call) == ["invited", "answered", "bye caller", "ended"]
        assert lab.carrier.live_calls == 0

    run(story)
