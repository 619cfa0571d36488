"""Who may call: sign headers, the timestamp's age, the address list; and that a refusal tells nothing."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import pytest

from ringback.api.addresses import address_allowed
from ringback.api.itnio import signature
from ringback.api.itnio.signature import check_signature, sign
from ringback.store.accounts import Account
from tests.api.vendor_world import PUBLISHED_KEY, PUBLISHED_SECONDS, PUBLISHED_SECRET, World

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADERS = {
    "Api-Key": PUBLISHED_KEY,
    "Timestamp": str(PUBLISHED_SECONDS),
    "Sign": "05d7a50893e22a5c4bb3216ae3396c7c",
}
LIST = "/voice/group/call/query"
#: Right, so that a request that gets past the door succeeds.
LIST_BODY = {
    "current": 1,
    "size": 10,
    "params": {"strTime": "2021-01-01 00:00:00", "endTime": "2021-12-31 23:59:59", "taskType": 3},
}
EVERY_OPERATION = [
    ("POST", path)
    for path in (
        "/group/call/send/agent",
        "/group/call/query",
        "/group/call/cancel",
        "/recallFlow/queryDetail",
        "/recallFlow/queryPage",
        "/recallFlow/update",
        "/recallFlow/cancel",
    )
] + [("GET", "/group/call/detail/1")]


def signed(timestamp: str, *, key: str = PUBLISHED_KEY, secret: str = PUBLISHED_SECRET) -> dict[str, str]:
    return {"Api-Key": key, "Timestamp": timestamp, "Sign": sign(key, secret, timestamp)}


async def knock(world: World, headers: Mapping[str, str], address: str = "127.0.0.1") -> tuple[int, str]:
    """What an operation that needs nothing but a right caller answers."""
    done = await world.post(LIST, LIST_BODY, headers=headers, address=address)
    return done["code"], done["msg"]


@pytest.mark.parametrize("prefix", ["/voice", "/v3/voice"])
@pytest.mark.parametrize(("method", "path"), EVERY_OPERATION)
def test_every_operation_asks_who_calls(lasting_world: World, prefix: str, method: str, path: str) -> None:
    world = lasting_world

    async def story() -> None:
        before = await world.contents()
        wrong = HEADERS | {"Sign": "0" * 32}
        response = await world.request(method, prefix + path, content=b"{}", headers=wrong)
        assert response.status_code == 200
        assert response.json() == {
            "code": -1,
            "msg": "authentication error: unknown key or wrong signature",
            "status": "-1",
            "reason": "authentication error: unknown key or wrong signature",
            "data": None,
        }
        assert await world.contents() == before

    world.run(story())


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_header_is_named(lasting_world: World, name: str, value: str | None) -> None:
    headers = {known: text for known, text in HEADERS.items() if known != name}
    if value is not None:
        headers[name] = value
    assert lasting_world.run(knock(lasting_world, headers)) == (-1, f"the {name} header is missing")


WRONG_SIGNATURES = {
    "of another secret": sign(PUBLISHED_KEY, "other", str(PUBLISHED_SECONDS)),
    "of another timestamp": sign(PUBLISHED_KEY, PUBLISHED_SECRET, "1630468801"),
    "of another key": sign("other", PUBLISHED_SECRET, str(PUBLISHED_SECONDS)),
    "one digit off": "15d7a50893e22a5c4bb3216ae3396c7c",
    "cut": "05d7a50893e22a5c4bb3216ae3396c7",
    "with more behind it": "05d7a50893e22a5c4bb3216ae3396c7c0",
    "not hex": "z" * 32,
    "the text that stands for a malformed one": "-" * 32,
    "SHA-256": hashlib.sha256(b"bDqJFiq97bz1lzh91630468800").hexdigest(),
    "very long": "0" * 50_000,
}


@pytest.mark.parametrize("wrong", WRONG_SIGNATURES.values(), ids=WRONG_SIGNATURES)
def test_a_wrong_signature_and_an_unknown_key_look_alike(lasting_world: World, wrong: str) -> None:
    known = lasting_world.run(knock(lasting_world, HEADERS | {"Sign": wrong}))
    unknown = lasting_world.run(knock(lasting_world, HEADERS | {"Sign": wrong, "Api-Key": "nobody"}))
    assert known == unknown == (-1, "authentication error: unknown key or wrong signature")


def test_the_secret_that_stands_for_an_unknown_key_opens_nothing(lasting_world: World) -> None:
    headers = signed(str(PUBLISHED_SECONDS), key="nobody", secret=signature._NO_SECRET)
    assert lasting_world.run(knock(lasting_world, headers))[0] == -1


def test_one_account_s_signature_is_no_use_to_another(lasting_world: World) -> None:
    headers = signed(str(PUBLISHED_SECONDS), secret=lasting_world.other.secret)
    assert lasting_world.run(knock(lasting_world, headers))[0] == -1


@pytest.mark.parametrize(
    "sent", [HEADERS["Sign"].upper(), f"  {HEADERS['Sign']}  ", "05D7a50893E22a5c4bb3216ae3396c7c"]
)
def test_either_case_of_the_signature_is_right(lasting_world: World, sent: str) -> None:
    assert lasting_world.run(knock(lasting_world, HEADERS | {"Sign": sent})) == (0, "success")


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("value", [b"\xff\xfe", b"\xe4\xbd\xa0\xe5\xa5\xbd", b"\xe9" * 32])
def test_a_header_that_is_not_ascii_is_refused(lasting_world: World, name: str, value: bytes) -> None:
    headers = [(known.encode(), value if known == name else text.encode()) for known, text in HEADERS.items()]

    async def story() -> None:
        response = await lasting_world.request("POST", LIST, content=b"{}", headers=headers)
        assert (response.status_code, response.json()["code"]) == (200, -1)

    lasting_world.run(story())


@pytest.mark.parametrize("key", [PUBLISHED_KEY, "nobody"])
@pytest.mark.parametrize("sent", [HEADERS["Sign"], "0" * 32, "zz", "é" * 40])
def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, key: str, sent: str) -> None:
    """Whatever was sent and whether the key is known or not: one comparison, of two values of the same length."""
    account = Account(1, "own", PUBLISHED_KEY, PUBLISHED_SECRET, "UTC", "both", ())
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(expected: bytes, given: bytes) -> bool:
        compared.append((expected, given))
        return compare(expected, given)

    monkeypatch.setattr(signature.hmac, "compare_digest", watched)
    found = account if key == PUBLISHED_KEY else None
    try:
        check_signature(found, api_key=key, timestamp=HEADERS["Timestamp"], signature=sent)
        passed = True
    except signature.VendorError:
        passed = False
    assert passed == (found is not None and sent == HEADERS["Sign"])
    ((expected, given),) = compared
    assert (type(expected), type(given)) == (bytes, bytes)
    assert len(expected) == len(given) == 32


@pytest.mark.parametrize(("minutes", "code"), [(-31, -16), (-29, 0), (0, 0), (29, 0), (31, -16), (-60 * 24 * 365, -16)])
def test_a_timestamp_may_be_half_an_hour_off_either_way(lasting_world: World, minutes: int, code: int) -> None:
    headers = signed(str(PUBLISHED_SECONDS + 60 * minutes))
    found, message = lasting_world.run(knock(lasting_world, headers))
    assert found == code
    assert code == 0 or "1800 seconds" in message


@pytest.mark.parametrize("off", [-1800, 1800])
def test_the_very_edge_of_the_timestamp_s_tolerance(lasting_world: World, off: int) -> None:
    assert lasting_world.run(knock(lasting_world, signed(str(PUBLISHED_SECONDS + off))))[0] == 0
    assert (
        lasting_world.run(knock(lasting_world, signed(str(PUBLISHED_SECONDS + off + (1 if off > 0 else -1)))))[0] == -16
    )


NOT_SECONDS = {
    "text": "now",
    "milliseconds": f"{PUBLISHED_SECONDS}000",
    "a fraction": f"{PUBLISHED_SECONDS}.0",
    "signed": f"+{PUBLISHED_SECONDS}",
    "negative": f"-{PUBLISHED_SECONDS}",
    "hex": "0x612ec5c0",
    "exponent": "1e9",
    "underscores": "1_630_468_800",
    "date": "2021-09-01 04:00:00",
    "very long": "1" * 10_000,
}


@pytest.mark.parametrize("sent", NOT_SECONDS.values(), ids=NOT_SECONDS)
def test_a_timestamp_that_is_not_in_seconds_is_refused(lasting_world: World, sent: str) -> None:
    assert lasting_world.run(knock(lasting_world, signed(sent))) == (-16, "Timestamp must be the Unix time in seconds")


ADDRESSES = {
    # networks, address, allowed
    "an empty list holds every address": ((), "203.0.113.9", True),
    "an empty list holds even what is no address": ((), "", True),
    "the address itself": (("203.0.113.9",), "203.0.113.9", True),
    "another address": (("203.0.113.9",), "203.0.113.10", False),
    "inside a network": (("203.0.113.0/24",), "203.0.113.200", True),
    "outside a network": (("203.0.113.0/24",), "203.0.114.1", False),
    "the second of the list": (("10.0.0.0/8", "203.0.113.0/24"), "203.0.113.1", True),
    "a network written with host bits": (("203.0.113.9/24",), "203.0.113.1", True),
    "IPv6": (("2001:db8::/32",), "2001:db8:1::5", True),
    "IPv6 outside": (("2001:db8::/32",), "2001:db9::5", False),
    "IPv6 with a zone": (("fe80::/10",), "fe80::1%eth0", True),
    "IPv4 in IPv6 dress": (("203.0.113.0/24",), "::ffff:203.0.113.9", True),
    "another IPv4 in IPv6 dress": (("203.0.113.0/24",), "::ffff:198.51.100.1", False),
    "IPv6 against an IPv4 list": (("0.0.0.0/0",), "2001:db8::1", False),
    "IPv4 against an IPv6 list": (("::/0",), "203.0.113.9", False),
    "a name": (("203.0.113.0/24",), "localhost", False),
    "nothing": (("203.0.113.0/24",), "", False),
    "trickery": (("203.0.113.0/24",), "203.0.113.1, 198.51.100.1", False),
}


@pytest.mark.parametrize(("networks", "address", "allowed"), ADDRESSES.values(), ids=ADDRESSES)
def test_address_lists(networks: tuple[str, ...], address: str, allowed: bool) -> None:
    assert address_allowed(networks, address) is allowed


@pytest.mark.parametrize(
    ("address", "code"),
    [("203.0.113.9", 0), ("::ffff:203.0.113.9", 0), ("2001:db8::1", 0), ("198.51.100.1", -2), ("2001:db9::1", -2)],
)
def test_an_address_that_is_not_on_the_list_is_refused(world: World, address: str, code: int) -> None:
    async def story() -> None:
        listed = await world.tenant("listed", "listed", "s", networks=["203.0.113.0/24", "2001:db8::/32"])
        found, message = await knock(world, world.headers(listed), address)
        assert found == code
        assert code == 0 or message == f"the address {address} is not on this account's list"
        # A header does not change where a request comes from.
        headers = world.headers(listed) | {"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
        assert (await knock(world, headers, address))[0] == code

    world.run(story())


def test_what_is_wrong_first_is_said_first(world: World) -> None:
    """The signature before the timestamp before the address: a stranger learns nothing but that he is one."""

    async def story() -> None:
        listed = await world.tenant("listed", "listed", "s", networks=["203.0.113.0/24"])
        stale = signed(str(PUBLISHED_SECONDS - 86_400), key=listed.key, secret=listed.secret)
        assert (await knock(world, stale | {"Sign": "0" * 32}))[0] == -1
        assert (await knock(world, stale))[0] == -16
        assert (await knock(world, world.headers(listed)))[0] == -2

    world.run(story())


@pytest.mark.parametrize(
    ("envelope", "members"),
    [
        ("both", {"code", "msg", "status", "reason", "data"}),
        ("code", {"code", "msg", "data"}),
        ("status", {"status", "reason", "data"}),
    ],
)
def test_an_account_s_envelope_holds_for_every_answer_once_it_is_known(
    world: World, envelope: str, members: set[str]
) -> None:
    async def story() -> None:
        tenant = await world.tenant("chosen", "chosen", "s", envelope=envelope, networks=["203.0.113.0/24"])
        right = world.headers(tenant)
        inside = {"address": "203.0.113.9"}
        done = await world.post(LIST, LIST_BODY, headers=right, **inside)
        stale = await world.post(LIST, LIST_BODY, headers=world.headers(tenant, seconds=1), **inside)
        elsewhere = await world.post(LIST, LIST_BODY, headers=right)
        wrong = await world.post(LIST, {}, headers=right, **inside)
        answers: list[tuple[dict[str, Any], int]] = [(done, 0), (stale, -16), (elsewhere, -2), (wrong, -22)]
        for answer, code in answers:
            assert answer.keys() == members
            assert answer.get("code", code) == code
            assert answer.get("status", str(code)) == str(code)
            assert answer.get("msg") == answer.get("reason") or envelope != "both"
        stranger = await world.post(LIST, LIST_BODY, headers=right | {"Sign": "0" * 32}, **inside)
        assert stranger.keys() == {"code", "msg", "status", "reason", "data"}

    world.run(story())


def test_the_content_type_does_not_matter(lasting_world: World) -> None:
    headers = HEADERS | {"Content-Type": "application/x-www-form-urlencoded"}
    assert lasting_world.run(knock(lasting_world, headers))[0] == 0


@pytest.mark.parametrize("path", ["/voice/group/call/append", "/v3/voice/group/call/pause", "/voice/x/../nothing"])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_an_operation_that_is_not_offered_is_answered_in_the_vendor_s_form(
    lasting_world: World, method: str, path: str
) -> None:
    async def story() -> None:
        response = await lasting_world.request(method, path)
        assert response.status_code == 200
        answer = response.json()
        assert (answer["code"], answer["status"], answer["data"]) == (-22, "-22", None)
        assert f"there is no operation {method} /" in answer["msg"]

    lasting_world.run(story())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_the_wrong_method_is_answered_in_the_vendor_s_form(lasting_world: World, method: str) -> None:
    async def story() -> None:
        response = await lasting_world.request(method, LIST)
        assert (response.status_code, response.json()["code"]) == (200, -22)

    lasting_world.run(story())


@pytest.mark.parametrize("path", ["/", "/voice", "/voicemail", "/v3", "/v2/tasks"])
def test_elsewhere_the_web_s_own_answers_hold(lasting_world: World, path: str) -> None:
    async def story() -> None:
        assert (await lasting_world.request("GET", path)).status_code == 404

    lasting_world.run(story())
