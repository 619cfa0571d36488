"""Who calls: the three sign headers, the timestamp's age, and the account's address list.

The signature is the MD5 of API key, secret and timestamp without separator, 32 hex digits in either case; the body is
not part of it. That is the vendor's published rule.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from ringback.api.addresses import address_allowed
from ringback.api.itnio.envelope import Code, VendorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.accounts import Account

_NO_SECRET = "no such account"  # noqa: S105 - not a secret: it makes an unknown key cost what a known one costs
_SIGNATURE = re.compile(r"[0-9a-f]{32}", re.ASCII)
#: As long as a signature and never equal to one.
_MALFORMED = "-" * 32


def sign(api_key: str, api_secret: str, timestamp: str) -> str:
    """The ``Sign`` header for a ``Timestamp`` header (Unix seconds as sent)."""
    text = f"{api_key}{api_secret}{timestamp}".encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def required_headers(headers: Mapping[str, str], codes: Mapping[str, int]) -> tuple[str, str, str]:
    """API key, timestamp and signature as sent. Raises :class:`VendorError` naming the one that is missing.

    ``codes``: which code that is, by the header's name, where a family has such.
    """
    values = []
    for name in ("Api-Key", "Timestamp", "Sign"):
        value = headers.get(name.lower(), "").strip()
        if not value:
            raise VendorError(codes.get(name, Code.AUTHENTICATION), f"the {name} header is missing")
        values.append(value)
    return values[0], values[1], values[2]


def check_signature(account: Account | None, *, api_key: str, timestamp: str, signature: str) -> Account:
    """The account, when the signature is right.

    Raises :class:`VendorError` (-1). An unknown key and a wrong signature take the same way and look alike.
    """
    secret = account.api_secret if account is not None else _NO_SECRET
    given = signature.lower()
    if _SIGNATURE.fullmatch(given) is None:
        given = _MALFORMED
    right = hmac.compare_digest(sign(api_key, secret, timestamp).encode(), given.encode())
    if account is None or not right:
        raise VendorError(Code.AUTHENTICATION, "authentication error: unknown key or wrong signature")
    return account


def check_timestamp(timestamp: str, *, now_ms: int, tolerance_seconds: int) -> None:
    """Pass when the request is fresh. Raises :class:`VendorError` (-16)."""
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):
        raise VendorError(Code.TIMESTAMP_EXPIRED, "Timestamp must be the Unix time in seconds")
    if abs(now_ms / 1000 - int(timestamp)) > tolerance_seconds:
        raise VendorError(
            Code.TIMESTAMP_EXPIRED, f"timestamp expired: it may be {tolerance_seconds} seconds off, either way"
        )


def check_address(account: Account, address: str) -> None:
    """Pass when the account may be used from there. Raises :class:`VendorError` (-2)."""
    if not address_allowed(account.allowed_networks, address):
        raise VendorError(Code.ADDRESS_NOT_ALLOWED, f"the address {address} is not on this account's list")
