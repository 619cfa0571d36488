"""Phones register over a real socket; whoever is none, or has the wrong password, does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringback.clock import RealClock
from ringback.model.phones import ha1
from ringback.telephony.registrar.registrar import Address, Busy, Registrar
from ringback.telephony.registrar.requests import MOST_BYTES, Malformed, answer, read_request, read_wish
from ringback.telephony.registrar.throttle import BURST, MOST_ADDRESSES, RATE, Throttle
from tests.telephony.registrar.udp_phone import UdpPhone, phone_at

LOGIN, PASSWORD = "4711", "open sesame"


class SkewedClock(RealClock):
    """The real clock, and some seconds more."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(1000 * self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class SomePhones:
    """Phones in memory, and what was asked of them."""

    def __init__(self) -> None:
        self.known = {LOGIN: ha1(LOGIN, PASSWORD)}
        self.at: dict[str, tuple[str, Address, int]] = {}
        self.looked_up = self.written = 0
        self.failure: Exception | None = None

    async def ha1_of(self, login: str) -> str | None:
        self.looked_up += 1
        if self.failure is not None:
            raise self.failure
        return self.known.get(login)

    async def register(self, login: str, user: str, source: Address, seconds: int) -> None:
        self.written += 1
        self.at[login] = (user, source, seconds)

    async def unregister(self, login: str) -> None:
        self.written += 1
        self.at.pop(login, None)

    async def where(self, login: str) -> tuple[str, int] | None:
        if login not in self.at:
            return None
        user, source, seconds = self.at[login]
        return f"sip:{user}@{source[0]}:{source[1]}", seconds


Story = Callable[[UdpPhone, SomePhones, SkewedClock], Awaitable[None]]


def told(story: Story) -> None:
    async def main() -> None:
        phones, clock = SomePhones(), SkewedClock()
        registrar = Registrar(phones, clock)
        where = await registrar.open("127.0.0.1", 0)
        try:
            async with phone_at(where, LOGIN, PASSWORD) as phone:
                await story(phone, phones, clock)
        finally:
            await registrar.close()

    asyncio.run(main())


@pytest.mark.enable_socket
class TestRegistering:
    def test_a_phone_is_called_where_it_came_from(self) -> None:
        """Whatever address it names."""

        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            done = await phone.register(contact="<sip:me@203.0.113.9:5099>;expires=600")
            assert done.start == "SIP/2.0 200 OK"
            assert done.headers["contact"] == "<sip:me@203.0.113.9:5099>;expires=600"
            assert phones.at == {LOGIN: ("me", ("127.0.0.1", phone.port), 600)}
            assert f"rport={phone.port}" in done.headers["via"]

        told(story)

    @pytest.mark.parametrize(
        ("parts", "seconds"),
        [
            ({}, 3600),
            ({"extra": "Expires: 120"}, 120),
            ({"extra": "Expires: 86400"}, 3600),
            ({"contact": "<sip:4711@127.0.0.1>;expires=90", "extra": "Expires: 120"}, 90),
            ({"contact": "sip:4711@127.0.0.1;expires=90"}, 90),
            ({"contact": '"A <b>" <sip:4711@127.0.0.1;line=x>;q=0.5;Expires=90'}, 90),
            ({"contact": "<sip:4711@127.0.0.1>, <sip:4711@127.0.0.2>"}, 3600),
            ({"contact": "<sip:127.0.0.1>"}, 3600),
        ],
    )
    def test_how_long(self, parts: dict[str, str], seconds: int) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            assert (await phone.register(**parts)).start == "SIP/2.0 200 OK"
            assert phones.at[LOGIN] == (LOGIN, ("127.0.0.1", phone.port), seconds)

        told(story)

    def test_too_short_a_time_is_refused(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            done = await phone.register(extra="Expires: 59")
            assert done.start == "SIP/2.0 423 Interval Too Brief"
            assert done.headers["min-expires"] == "60"
            assert phones.at == {}

        told(story)

    @pytest.mark.parametrize("parts", [{"extra": "Expires: 0"}, {"contact": "*", "extra": "Expires: 0"}])
    def test_a_phone_that_goes_is_forgotten(self, parts: dict[str, str]) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            await phone.register()
            done = await phone.register(**parts)
            assert done.start == "SIP/2.0 200 OK"
            assert "contact" not in done.headers
            assert phones.at == {}

        told(story)

    def test_a_phone_may_only_ask(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            assert "contact" not in (await phone.register(contact=None)).headers
            await phone.register(extra="Expires: 300")
            done = await phone.register(contact=None)
            assert done.headers["contact"] == f"<sip:{LOGIN}@127.0.0.1:{phone.port}>;expires=300"
            assert phones.written == 1

        told(story)

    @pytest.mark.parametrize(
        "parts",
        [
            {"contact": "*"},
            {"contact": "*, <sip:a@b>", "extra": "Expires: 0"},
            {"contact": "<tel:123>"},
            {"contact": "<sips:4711@127.0.0.1>"},
            {"contact": "<sip:4711@127.0.0.1;transport=tcp>"},
            {"contact": '<sip:4711"@127.0.0.1>'},
            {"contact": "<sip:" + "x" * 65 + "@127.0.0.1>"},
            {"extra": "Expires: soon"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, parts: dict[str, str]) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            assert (await phone.register(**parts)).start == "SIP/2.0 400 Bad Request"
            assert phones.written == 0

        told(story)

    def test_a_wrong_password_an_unknown_phone_and_another_phone_look_alike(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phones.known["4712"] = ha1("4712", PASSWORD)
            wrong = await phone.register(password="close sesame")
            another = await phone.register(to="4712")
            phone.login = "4713"
            unknown = await phone.register()
            assert {wrong.start, another.start, unknown.start} == {"SIP/2.0 403 Forbidden"}
            assert wrong.headers.keys() == another.headers.keys() == unknown.headers.keys()
            assert phones.written == 0

        told(story)

    def test_a_phone_is_told_when_it_cannot_be_stored_now(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phones.failure = Busy("locked")
            done = await phone.register()
            assert (done.start, done.headers["retry-after"]) == ("SIP/2.0 503 Service Unavailable", "5")
            phones.failure = RuntimeError("broken")
            assert (await phone.register()).start == "SIP/2.0 500 Server Internal Error"
            phones.failure = None
            assert (await phone.register()).start == "SIP/2.0 200 OK"

        told(story)

    def test_other_requests(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phone.send(phone.request(method="OPTIONS"))
            assert (await phone.answer()).start == "SIP/2.0 200 OK"
            for method in ("INVITE", "SUBSCRIBE", "PUBLISH", "BYE"):
                phone.send(phone.request(method=method))
                done = await phone.answer()
                assert (done.start, done.headers["allow"]) == ("SIP/2.0 405 Method Not Allowed", "REGISTER, OPTIONS")
            phone.send(phone.request(method="ACK"))
            phone.send(b"\r\n\r\n")
            phone.send(b"\0")
            assert await phone.silence()

        told(story)


@pytest.mark.enable_socket
class TestNonces:
    def test_an_answer_is_taken_once(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            authorization = phone.authorization(await phone.challenged())
            phone.send(phone.request(authorization=authorization))
            assert (await phone.answer()).start == "SIP/2.0 200 OK"
            # Somebody has listened, and sends the same answer with a request of his own.
            phone.send(phone.request(authorization=authorization, extra="Expires: 0"))
            again = await phone.answer()
            assert again.start == "SIP/2.0 401 Unauthorized"
            assert "stale=true" in again.headers["www-authenticate"]
            assert phones.written == 1

        told(story)

    def test_a_repeated_request_is_answered_again_and_changes_nothing(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            request = phone.request(authorization=phone.authorization(await phone.challenged()))
            phone.send(request)
            first = await phone.answer()
            phone.send(request)
            assert (await phone.answer()).raw == first.raw
            assert phones.written == 1

        told(story)

    def test_a_nonce_serves_again_with_the_next_count(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            challenge = await phone.challenged()
            for count in (1, 2, 5):
                phone.send(phone.request(authorization=phone.authorization(challenge, count=count)))
                assert (await phone.answer()).start == "SIP/2.0 200 OK"
            phone.send(phone.request(authorization=phone.authorization(challenge, count=4)))
            assert (await phone.answer()).start == "SIP/2.0 401 Unauthorized"

        told(story)

    def test_a_nonce_grows_old(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            challenge = await phone.challenged()
            clock.ahead = 61
            phone.send(phone.request(authorization=phone.authorization(challenge)))
            old = await phone.answer()
            assert "stale=true" in old.headers["www-authenticate"]
            phone.send(phone.request(authorization=phone.authorization(old)))
            assert (await phone.answer()).start == "SIP/2.0 200 OK"

        told(story)

    @pytest.mark.parametrize("nonce", ["", ".", "0.", "zz.zz", "ff" * 500, "1.0123456789abcdef0123456789abcdef"])
    def test_a_made_up_nonce_never_reaches_the_phones(self, nonce: str) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phone.send(phone.request(authorization=phone.authorize(nonce)))
            assert (await phone.answer()).start == "SIP/2.0 401 Unauthorized"
            assert phones.looked_up == 0

        told(story)

    @pytest.mark.parametrize(
        "change",
        [
            ("qop=auth, ", ""),
            ("qop=auth", "qop=auth-int"),
            ("algorithm=MD5", "algorithm=SHA-256"),
            ("nc=00000001", "nc=1"),
            ('realm="ringback"', 'realm="elsewhere"'),
            ("Digest ", "Basic "),
            ("response=", "respond="),
        ],
    )
    def test_an_answer_to_another_question_is_none(self, change: tuple[str, str]) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            authorization = phone.authorization(await phone.challenged())
            phone.send(phone.request(authorization=authorization.replace(*change)))
            assert (await phone.answer()).start == "SIP/2.0 401 Unauthorized"
            assert phones.looked_up == 0

        told(story)


@pytest.mark.enable_socket
class TestHostility:
    def test_an_answer_goes_where_the_request_came_from(self) -> None:
        """The Via names somebody else, who must hear nothing."""

        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            async with phone_at(phone.registrar, "x", "y") as victim:
                phone.send(
                    phone.request(via=f"Via: SIP/2.0/UDP 127.0.0.1:{victim.port};branch=z9hG4bK1;received=192.0.2.1")
                )
                assert "received=127.0.0.1" in (await phone.answer()).headers["via"]
                assert await victim.silence()

        told(story)

    def test_an_answer_is_at_most_twice_as_long_as_its_request(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            headers = (b"v:SIP/2.0/UDP a", b"f:<sip:a@a>", b"t:<sip:a@a>", b"i:1", b"CSeq:1 REGISTER", b"", b"")
            phone.send(b"\r\n".join((b"REGISTER sip:a SIP/2.0", *headers)))
            assert await phone.silence()
            request = phone.request()
            phone.send(request)
            assert len((await phone.answer()).raw) <= 2 * len(request)

        told(story)

    def test_a_flood_is_cut_off_and_others_go_on(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            for _ in range(BURST):
                phone.send(b"x")
            await asyncio.sleep(0.1)
            phone.send(phone.request())
            answered = not await phone.silence()
            # In the tenth of a second two requests have become free again.
            assert answered
            for _ in range(BURST):
                phone.send(b"x")
            phone.send(phone.request())
            assert await phone.silence()
            clock.ahead = 1
            assert (await phone.register()).start == "SIP/2.0 200 OK"

        told(story)

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xfe\x00",
            b"REGISTER",
            b"REGISTER sip:a SIP/2.0\r\n\r\n",
            b"REGISTER sip:a SIP/2.0\r\nVia: x\r\nFrom: x\r\nTo: x\r\nCall-ID: x\r\nCSeq: x\r\n\r\n",
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\n",
            b"A" * 60_000,
        ],
    )
    def test_garbage_is_not_answered_and_does_no_harm(self, data: bytes) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phone.send(data)
            assert await phone.silence()
            assert (await phone.register()).start == "SIP/2.0 200 OK"

        told(story)

    def test_too_long_a_request_is_not_read(self) -> None:
        async def story(phone: UdpPhone, phones: SomePhones, clock: SkewedClock) -> None:
            phone.send(phone.request(extra="X: " + "a" * MOST_BYTES))
            assert await phone.silence()

        told(story)


GOOD = (
    b"REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport\r\nFrom: <sip:a@a>;tag=1\r\n"
    b"To: <sip:a@a>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@10.0.0.1>;expires=60\r\nExpires: 300\r\n\r\n"
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=600),
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=20)).map(
            lambda cut: GOOD[: min(cut[:2])] + cut[2] + GOOD[max(cut[:2]) :]
        ),
    )
)
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        request = read_request(data)
        if request is None:
            return
        read_wish(request)
    except Malformed:
        return
    response = answer(request, 200, ("192.0.2.1", 5060))
    head = response.decode().split("\r\n")
    assert head[0] == "SIP/2.0 200 OK"
    assert head[-2:] == ["", ""]
    assert "" not in head[:-2], "no header of the request ends the answer early"
    names = [line.partition(":")[0] for line in head[1:-2]]
    assert set(names) == {"Via", "From", "To", "Call-ID", "CSeq", "Server", "Content-Length"}


@given(st.lists(st.floats(0, 2), max_size=400))
def test_an_address_gets_its_burst_and_its_rate(waits: list[float]) -> None:
    clock = SkewedClock()
    throttle = Throttle(clock)
    admitted = 0
    for wait in waits:
        clock.ahead += wait
        admitted += throttle.admits("a")
    assert admitted <= BURST + RATE * (sum(waits) + 5)
    assert admitted >= min(len(waits), BURST)


def test_addresses_are_forgotten_in_the_order_of_their_silence() -> None:
    throttle = Throttle(SkewedClock())
    for number in range(MOST_ADDRESSES + 50):
        assert throttle.admits(str(number))
    assert len(throttle._buckets) == MOST_ADDRESSES
    assert next(iter(throttle._buckets)) == "50"
