"""The ARI client: whatever goes wrong has one of two names, and says whether the request can have arrived."""

from __future__ import annotations

import asyncio
import functools
import socket

import msgspec
import pytest

from ringback.telephony.asterisk import client as client_module
from ringback.telephony.asterisk.address import NodeAddress
from ringback.telephony.asterisk.client import AriClient, AriRefused, AriUnreachable
from tests.telephony.asterisk.fake_ari import FakeAri, Fault

pytestmark = pytest.mark.enable_socket
BODY = {"endpoint": "PJSIP/x/y", "channelId": "c-1"}


def run(story):
    """Runs a story of a fake ARI and a client of it."""

    async def with_client():
        async with FakeAri() as ari:
            client = AriClient(ari.address)
            try:
                await story(ari, client)
            finally:
                await client.close()

    asyncio.run(with_client())


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nowhere():
    port = unused_port()
    return NodeAddress(name="x", base_url=f"http://127.0.0.1:{port}/ari", user="u", password="p")


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
def test_a_no_is_refused_with_asterisks_own_words(status):
    async def story(ari, client):
        ari.fail("POST /channels", Fault(status))
        with pytest.raises(AriRefused, match=f"{status} made up") as caught:
            await client.request("POST", "/channels", body=BODY)
        assert caught.value.status == status
        assert len(ari.asked) == 1

    run(story)


@pytest.mark.parametrize(
    "fault",
    [Fault(502), Fault(504), Fault(close=True), Fault(close=True, after=True)],
    ids=["502", "504", "cut", "done"],
)
def test_no_answer_may_have_arrived_and_is_not_asked_again(fault):
    async def story(ari, client):
        ari.fail("POST /channels", fault)
        with pytest.raises(AriUnreachable) as caught:
            await client.request("POST", "/channels", body=BODY)
        assert caught.value.sent
        assert str(caught.value)
        assert len(ari.asked) == 1

    run(story)


def test_an_answer_that_takes_too_long_may_have_arrived(monkeypatch):
    monkeypatch.setattr(client_module, "REQUEST_SECONDS", 0.2)

    async def story(ari, client):
        ari.fail("POST /channels", Fault(hang=True))
        with pytest.raises(AriUnreachable) as caught:
            await client.request("POST", "/channels", body=BODY)
        assert caught.value.sent

    run(story)


def test_nobody_there_is_certainly_not_sent():
    async def story():
        client = AriClient(nowhere())
        with pytest.raises(AriUnreachable) as caught:
            await client.request("POST", "/channels", body=BODY)
        assert not caught.value.sent
        with pytest.raises(AriUnreachable) as caught:
            async with client.events("a"):
                pass
        assert not caught.value.sent
        await client.close()
        with pytest.raises(AriUnreachable) as caught:
            await client.request("POST", "/channels", body=BODY)
        assert not caught.value.sent

    asyncio.run(story())


def test_a_request_that_found_no_free_connection_in_time_is_certainly_not_sent(monkeypatch):
    monkeypatch.setattr(client_module, "CONNECTIONS", 1)

    async def story(ari, client):
        ari.fail("GET /channels/slow", Fault(hang=True))
        slow = asyncio.create_task(client.request("GET", "/channels/slow"))
        await ari.wait("GET /channels/slow")
        with pytest.raises(AriUnreachable) as caught:
            await client.request("POST", "/channels", body=BODY, leave_within=0.05)
        assert not caught.value.sent
        assert ari.of("POST") == []
        slow.cancel()

    run(story)


@pytest.mark.parametrize("status", [307, 308])
def test_a_request_is_never_sent_on_elsewhere(status):
    async def story(ari, client):
        ari.fail("POST /channels", Fault(status))
        with pytest.raises(AriRefused):
            await client.request("POST", "/channels", body=BODY)
        assert [one.line for one in ari.asked] == ["POST /channels"]

    run(story)


def test_a_wrong_password_is_refused():
    async def story(ari, _):
        client = AriClient(msgspec.structs.replace(ari.address, password="wrong"))
        with pytest.raises(AriRefused, match="401 Authentication required"):
            await client.request("GET", "/channels")
        with pytest.raises(AriRefused) as caught:
            async with client.events("a"):
                pass
        assert caught.value.status == 401
        await client.close()

    run(story)


def test_a_password_of_any_letters_works():
    async def story(ari, _):
        client = AriClient(msgspec.structs.replace(ari.address, user="ü", password="π:ß"))
        with pytest.raises(AriRefused, match="401"):
            await client.request("GET", "/channels")
        await client.close()

    run(story)


def test_the_event_stream_ends_with_its_connection_and_survives_what_it_does_not_know():
    async def story(ari, client):
        async with client.events("a") as events:
            await ari.until(lambda: ari.connections)
            await ari.feed("NeverHeardOf", "c", surprise={"x": 1})
            await ari.feed("ChannelDestroyed", "c", cause=17, tech_cause=486)
            await ari.drop()
            seen = [event async for event in events]
        assert [(one.type, one.about.id, one.cause, one.tech_cause) for one in seen] == [
            ("NeverHeardOf", "c", None, None),
            ("ChannelDestroyed", "c", 17, 486),
        ]

    run(story)


def test_a_download_comes_in_pieces_or_is_refused_or_breaks_off():
    async def story(ari, client):
        ari.recordings["r"] = bytes(range(256)) * 1000
        path = "/recordings/stored/r/file"
        pieces = [piece async for piece in client.download(path, 1000)]
        assert b"".join(pieces) == ari.recordings["r"]
        assert max(map(len, pieces)) <= 1000
        with pytest.raises(AriRefused):
            [piece async for piece in client.download("/recordings/stored/none/file")]
        ari.fail("GET /recordings", Fault(close=True))
        ari.fail("GET /recordings", Fault(close=True))  # an idempotent request is tried twice
        with pytest.raises(AriUnreachable):
            [piece async for piece in client.download(path)]
        await client.close()
        with pytest.raises(AriUnreachable):
            [piece async for piece in client.download(path)]

    run(story)


def test_what_is_late_when_its_bytes_are_written_is_not_sent():
    async def story(ari, client):
        ask = functools.partial(client.request, "POST", "/channels", body=BODY)
        with pytest.raises(AriRefused):  # it arrived, and leaves a connection to send the next on
            await ask(in_time=lambda: True)
        with pytest.raises(AriUnreachable, match="too late") as caught:
            await ask(in_time=lambda: False)
        assert not caught.value.sent
        with pytest.raises(AriRefused):
            await ask(in_time=lambda: True)
        assert len(ari.of("POST")) == 2

    run(story)
