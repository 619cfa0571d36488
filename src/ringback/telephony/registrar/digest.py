"""Digest authentication of phones (RFC 3261 section 22, RFC 7616 with MD5 and qop=auth).

Nothing is kept for whoever only asks: a nonce is a signed time that belongs to the address it was given to. Of nonces
that were answered rightly the last count is kept, so that no answer is taken twice.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from aiosipua import parse_auth

from ringback.model.phones import REALM, md5

if TYPE_CHECKING:
    from ringback.clock import Clock

#: A challenge can be answered this long.
NONCE_SECONDS: Final = 60
#: Nonces whose count is kept. Only phones with the right password add one, each for a minute.
MOST_NONCES: Final = 20_000

_HEX32: Final = re.compile(r"[0-9a-f]{32}")
_COUNT: Final = re.compile(r"[0-9a-fA-F]{8}")
#: Compared with when there is no such phone, so that it takes as long.
_NOBODY: Final = md5("nobody")


class Given(msgspec.Struct, frozen=True):
    """An answer to a challenge of ours, well formed but not judged."""

    login: str
    nonce: str
    uri: str
    count: int
    client_nonce: str
    response: str
    count_text: str


class Turn(Enum):
    """Whether a right answer may be acted on."""

    NEW = "new"
    AGAIN = "again"  # exactly this one has been acted on: it was repeated on the way
    USED = "used"  # by another request, or overtaken


class Challenges:
    """Makes challenges and judges answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        #: The last count of each nonce, and the request that had it; oldest nonce first.
        self._counts: OrderedDict[str, tuple[int, object]] = OrderedDict()

    def challenge(self, host: str, *, stale: bool = False) -> str:
        """A WWW-Authenticate header value for whoever is at ``host``."""
        # Two that ask in the same millisecond, from one address, must not get the same.
        made = f"{self._clock.now_ms():x}.{secrets.token_hex(4)}"
        value = f'Digest realm="{REALM}", nonce="{made}.{self._sign(made, host)}", algorithm=MD5, qop="auth"'
        return value + ", stale=true" if stale else value

    def is_fresh(self, nonce: str, host: str) -> bool:
        """Whether the nonce is one of ours, for that address, and not too old."""
        made, _, signature = nonce.rpartition(".")
        if not hmac.compare_digest(self._sign(made, host).encode(), signature.encode()):
            return False
        age = self._clock.now_ms() - _made_at(nonce)
        return 0 <= age <= NONCE_SECONDS * 1_000

    def is_right(self, method: str, given: Given, ha1: str | None) -> bool:
        """Whether the answer shows that its sender knows the password. ``ha1`` ``None``: there is no such phone.

        The digest URI is taken as given: some phones use another one than the request's, and nothing depends on it.
        """
        parts = (
            ha1 or _NOBODY,
            given.nonce,
            given.count_text,
            given.client_nonce,
            "auth",
            md5(f"{method}:{given.uri}"),
        )
        same = hmac.compare_digest(md5(":".join(parts)).encode(), given.response.encode())
        return same and ha1 is not None

    def take(self, given: Given, request: object) -> Turn:
        """Use the count of a right answer. ``request`` is equal for repetitions of one request only."""
        last = self._counts.get(given.nonce)
        if last is not None and given.count <= last[0]:
            return Turn.AGAIN if last == (given.count, request) else Turn.USED
        if last is None:
            self._forget_old()
            if len(self._counts) >= MOST_NONCES:
                return Turn.USED  # so the phone asks for a new one, and finds room a moment later
        self._counts[given.nonce] = (given.count, request)
        return Turn.NEW

    def _forget_old(self) -> None:
        oldest_kept = self._clock.now_ms() - NONCE_SECONDS * 1_000
        while self._counts and _made_at(next(iter(self._counts))) < oldest_kept:
            self._counts.popitem(last=False)

    def _sign(self, made: str, host: str) -> str:
        return hmac.new(self._secret, f"{made} {host}".encode(), hashlib.sha256).hexdigest()[:32]


def _made_at(nonce: str) -> int:
    """When one of our nonces was made, epoch ms."""
    return int(nonce.partition(".")[0], 16)


def read_answer(authorization: str) -> Given | None:
    """The parts of an Authorization header value; ``None`` when it is no complete answer to a challenge of ours."""
    try:
        found = parse_auth(authorization, credentials=True)
    except ValueError:
        return None
    params = {name.lower(): value for name, value in found.params.items()}
    if found.scheme.lower() != "digest" or params.get("realm") != REALM or params.get("qop", "").lower() != "auth":
        return None
    count = params.get("nc", "")
    response = params.get("response", "").lower()
    if params.get("algorithm", "MD5").upper() != "MD5" or not _COUNT.fullmatch(count) or not _HEX32.fullmatch(response):
        return None
    return Given(
        login=params.get("username", ""),
        nonce=params.get("nonce", ""),
        uri=params.get("uri", ""),
        count=int(count, 16),
        client_nonce=params.get("cnonce", ""),
        response=response,
        count_text=count,
    )
