"""The account itself: its keys, and what was changed in it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post
from litestar.params import JSONBody, PathParameter

from ringback.api.v1.door import By, needs
from ringback.api.v1.fields import Instant, epoch_ms, moment, moment_or_none
from ringback.api.v1.paging import Cursor, Limit, Page, behind, page_of
from ringback.api.v1.problems import Kind, Problem, invalid, not_found
from ringback.model.api_key import Role, Scope, make_token, may_grant, scopes_for
from ringback.store import api_keys, audit
from ringback.store.api_keys import ApiKey, KeyNotFound, NewKey
from ringback.store.audit import Entry

KeyId = Annotated[
    str, PathParameter(max_length=16, description="Id of the key: what stands in it between `rb_` and `_`.")
]
HOUR_MS = 3_600_000


class NewKeyIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key to make. ``scopes``: null for all of its role; never more than the key has that makes it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    role: Role = Role.OPERATOR
    scopes: list[Scope] | None = None
    expires_at: Instant | None = None


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old key goes on."""

    overlap_hours: Annotated[float, msgspec.Meta(ge=0, le=8_760)] = 24


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. ``key`` is the whole of it, and is shown this once."""

    id: str
    key: str


class KeyOut(msgspec.Struct, frozen=True, kw_only=True):
    """A key, without its secret."""

    id: str
    name: str
    role: Role
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class Keys(msgspec.Struct, frozen=True):
    """All keys of an account."""

    items: list[KeyOut]


class AccountOut(msgspec.Struct, frozen=True, kw_only=True):
    """The account, and the key that asks."""

    id: int
    name: str
    time_zone: str
    key: KeyOut


class AuditOut(msgspec.Struct, frozen=True, kw_only=True):
    """A change: who (`key:ID`, or `cli`), what, to what, and what it was before and after."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@get("/account", tags=["account"], **needs(Scope.ACCOUNT_READ))
async def get_account(caller: By) -> AccountOut:
    """Who calls."""
    key = caller.key
    return AccountOut(id=key.account_id, name=key.account, time_zone=key.time_zone, key=_shown(key))


@get("/keys", tags=["account"], **needs(Scope.KEYS_READ))
async def list_keys(caller: By) -> Keys:
    """The account's keys, oldest first, revoked ones too."""
    async with caller.store.read() as tx:
        return Keys([_shown(key) for key in await api_keys.of_account(tx, caller.account_id)])


# Answers with a secret are not kept, so there is no Idempotency-Key here: a lost one is revoked and made again.
@post("/keys", status_code=201, tags=["account"], **needs(Scope.KEYS_WRITE))
async def make_key(caller: By, data: JSONBody[NewKeyIn]) -> KeyMade:
    """Make a key."""
    try:
        scopes = scopes_for(data.role, None if data.scopes is None else frozenset(data.scopes))
    except ValueError as error:
        raise invalid("scopes", str(error)) from None
    if not may_grant(caller.key.scopes, scopes):
        raise Problem(Kind.FORBIDDEN, "a key cannot make one that may do more than itself")
    if not data.name.isprintable():
        raise invalid("name", "must not hold control characters")
    expires_at = None if data.expires_at is None else epoch_ms(data.expires_at, "expires_at")
    token = make_token()
    new = NewKey(
        name=data.name,
        role=data.role,
        scopes=None if data.scopes is None else frozenset(data.scopes),
        expires_at=expires_at,
    )
    async with caller.store.write() as tx:
        await api_keys.create(tx, caller.account_id, new, token, caller.now_ms, actor=caller.actor)
    return KeyMade(id=token.key_id, key=token.text)


@post(
    "/keys/{key_id:str}/rotate",
    status_code=201,
    tags=["account"],
    **needs(Scope.KEYS_WRITE, statuses=(Kind.NOT_FOUND,)),
)
async def rotate_key(caller: By, key_id: KeyId, data: JSONBody[Rotation]) -> KeyMade:
    """Replace a key by a new one like it; the old one expires after the overlap."""
    token = make_token()
    async with caller.store.write() as tx:
        try:
            old = await api_keys.get(tx, caller.account_id, key_id)
            if not may_grant(caller.key.scopes, old.scopes):
                raise Problem(Kind.FORBIDDEN, "a key cannot make one that may do more than itself")
            await api_keys.rotate(
                tx,
                caller.account_id,
                key_id,
                token,
                caller.now_ms,
                overlap_ms=round(data.overlap_hours * HOUR_MS),
                actor=caller.actor,
            )
        except KeyNotFound:
            raise not_found("valid key", key_id) from None
    return KeyMade(id=token.key_id, key=token.text)


@delete("/keys/{key_id:str}", status_code=204, tags=["account"], **needs(Scope.KEYS_WRITE, statuses=(Kind.NOT_FOUND,)))
async def revoke_key(caller: By, key_id: KeyId) -> None:
    """Let a key in no more, from now on."""
    async with caller.store.write() as tx:
        try:
            await api_keys.revoke(tx, caller.account_id, key_id, caller.now_ms, actor=caller.actor)
        except KeyNotFound:
            raise not_found("key", key_id) from None


@get("/audit", tags=["account"], **needs(Scope.AUDIT_READ))
async def audit_log(caller: By, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditOut]:
    """What was changed in the account, newest first."""
    async with caller.store.read() as tx:
        found = await audit.page(tx, caller.account_id, before=behind(cursor), limit=limit + 1)
    return page_of(found, limit, lambda entry: entry.id, _entry)


def _shown(key: ApiKey) -> KeyOut:
    return KeyOut(
        id=key.key_id,
        name=key.name,
        role=key.role,
        scopes=sorted(key.scopes),
        created_at=moment(key.created_at),
        expires_at=moment_or_none(key.expires_at),
        revoked_at=moment_or_none(key.revoked_at),
    )


def _entry(entry: Entry) -> AuditOut:
    return AuditOut(
        id=entry.id,
        at=moment(entry.at),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        before=_object(entry.before),
        after=_object(entry.after),
    )


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
