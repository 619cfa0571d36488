"""What goes into SIP addresses, and what must not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.port import Destination, DialOrder
from ringback.telephony.sip.addressing import address_call


def order(*, callee="4917012345", caller_id="49301", host="sip.example.com", port=5060, user="", password=""):
    return DialOrder(
        call_id=1,
        task_id=2,
        callee=callee,
        caller_id=caller_id,
        destination=Destination(host=host, port=port, user=user, password=password),
    )


@pytest.mark.parametrize(
    ("host", "in_uri", "interface"),
    [
        ("sip.example.com", "sip.example.com", ""),
        ("carrier", "carrier", ""),
        ("203.0.113.9", "203.0.113.9", ""),
        ("2001:db8::9", "[2001:db8::9]", ""),
        ("[2001:db8::9]", "[2001:db8::9]", ""),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("127.3.2.1", "127.3.2.1", "127.0.0.1"),
        ("LocalHost", "127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]", "::1"),
    ],
)
def test_the_local_interface_follows_the_destination(host, in_uri, interface):
    address = address_call(order(host=host))
    assert address.request_uri == f"sip:4917012345@{in_uri}:5060"
    assert address.account.domain == in_uri
    assert address.interface == interface


def test_a_set_local_address_overrides_it():
    assert address_call(order(host="127.0.0.1"), "192.0.2.5").interface == "192.0.2.5"
    assert address_call(order(), "2001:DB8::5").interface == "2001:db8::5"


def test_the_account_line():
    address = address_call(order(user="me@realm", password="p; x"))
    assert address.account.line() == (
        "<sip:49301@sip.example.com>;regint=0;answermode=manual;audio_codecs=pcmu,pcma;dtmfmode=rtpevent"
        ';auth_user=me@realm;auth_pass="p; x"'
    )
    assert "auth" not in address_call(order()).account.line()


@pytest.mark.parametrize(
    "parts",
    [
        {"callee": ""},
        {"callee": "+"},
        {"callee": "12+3"},
        {"callee": "12 3"},
        {"callee": "123\n"},
        {"callee": "१२३"},
        {"callee": "1" * 33},
        {"caller_id": "a b"},
        {"caller_id": "1\n"},
        {"caller_id": "1" * 65},
        {"host": ""},
        {"host": "a..b"},
        {"host": "-a"},
        {"host": "1.2.3"},
        {"host": "1.2.3.4.5"},
        {"host": "a:b"},
        {"host": "fe80::1%eth0"},
        {"host": "fe80::1%0>;x=y"},
        {"host": "host\n"},
        {"host": "a" * 254},
        {"port": 0},
        {"port": 65_536},
        {"user": "a b"},
        {"user": "a;b"},
        {"user": 'a"b'},
        {"user": "é"},
        {"user": "a", "password": 'a"b'},
        {"user": "a", "password": "a\\b"},
        {"user": "a", "password": "a\nb"},
        {"user": "a", "password": "secret\x00"},
    ],
)
def test_refused(parts):
    with pytest.raises(ValueError, match="must be") as error:
        address_call(order(**parts))
    assert "secret" not in str(error.value)


texts = st.text(st.sampled_from('19+aZ_.-@:;<>"\\ \r\n\t\x00%?&=,/[]é'), max_size=12)


@given(callee=texts, caller_id=texts, host=texts, user=texts, password=texts)
def test_whatever_is_let_through_means_what_it_says(callee, caller_id, host, user, password):
    try:
        address = address_call(order(callee=callee, caller_id=caller_id, host=host, user=user, password=password))
    except ValueError:
        return
    assert re.fullmatch(r"sip:\+?[0-9]+@(\[[0-9a-f:.]+\]|[0-9A-Za-z_.-]+):5060", address.request_uri)
    line = address.account.line()
    assert not set(line) & set("\r\n\t\x00\\")
    inside, _, parameters = line.partition(">;")
    assert re.fullmatch(r"<sip:[0-9A-Za-z+_.-]+@(\[[0-9a-f:.]+\]|[0-9A-Za-z_.-]+)", inside)
    assert ">" not in parameters
    assert "<" not in parameters.replace(f'auth_pass="{password}"', "")
    assert parameters.count('"') in {0, 2}
