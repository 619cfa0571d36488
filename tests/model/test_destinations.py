"""Where reports may go: every network that is not public is refused, however the address is written or carried."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringback.model.destinations import (
    MAX_URL,
    Address,
    InvalidDestination,
    Network,
    check_url,
    is_allowed,
    read_networks,
    read_url,
)

#: Written down once more, from the registries of IANA and the RFCs.
REFUSED = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/32",
    "2001:2::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
ALL = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def addresses_in(network: Network) -> st.SearchStrategy[Address]:
    first, last = int(network.network_address), int(network.broadcast_address)
    make: Callable[[int], Address] = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    return st.integers(first, last).map(make)


refused = st.sampled_from(REFUSED).map(ipaddress.ip_network).flatmap(addresses_in)
refused_4 = (
    st.sampled_from([text for text in REFUSED if ":" not in text]).map(ipaddress.ip_network).flatmap(addresses_in)
)
any_4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
any_6 = st.one_of(
    st.integers(0, 2**128 - 1), st.integers(0x2000 << 112, (0x4000 << 112) - 1), st.integers(0, 2**34)
).map(ipaddress.IPv6Address)


@given(refused)
def test_every_address_of_these_networks_is_refused(address: Address) -> None:
    assert not is_allowed(address)


@given(st.one_of(any_4, any_6))
def test_what_passes_is_global_for_python_too(address: Address) -> None:
    if is_allowed(address):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("8.8.8.8", True),
        ("1.1.1.1", True),
        ("9.255.255.255", True),
        ("11.0.0.0", True),
        ("100.63.255.255", True),
        ("100.128.0.0", True),
        ("172.15.255.255", True),
        ("172.32.0.0", True),
        ("192.0.1.0", True),
        ("223.255.255.255", True),
        ("2606:4700:4700::1111", True),
        ("2a00:1450:4001:80b::200e", True),
        ("2001:200::1", True),
        ("2400:cb00::1", True),
        ("169.254.169.254", False),  # metadata of most clouds
        ("100.100.100.200", False),  # Alibaba
        ("192.0.0.192", False),  # Oracle
        ("168.63.129.16", False),  # Azure
        ("fd00:ec2::254", False),  # Amazon
        ("fd20:ce::254", False),  # Google
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::1", False),
        ("::ffff:8.8.8.8", False),
        ("::8.8.8.8", False),
        ("64:ff9b::8.8.8.8", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("2606:4700:4700::1111%eth0", False),
        ("2606:4700:4700::5efe:10.0.0.1", False),  # ISATAP
        ("2606:4700:4700:0:200:5efe:a00:1", False),
        ("1fff:ffff::1", False),
        ("4000::1", False),
        # What is no address.
        ("", False),
        ("localhost", False),
        ("2130706433", False),
        ("127.1", False),
        ("0177.0.0.1", False),
        ("0x7f.0.0.1", False),
        ("8.8.8.8.", False),
        ("8.8.8.8/32", False),
        (" 8.8.8.8", False),
        ("٨.8.8.8", False),
        ("[2606:4700:4700::1111]", False),
    ],
)
def test_examples(text: str, allowed: bool) -> None:
    assert is_allowed(text) is allowed


def carriers(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """It in every form of IPv6 that carries one."""
    value = int(address)
    public = 0x2606_4700 << 96
    found = [
        value,
        0xFFFF << 32 | value,
        0xFFFF_0000 << 32 | value,
        0x0064_FF9B << 96 | value,
        0x2002 << 112 | value << 80 | 1,
        0x2001_0000 << 96 | value << 64 | (int(ipaddress.IPv4Address("8.8.8.8")) ^ 0xFFFF_FFFF),
        0x2001_0000 << 96 | int(ipaddress.IPv4Address("8.8.8.8")) << 64 | (value ^ 0xFFFF_FFFF),
        public | 0x0000_5EFE << 32 | value,
        public | 0x0200_5EFE << 32 | value,
    ]
    return [ipaddress.IPv6Address(one) for one in found if one > 1]  # 0 and 1 are addresses of their own


@given(refused_4)
def test_a_refused_address_is_refused_in_whatever_carries_it(address: ipaddress.IPv4Address) -> None:
    for carrier in carriers(address):
        assert not is_allowed(carrier)
        assert not is_allowed(carrier, ALL[1:]), "also where all of IPv6 is allowed"


@given(any_4)
def test_a_carrier_needs_a_network_of_its_own(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | int(address))
    assert not is_allowed(mapped, ALL[:1])
    assert is_allowed(mapped, ALL)
    nat64 = ipaddress.IPv6Address(0x0064_FF9B << 96 | int(address))
    assert is_allowed(nat64, read_networks("64:ff9b::/96")) == is_allowed(address), "what it leads to is judged too"


@given(st.one_of(any_4, any_6), st.integers(0, 32))
def test_what_is_allowed_is_public_or_in_an_allowed_network(address: Address, prefix: int) -> None:
    around = ipaddress.ip_network((address, prefix), strict=False)
    assert is_allowed(address, ALL)
    beside = ipaddress.ip_network("10.7.0.0/16")
    assert is_allowed(address, [beside]) == (is_allowed(address) or address in beside)
    if address.version == 4:
        assert is_allowed(address, [around])


def spellings_4(address: ipaddress.IPv4Address) -> list[str]:
    """As `inet_aton` reads them, with one to four parts, and more."""
    value = int(address)
    found = [str(address), f"{address}."]
    for parts in range(1, 5):
        sizes = [8] * (parts - 1) + [8 * (5 - parts)]
        numbers, left = [], 32
        for size in sizes:
            left -= size
            numbers.append(value >> left & (1 << size) - 1)
        found += [".".join(form.format(one) for one in numbers) for form in ("{}", "0x{:x}", "0X{:X}", "0{:o}")]
    wide = str(address).translate({ord(str(digit)): 0xFF10 + digit for digit in range(10)})
    return [*found, wide, str(address).replace(".", "。"), "".join(f"%{ord(one):02x}" for one in str(address))]


@given(any_4)
@example(ipaddress.IPv4Address("127.0.0.1"))
@example(ipaddress.IPv4Address("0.0.0.0"))
@example(ipaddress.IPv4Address("10.1.2.3"))
def test_a_number_is_read_as_a_socket_reads_it_or_refused(address: ipaddress.IPv4Address) -> None:
    for host in spellings_4(address):
        try:
            found = read_url(f"http://{host}/")
        except InvalidDestination:
            assert host != str(address)
            continue
        assert found.address == ipaddress.ip_address(socket.inet_aton(host)), host


@given(any_6)
def test_every_spelling_of_an_ipv6_address_is_judged_alike(address: ipaddress.IPv6Address) -> None:
    head = ":".join(address.exploded.split(":")[:6])
    tail = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    for text in (str(address), address.exploded, str(address).upper(), f"{head}:{tail}"):
        assert read_url(f"https://[{text}]:8443/x").address == address
        assert is_allowed(text) == is_allowed(address)


@given(st.text(alphabet="0123456789abcdefxXABCF.", min_size=1, max_size=20))
@example("0x7f.1")
@example("0x")
@example("1.2.3.0x")
@example("127.0.0.08")
@example("1.1.1.1.")
def test_nothing_that_a_socket_takes_for_an_address_passes_as_a_name(host: str) -> None:
    try:
        found = read_url(f"http://{host}/")
    except InvalidDestination:
        return
    if found.address is None:
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(host)
    else:
        assert found.address.packed == socket.inet_aton(host)


@pytest.mark.parametrize(
    ("url", "host", "port", "address"),
    [
        ("http://crm.example.com", "crm.example.com", 80, None),
        ("https://crm.example.com/ringback?a=b&c=%20", "crm.example.com", 443, None),
        ("HTTPS://CRM.example.com:8443?x", "CRM.example.com", 8443, None),
        ("http://crm.example.com.:1/", "crm.example.com.", 1, None),
        ("http://xn--bcher-kva.example:65535/", "xn--bcher-kva.example", 65_535, None),
        ("http://hooks_1/", "hooks_1", 80, None),
        ("http://1.2.3.4.example/", "1.2.3.4.example", 80, None),
        ("http://127.0.0.1.nip.io/", "127.0.0.1.nip.io", 80, None),
        ("http://8.8.8.8:80/a@b", "8.8.8.8", 80, "8.8.8.8"),
        ("http://[2606:4700::1]:80", "[2606:4700::1]", 80, "2606:4700::1"),
    ],
)
def test_urls(url: str, host: str, port: int, address: str | None) -> None:
    found = read_url(url)
    assert (found.host, found.port) == (host, port)
    assert found.address == (None if address is None else ipaddress.ip_address(address))
    assert check_url(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http",
        "http:",
        "http://",
        "http:///x",
        "http:/crm.example.com",
        "http:crm.example.com",
        "//crm.example.com",
        "ftp://crm.example.com",
        "file:///etc/passwd",
        "tcp://crm.example.com",
        "gopher://crm.example.com",
        "unix:///run/docker.sock",
        " http://crm.example.com",
        "http://crm.example.com\n",
        "http://crm.example.com /",
        "http://crm.example.com/ x",
        "http://crm.example.com/\r\nX: y",
        "http://crm.example.com/ü",
        "http://user@crm.example.com/",
        "http://user:word@crm.example.com/",
        "http://@crm.example.com/",
        "http://crm.example.com:80@127.0.0.1/",
        "http://crm.example.com\\@127.0.0.1/",
        "http://127.0.0.1\\@crm.example.com/",
        "http://crm.example.com#@127.0.0.1/",
        "http://crm.example.com/#x",
        "http://crm.example.com/x#",
        "http://crm.example.com:",
        "http://crm.example.com:0/",
        "http://crm.example.com:65536/",
        "http://crm.example.com:-1/",
        "http://crm.example.com:+80/",
        "http://crm.example.com:٨٠/",
        "http://crm.example.com:999999999999999999999/",
        "http://crm..example.com/",
        "http://.crm.example.com/",
        "http://-crm.example.com/",
        "http://crm-.example.com/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 130 + "com/",
        "http://crm.example.com/" + "x" * MAX_URL,
        "http://ｌｏｃａｌｈｏｓｔ/",
        "http://ⓛocalhost/",
        "http://loc%61lhost/",
        "http://127.0.0.1%2f/",
        "http://1.2.3/",
        "http://1.2.3.4.5/",
        "http://1.2.3.256/",
        "http://[127.0.0.1]/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.x]/",
        "http://[1::2::3]/",
        "httpſ://crm.example.com/",
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(InvalidDestination):
        read_url(url)


def test_what_is_said_of_an_address_that_is_not_allowed() -> None:
    said = "is refused: the address of 10.1.2.3 is not one that reports may go to (setting report_networks)"
    with pytest.raises(InvalidDestination) as raised:
        check_url("http://10.1.2.3:22/x")
    assert str(raised.value) == said
    assert check_url("http://10.1.2.3:22/x", read_networks("192.168.0.0/16, 10.0.0.0/8")).port == 22
    with pytest.raises(InvalidDestination, match=r"the address of \[::1\] is not one"):
        check_url("http://[::1]/", read_networks("127.0.0.0/8"))
    assert check_url("http://localhost/").address is None, "a name is judged when it is looked up"


def test_networks() -> None:
    assert read_networks("") == read_networks(" , ") == ()
    assert read_networks("10.0.0.0/8,::1 , 192.168.7.0/255.255.255.0") == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
        ipaddress.ip_network("192.168.7.0/24"),
    )


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "::1%eth0", "fe80::%1/64", "10", "*"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits|zone"):
        read_networks(text)
