"""Keys of our own door: who holds one may do what its scopes say, in one account.

A key is shown once. Its secret is 256 random bits, so what is stored is a plain SHA-256 of it: a slow hash protects
secrets that people choose, and here it would only cost every request milliseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum

import msgspec

_KEY_ID_BYTES = 10
_SECRET_BYTES = 32
_TOKEN = re.compile(r"rb_([a-z2-7]{16})_([0-9A-Za-z_-]{43})", re.ASCII)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
#: Compared with when there is no such key: as long as a hash, and the hash of nothing.
_NOBODY = "-" * 64


class Scope(StrEnum):
    """What a key may be allowed to do."""

    ACCOUNT_READ = "account:read"
    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    FLOWS_READ = "flows:read"
    FLOWS_WRITE = "flows:write"
    CALLS_READ = "calls:read"
    RECORDINGS_READ = "recordings:read"
    TEMPLATES_READ = "templates:read"
    TEMPLATES_WRITE = "templates:write"
    REPORTS_READ = "reports:read"
    REPORTS_WRITE = "reports:write"
    KEYS_READ = "keys:read"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"


class Role(StrEnum):
    """What a key is for; its scopes may only be fewer than its role's."""

    VIEWER = "viewer"  # reads what happens
    OPERATOR = "operator"  # and makes and changes it
    OWNER = "owner"  # and hands out keys


_OF_VIEWERS = frozenset(
    {
        Scope.ACCOUNT_READ,
        Scope.TASKS_READ,
        Scope.FLOWS_READ,
        Scope.CALLS_READ,
        Scope.TEMPLATES_READ,
        Scope.REPORTS_READ,
    }
)
_OF_OPERATORS = _OF_VIEWERS | {
    Scope.TASKS_WRITE,
    Scope.FLOWS_WRITE,
    Scope.RECORDINGS_READ,
    Scope.TEMPLATES_WRITE,
    Scope.REPORTS_WRITE,
}
SCOPES_OF: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: _OF_VIEWERS,
    Role.OPERATOR: _OF_OPERATORS,
    Role.OWNER: frozenset(Scope),
}


class Token(msgspec.Struct, frozen=True):
    """What a caller sends: which key, and its secret."""

    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"Token(key_id={self.key_id!r})"

    @property
    def text(self) -> str:
        """As it is written: ``rb_<key id>_<secret>``."""
        return f"rb_{self.key_id}_{self.secret}"


def make_token() -> Token:
    """A new key."""
    number = int.from_bytes(secrets.token_bytes(_KEY_ID_BYTES))
    key_id = "".join(_ALPHABET[number >> 5 * place & 31] for place in range(16))
    return Token(key_id, secrets.token_urlsafe(_SECRET_BYTES))


def parse_token(text: str) -> Token | None:
    """The key that a caller sent; ``None`` for what cannot be one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else Token(found[1], found[2])


def hash_secret(secret: str) -> str:
    """What is stored of a secret: SHA-256, 64 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_token(token: Token | None, stored_hash: str | None) -> bool:
    """Whether the secret is the stored one's. No key, an unknown one and a wrong one take the same way."""
    given = hash_secret("" if token is None else token.secret)
    right = hmac.compare_digest(given, stored_hash or _NOBODY)
    return right and token is not None and stored_hash is not None


def scopes_for(role: Role, asked: frozenset[Scope] | None) -> frozenset[Scope]:
    """The scopes of a key. Raises ValueError for one that is not its role's."""
    own = SCOPES_OF[role]
    beyond = sorted((asked or frozenset()) - own)
    if beyond:
        raise ValueError(f"a key of the role {role} cannot have the scope {beyond[0]}")
    return own if asked is None else asked


def may_grant(granter: frozenset[Scope], granted: frozenset[Scope]) -> bool:
    """Whether a key with the first scopes may make one with the second: nobody hands out more than they have."""
    return granted <= granter
