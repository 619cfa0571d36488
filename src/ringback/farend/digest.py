"""Asks callers for a user and a password: SIP digest authentication (RFC 3261 section 22, MD5 with qop=auth)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from aiosipua import AuthChallenge, SipDigestAuth, build_credentials, parse_auth, stringify_auth

if TYPE_CHECKING:
    from ringback.clock import Clock

REALM: Final = "ringback far end"
#: A challenge can be answered this long.
NONCE_SECONDS: Final = 300


class Credentials(msgspec.Struct, frozen=True):
    """What a caller must know."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


class Verdict(Enum):
    """What an Authorization header is worth."""

    RIGHT = "right"
    WRONG = "wrong"
    ABSENT = "absent"
    STALE = "stale"  # the nonce is too old or of another process: the caller may try again


class Gatekeeper:
    """Challenges callers and checks their answers. Keeps nothing per caller: a nonce is a signed time."""

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def challenge(self, *, stale: bool = False) -> str:
        """A WWW-Authenticate header value."""
        now = f"{self._clock.now_ms():x}"
        params = {"realm": REALM, "nonce": f"{now}.{self._sign(now)}", "algorithm": "MD5", "qop": "auth"}
        if stale:
            params["stale"] = "true"
        return stringify_auth(AuthChallenge(scheme="Digest", params=params))

    def check(self, method: str, authorization: str | None) -> Verdict:
        """Judge the Authorization header value of a request, if it has one."""
        if authorization is None:
            return Verdict.ABSENT
        given = parse_auth(authorization, credentials=True)
        params = {name.lower(): value for name, value in given.params.items()}
        if given.scheme.lower() != "digest" or params.get("realm") != REALM:
            return Verdict.ABSENT  # meant for somebody else
        if not self._is_fresh(params.get("nonce", "")):
            return Verdict.STALE
        expected = self._expected(method, params)
        right = hmac.compare_digest(expected.encode(), params.get("response", "").lower().encode())
        return Verdict.RIGHT if right else Verdict.WRONG

    def _expected(self, method: str, params: dict[str, str]) -> str:
        """The response that our user and password give. The digest URI is taken as given: some callers use another one
        than the request's, and nothing here depends on it.
        """
        challenge = {"realm": REALM, "nonce": params["nonce"], "algorithm": "MD5"}
        if "qop" in params:
            challenge["qop"] = "auth"
        try:
            nonce_count = int(params.get("nc", "1"), 16)
        except ValueError:
            return ""
        ours = build_credentials(
            SipDigestAuth(self._credentials.user, self._credentials.password),
            AuthChallenge(scheme="Digest", params=challenge),
            method,
            params.get("uri", ""),
            nonce_count=nonce_count,
            cnonce=params.get("cnonce", ""),
        )
        return "" if ours is None else ours.params["response"]

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]

    def _is_fresh(self, nonce: str) -> bool:
        made, _, signature = nonce.partition(".")
        if not hmac.compare_digest(self._sign(made).encode(), signature.encode()):
            return False
        return self._clock.now_ms() - int(made, 16) <= NONCE_SECONDS * 1_000
