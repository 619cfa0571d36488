"""What an engine may be asked to dial and to show. Every engine checks it again, whoever checked it before.

Both texts end up in a request of some protocol; what could change the meaning of one is refused.
"""

from __future__ import annotations

import re
from typing import Final

from ringback.model.routing import MAX_DIALLED_DIGITS, is_dialable

_PHONE_USER: Final = re.compile(r"[0-9A-Za-z._~+-]{1,64}")
_CALLER_ID: Final = re.compile(r"[0-9A-Za-z+_.-]{0,64}")


def check_callee(callee: str, what: str = "callee") -> None:
    """Raises ValueError unless it is a number: digits, with or without a leading plus sign. ``what`` names it."""
    if not is_dialable(callee):
        raise ValueError(f"{what} must be 1 to {MAX_DIALLED_DIGITS} digits, with or without a leading +")


def check_phone_user(user: str) -> None:
    """Raises ValueError unless it can stand as it is in front of the host in a SIP address."""
    if not is_phone_user(user):
        raise ValueError("phone user must be 1 to 64 of 0-9 A-Z a-z . _ ~ + -")


def is_phone_user(text: str) -> bool:
    """Whether :func:`check_phone_user` lets it through."""
    return _PHONE_USER.fullmatch(text) is not None


def check_caller_id(caller_id: str) -> None:
    """Raises ValueError unless it is a number or a plain name; empty is allowed and means none."""
    if not is_caller_id(caller_id):
        raise ValueError("caller id must be at most 64 of 0-9 A-Z a-z + _ . -")


def is_caller_id(text: str) -> bool:
    """Whether :func:`check_caller_id` lets it through."""
    return _CALLER_ID.fullmatch(text) is not None
