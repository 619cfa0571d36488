"""Who calls: the three signature headers, the timestamp's age, and the account's address list.

The signature is the MD5 of API key, secret and timestamp without separator, 32 hex digits in either case; the body is
not part of it. That is the vendor's published rule.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING

from ringback.api.itnio.envelope import Code, VendorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.accounts import Account

_NO_SECRET = "no such account"  # noqa: S105 - not a secret: it makes an unknown key cost what a known one costs


def sign(api_key: str, api_secret: str, timestamp: str) -> str:
    """The ``Sign`` header for a ``Timestamp`` header (Unix seconds as sent)."""
    text = f"{api_key}{api_secret}{timestamp}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def required_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    """API key, timestamp and signature as sent. Raises :class:`VendorError` naming the one that is missing."""
    values = []
    for name in ("Api-Key", "Timestamp", "Sign"):
        value = headers.get(name.lower(), "").strip()
        if not value:
            raise VendorError(Code.AUTHENTICATION, f"the {name} header is missing")
        values.append(value)
    return values[0], values[1], values[2]


def check_caller(
    account: Account | None,
    *,
    api_key: str,
    timestamp: str,
    signature: str,
    address: str,
    now_ms: int,
    tolerance_seconds: int,
) -> Account:
    """The account, when the signature is right, the timestamp fresh and the address allowed.

    Raises :class:`VendorError`: -1, -16 or -2. An unknown key and a wrong signature look alike.
    """
    secret = account.api_secret if account is not None else _NO_SECRET
    expected = sign(api_key, secret, timestamp)
    right = hmac.compare_digest(expected.encode(), signature.lower().encode())
    if account is None or not right:
        raise VendorError(Code.AUTHENTICATION, "authentication error: unknown key or wrong signature")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise VendorError(Code.TIMESTAMP_EXPIRED, "Timestamp must be the Unix time in seconds")
    if abs(now_ms / 1000 - int(timestamp)) > tolerance_seconds:
        raise VendorError(
            Code.TIMESTAMP_EXPIRED, f"timestamp expired: it may be {tolerance_seconds} seconds off, either way"
        )
    if not address_allowed(account.allowed_networks, address):
        raise VendorError(Code.ADDRESS_NOT_ALLOWED, f"the address {address} is not on this account's list")
    return account


def address_allowed(networks: tuple[str, ...], address: str) -> bool:
    """Whether the list holds the address; an empty list holds every one."""
    if not networks:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network) for network in networks)
