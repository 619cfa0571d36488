"""Trunks at an Asterisk: made once, made again when it was restarted, and nothing in them but what they are."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringback.telephony.asterisk.client import AriClient, AriRefused, AriUnreachable
from ringback.telephony.asterisk.trunks import TrunkObjects
from ringback.telephony.port import Destination, DialOrder
from ringback.telephony.sip.addressing import Account, address_call
from tests.telephony.asterisk.fake_ari import FakeAri, Fault

pytestmark = pytest.mark.enable_socket
ACCOUNT = Account("4930", "10.0.0.9", "alice", "s3cret")


def run(story):
    async def with_trunks():
        async with FakeAri() as ari:
            client = AriClient(ari.address)
            try:
                await story(ari, TrunkObjects(client))
            finally:
                await client.close()

    asyncio.run(with_trunks())


def test_the_same_trunk_is_made_once_for_all_who_ask():
    async def story(ari, trunks):
        names = await asyncio.gather(*(trunks.endpoint(ACCOUNT, own_caller=True) for _ in range(10)))
        assert set(names) == set(ari.endpoints)
        assert [one.line.rpartition("/")[0][-8:] for one in ari.asked] == ["sip/auth", "endpoint"]
        (auth,), (endpoint,) = ari.auths.values(), ari.endpoints.values()
        assert auth == {"auth_type": "digest", "username": "alice", "password": "s3cret"}
        assert endpoint["outbound_auth"] == names[0]
        assert (endpoint["allow_transfer"], endpoint["redirect_method"]) == ("no", "user")
        assert endpoint["context"] == "ringback-nobody"
        assert "s3cret" not in names[0]

    run(story)


def test_another_password_is_another_object_and_calls_in_the_air_keep_theirs():
    async def story(ari, trunks):
        first = await trunks.endpoint(ACCOUNT, own_caller=True)
        second = await trunks.endpoint(Account("4930", "10.0.0.9", "alice", "other"), own_caller=True)
        assert first != second
        assert {auth["password"] for auth in ari.auths.values()} == {"s3cret", "other"}

    run(story)


def test_who_brings_a_caller_id_shares_the_object_and_who_brings_none_gets_the_trunks():
    async def story(ari, trunks):
        shared = {await trunks.endpoint(Account(user, "h", "a", "p"), own_caller=True) for user in ("1", "2")}
        assert len(shared) == 1
        assert "from_user" not in ari.endpoints[shared.pop()]
        own = await trunks.endpoint(Account("1", "h", "a", "p"), own_caller=False)
        assert (ari.endpoints[own]["from_user"], ari.endpoints[own]["from_domain"]) == ("1", "h")
        nobody = await trunks.endpoint(Account("anonymous", "anonymous.invalid", "", ""), own_caller=False)
        assert ari.endpoints[nobody]["callerid_privacy"] == "prohib"
        assert "outbound_auth" not in ari.endpoints[nobody]

    run(story)


def test_a_trunk_is_made_again_after_a_failure_and_when_asterisk_may_have_lost_it():
    async def story(ari, trunks):
        ari.fail("PUT", Fault(403))
        with pytest.raises(AriRefused):
            await trunks.endpoint(ACCOUNT, own_caller=True)
        name = await trunks.endpoint(ACCOUNT, own_caller=True)
        for forgotten in (None, name):
            ari.endpoints.clear()
            assert await trunks.endpoint(ACCOUNT, own_caller=True) == name
            assert ari.endpoints == {}
            trunks.forget(forgotten)
            assert await trunks.endpoint(ACCOUNT, own_caller=True) == name
            assert name in ari.endpoints
        trunks.forget("ringback-unknown")
        await ari.shut()
        trunks.forget()
        with pytest.raises(AriUnreachable):
            await trunks.endpoint(ACCOUNT, own_caller=True)
        await ari.open()

    run(story)


def test_who_gives_up_leaves_it_to_be_made_for_others():
    async def story(ari, trunks):
        first = asyncio.create_task(trunks.endpoint(ACCOUNT, own_caller=True))
        await ari.wait("PUT")
        first.cancel()
        assert await trunks.endpoint(ACCOUNT, own_caller=True) in ari.endpoints
        assert len(ari.asked) == 2

    run(story)


TEXT = st.text(st.sampled_from("ab1 @;<>,=:/\\\"'&%?#[]{}\r\n\t\0ü"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT, TEXT, TEXT, TEXT, TEXT)
def test_no_value_of_a_trunk_or_an_order_adds_an_attribute(user, password, host, caller_id, callee):
    """What passes the check arrives as the one value that it is: no other field, no other object."""
    order = DialOrder(
        call_id=1,
        task_id=1,
        callee=callee or "1",
        caller_id=caller_id,
        destination=Destination(host=host or "h", port=5060, user=user, password=password),
    )
    try:
        address = address_call(order)
    except ValueError:
        return

    async def story(ari, trunks):
        name = await trunks.endpoint(address.account, own_caller=bool(caller_id))
        known = {*_ENDPOINT_FIELDS, "from_domain", "from_user", "callerid_privacy", "outbound_auth"}
        assert set(ari.endpoints) == {name}
        assert set(ari.endpoints[name]) <= known
        assert {one: ari.endpoints[name][one] for one in _ENDPOINT_FIELDS} == _ENDPOINT_FIELDS
        assert all(set(auth) == {"auth_type", "username", "password"} for auth in ari.auths.values())
        assert [auth["password"] for auth in ari.auths.values()] == ([password] if user else [])
        for value in (*ari.endpoints[name].values(), address.request_uri):
            assert not set(value) & set('\r\n\0;<>" ')

    run(story)


_ENDPOINT_FIELDS = {
    "context": "ringback-nobody",
    "disallow": "all",
    "allow": "ulaw,alaw",
    "dtmf_mode": "rfc4733",
    "direct_media": "no",
    "rtp_symmetric": "yes",
    "force_rport": "yes",
    "send_connected_line": "no",
    "trust_id_outbound": "yes",
    "timers": "no",
    "100rel": "no",
    "allow_transfer": "no",
    "allow_subscribe": "no",
    "redirect_method": "user",
}
