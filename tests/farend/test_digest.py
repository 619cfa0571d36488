"""Callers that have to prove who they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from ringback.clock import VirtualClock
from ringback.farend.digest import NONCE_SECONDS, Credentials, Gatekeeper, Verdict
from tests.farend.far_end import Lab, far_end
from tests.farend.sip_caller import authorization

ROBIN = Credentials("robin", 'pass, "word"')
URI = "sip:493000@127.0.0.1"


def run(story: Callable[[Lab], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        async with far_end(credentials=ROBIN) as lab:
            await story(lab)

    asyncio.run(main())


def answer_to(gatekeeper: Gatekeeper, user: str = ROBIN.user, password: str = ROBIN.password) -> str:
    return authorization(gatekeeper.challenge(), user, password, URI).removeprefix("Authorization: ")


@pytest.mark.enable_socket
@pytest.mark.sip
def test_a_challenged_caller_gets_through_and_is_counted_once() -> None:
    async def story(lab: Lab) -> None:
        for expected in (486, 200):  # a number that is busy for its first call
            call = await lab.call("49300061")
            challenge = await call.refused(401)
            call.next_attempt(authorization(challenge["www-authenticate"], "robin", ROBIN.password, URI))
            response = await call.response(expected)
            call.ack(response)
            if expected == 486:
                assert await lab.diary.ended(call) == ["challenged", "invited", "refused 486", "ended"]
            else:
                call.answer = response
                await call.hang_up()
                assert await lab.diary.ended(call) == ["challenged", "invited", "answered", "bye caller", "ended"]

    run(story)


@pytest.mark.enable_socket
@pytest.mark.sip
@pytest.mark.parametrize(("user", "password"), [("robin", "wrong"), ("sparrow", ROBIN.password)])
def test_who_does_not_know_the_password_is_refused(user: str, password: str) -> None:
    async def story(lab: Lab) -> None:
        for _ in range(2):
            call = await lab.call("49300061")
            challenge = await call.refused(401)
            call.next_attempt(authorization(challenge["www-authenticate"], user, password, URI))
            await call.refused(403)
            assert await lab.diary.ended(call) == ["challenged", "invited", "refused 403", "ended"]
        honest = await lab.call("49300061")  # no call of the refused has reached the number
        challenge = await honest.refused(401)
        honest.next_attempt(authorization(challenge["www-authenticate"], "robin", ROBIN.password, URI))
        await honest.refused(486)

    run(story)


@pytest.mark.enable_socket
@pytest.mark.sip
def test_a_caller_without_credentials_gets_no_further_and_a_silent_number_stays_silent() -> None:
    async def story(lab: Lab) -> None:
        call = await lab.call("49300000")
        await call.refused(401)
        silent = await lab.call("49300097")
        await lab.phone.ping()
        assert lab.diary.story(call) == ["challenged"]
        assert silent.messages == []

    run(story)


def test_right_and_wrong_answers() -> None:
    gatekeeper = Gatekeeper(ROBIN, VirtualClock())
    right = answer_to(gatekeeper)
    assert gatekeeper.check("INVITE", right) is Verdict.RIGHT
    assert gatekeeper.check("BYE", right) is Verdict.WRONG
    assert gatekeeper.check("INVITE", answer_to(gatekeeper, password="word")) is Verdict.WRONG
    assert gatekeeper.check("INVITE", answer_to(gatekeeper, user="Robin")) is Verdict.WRONG
    assert gatekeeper.check("INVITE", right.replace("nc=00000001", "nc=x")) is Verdict.WRONG
    assert gatekeeper.check("INVITE", right.replace('response="', 'response="0')) is Verdict.WRONG
    assert gatekeeper.check("INVITE", None) is Verdict.ABSENT
    assert gatekeeper.check("INVITE", "Basic cm9iaW4=") is Verdict.ABSENT
    assert gatekeeper.check("INVITE", "") is Verdict.ABSENT


def test_only_an_answer_to_a_fresh_challenge_of_ours_counts() -> None:
    clock = VirtualClock()
    gatekeeper = Gatekeeper(ROBIN, clock)
    answer = answer_to(gatekeeper)
    assert Gatekeeper(ROBIN, clock).check("INVITE", answer) is Verdict.STALE
    assert "stale=true" in gatekeeper.challenge(stale=True)

    async def wait_and_check() -> tuple[Verdict, Verdict]:
        await clock.sleep(NONCE_SECONDS - 1)
        in_time = gatekeeper.check("INVITE", answer)
        await clock.sleep(2)
        return in_time, gatekeeper.check("INVITE", answer)

    assert clock.run(wait_and_check()) == (Verdict.RIGHT, Verdict.STALE)


def test_the_password_is_not_shown() -> None:
    assert "word" not in repr(ROBIN)
