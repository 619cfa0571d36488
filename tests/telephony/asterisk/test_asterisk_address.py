"""Addresses of Asterisk servers as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.telephony.asterisk.address import read_addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://u:p@10.0.0.1:8088", ("10.0.0.1:8088", "http://10.0.0.1:8088/ari", "u", "p", 1, 300)),
        ("https://u:p@pbx.example:443/a/", ("pbx.example:443", "https://pbx.example:443/a/ari", "u", "p", 1, 300)),
        ("http://u:p@[::1]:8088?weight=3", ("[::1]:8088", "http://[::1]:8088/ari", "u", "p", 3, 300)),
        (" http://u:%2C%40%23%2F@h:1?lines=10000&weight=1000 ", ("h:1", "http://h:1/ari", "u", ",@#/", 1000, 10000)),
    ],
)
def test_an_address_says_where_as_whom_and_how_much(text, expected):
    (node,) = read_addresses(text)
    assert (node.name, node.base_url, node.user, node.password, node.weight, node.lines) == expected


def test_several_are_read_in_their_order():
    assert [node.name for node in read_addresses("http://u:p@b:1, http://u:p@a:2,")] == ["b:1", "a:2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "at least one"),
        (" , ", "at least one"),
        ("ftp://u:s3cret@h:1", "node 1 must be"),
        ("u:s3cret@h:1", "node 1 must be"),
        ("http://u:s3cret@h", "with the port"),
        ("http://u:s3cret@:1", "node 1 must be"),
        ("http://u:s3cret@h:0", "with the port"),
        ("http://u:s3cret@h:65536", "cannot be read"),
        ("http://u:s3cret@h:x", "cannot be read"),
        ("http://u:s3cret@[h:1", "cannot be read"),
        ("http://h:1", "no user and password"),
        ("http://u@h:1", "no user and password"),
        ("http://:s3cret@h:1", "no user and password"),
        ("http://u%3Ax:s3cret@h:1", "character in its user"),
        ("http://u:s3cret%0A@h:1", "character in its user"),
        ("http://u:s3cret\udc80@h:1", "character in its user"),
        ("http://u:p@h:1#s3cret", "%23"),
        ("http://u:p@h:1?s3cret=1", "unknown option; there are weight and lines"),
        ("http://u:p@h:1?weight=0", "node 1: weight must be 1 to 1000"),
        ("http://u:p@h:1?weight=", "weight must be"),
        ("http://u:p@h:1?lines=10001", "lines must be 1 to 10000"),
        ("http://u:p@h:1?lines=" + "9" * 5000, "lines must be"),
        ("http://u:p@h:1?lines=\u0663", "lines must be"),
        ("http://u:p@ok:1,http://u:s3cret@h", "node 2"),
        ("http://u:p@h:1,http://v:q@H:1", "h:1 twice"),
    ],
)
def test_what_is_no_address_is_told_without_the_password(text, says):
    with pytest.raises(ValueError, match=r"node|names|at least") as caught:
        read_addresses(text)
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_shown():
    (node,) = read_addresses("http://u:s3cret@h:1")
    assert "s3cret" not in f"{node} {node!r} {[node]}"


PIECES = st.sampled_from(
    ["http://", "https://", "u:p@", "@", ":", "h", "8088", "?", "weight=", "lines=", "3", ",", "#"]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join))
def test_whatever_is_written_it_is_read_or_refused(text):
    try:
        nodes = read_addresses(text)
    except ValueError:
        pass
    else:
        for node in nodes:
            assert node.user
            assert node.password
            assert 1 <= node.weight <= 1000
            assert 1 <= node.lines <= 10_000


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=12),
    st.lists(PIECES, max_size=4).map("".join),
)
def test_a_password_is_in_no_error(password, rest):
    said = ""
    try:
        read_addresses(f"http://user:{password}@{rest}")
    except ValueError as error:
        said = str(error)
    assert password not in said
