"""Where reports may go: the addresses that are public, or allowed by setting, and the URLs that lead to one host for
everybody who reads them.

Receivers are set by people who may not reach the network that Ringback stands in. What is not known to be public is
refused: see ``docs/decisions/0026-where-reports-may-go.md``.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL: Final = 2_000
SETTING: Final = "report_networks"

#: IANA's special-purpose registry for IPv4, without what only names such a network and is public all the same.
_NOT_PUBLIC_4: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for itself
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; the metadata of one cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a public address that is the host of every machine at Azure
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; the metadata of one cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
#: The only part of IPv6 that is given out for use on the Internet, and what in it is not public.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
#: The 96 bits before an IPv4 address: compatible, mapped, translated (RFC 2765), NAT64 (RFC 6052).
_BEFORE_IPV4: Final = frozenset({0, 0xFFFF, 0xFFFF_0000, 0x0064_FF9B << 64})
_32_BITS: Final = 0xFFFF_FFFF

_URL: Final = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::(?P<port>[0-9]{1,9}))?"
    r"(?:[/?][!-~]*)?"
)
_LABEL: Final = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?")
#: A last part of a host that makes it an address for who reads it as `inet_aton` does (127.1, 0x7f.1, 2130706433).
_NUMBER: Final = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")


class InvalidDestination(ValueError):
    """Reports cannot, or may not, go there. The text says why, for people, and reads on from what is at fault."""


class Destination(msgspec.Struct, frozen=True):
    """What a URL leads to. ``address``: that of the host when it is written as one, ``None`` for a name."""

    host: str
    port: int
    address: Address | None


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks (CIDR) and single addresses with commas between. Raises ValueError with a text for people."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if "%" in part:
            raise ValueError(f"{part!r} has a zone, and a network has none")
    return tuple(ipaddress.ip_network(part) for part in parts)


def is_allowed(address: Address | str, networks: Iterable[Network] = ()) -> bool:
    """Whether reports may go to that address: it is public, or in one of these networks.

    An IPv6 address that carries an IPv4 address must be allowed itself, and so must the address that it carries.
    What is no address in its usual spelling, or has a zone (``fe80::1%eth0``), is never allowed.
    """
    if isinstance(address, str):
        try:
            address = ipaddress.ip_address(address)
        except ValueError:
            return False
    networks = tuple(networks)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or not all(is_allowed(inner, networks) for inner in _carried(address)):
            return False
        public = address in _GLOBAL_UNICAST and not any(address in network for network in _NOT_PUBLIC_6)
    else:
        public = not any(address in network for network in _NOT_PUBLIC_4)
    return public or any(address in network for network in networks)


def refusal(host: str) -> str:
    """What is said of a host whose address is not allowed. It does not say which address, nor what is there."""
    return f"the address of {host} is not one that reports may go to (setting {SETTING})"


def read_url(url: str) -> Destination:
    """What a URL leads to. Raises :class:`InvalidDestination` unless every reader would read it the same:
    http or https, a plain ASCII name or an address in its usual spelling, no user, no fragment.
    """
    found = _URL.fullmatch(url)
    if len(url) > MAX_URL or "#" in url or found is None:
        raise InvalidDestination(
            f"must be http://HOST… or https://HOST…, at most {MAX_URL} ASCII characters, without user and fragment"
        )
    host = found["host"]
    port = int(found["port"] or (443 if len(found["scheme"]) == len("https") else 80))
    if not 1 <= port <= 65_535:
        raise InvalidDestination(f"must have a port from 1 to 65535, has {port}")
    return Destination(host, port, _address_of(host))


def check_url(url: str, networks: Iterable[Network] = ()) -> Destination:
    """The same, and raises :class:`InvalidDestination` also when it is of an address that is not allowed.

    A name is judged when it is looked up, each time.
    """
    found = read_url(url)
    if found.address is not None and not is_allowed(found.address, networks):
        raise InvalidDestination(f"is refused: {refusal(found.host)}")
    return found


def _address_of(host: str) -> Address | None:
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise InvalidDestination(f"must have an IPv6 address in the brackets, has {host}") from None
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError:
            raise InvalidDestination(f"must have an address as four decimal numbers, has {host}") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidDestination(f"must have a host name of letters, digits, hyphens and dots, has {host}")
    return None


def _carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that somebody on the way may take it for."""
    value = int(address)
    last, first = value & _32_BITS, value >> 96
    # :: and ::1 carry none.
    if value >> 32 in _BEFORE_IPV4 and value > 1:
        yield ipaddress.IPv4Address(last)
    if value >> 112 == 0x2002:  # 6to4
        yield ipaddress.IPv4Address(value >> 80 & _32_BITS)
    if first == 0x2001_0000:  # Teredo: its server, and the client with every bit turned
        yield ipaddress.IPv4Address(value >> 64 & _32_BITS)
        yield ipaddress.IPv4Address(last ^ _32_BITS)
    if value >> 32 & 0xFCFF_FFFF == 0x0000_5EFE:  # ISATAP, whatever the network
        yield ipaddress.IPv4Address(last)
