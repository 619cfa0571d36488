"""Keys of our own door: made, listed, revoked, replaced; and looked up for every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import insert, or_, select, update

from ringback.model.api_key import Role, Scope, Token, hash_secret, scopes_for
from ringback.store import audit
from ringback.store.lookups import ByKey
from ringback.store.schema import account
from ringback.store.schema_identity import api_key

if TYPE_CHECKING:
    from ringback.store.database import Tx


class KeyNotFound(Exception):
    """No such key in this account, or it is revoked."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with what a request needs of its account. ``expires_at``: epoch ms, ``None`` for never."""

    id: int
    account_id: int
    account: str
    time_zone: str
    allowed_networks: tuple[str, ...]
    key_id: str
    name: str
    role: Role
    scopes: frozenset[Scope]
    hash: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None

    def __repr__(self) -> str:
        return f"ApiKey(key_id={self.key_id!r})"

    def is_valid(self, now_ms: int) -> bool:
        """Whether it lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to make. ``scopes`` ``None``: all of its role."""

    name: str
    role: Role
    scopes: frozenset[Scope] | None = None
    expires_at: int | None = None


async def create(tx: Tx, account_id: int, new: NewKey, token: Token, now_ms: int, *, actor: str) -> int:
    """Store a key. Returns its id. Raises ValueError for a scope that is not its role's."""
    scopes_for(new.role, new.scopes)
    made = await tx.execute(
        insert(api_key)
        .values(
            account_id=account_id,
            key_id=token.key_id,
            name=new.name,
            role=new.role,
            scopes=None if new.scopes is None else sorted(new.scopes),
            hash=hash_secret(token.secret),
            created_at=now_ms,
            expires_at=new.expires_at,
        )
        .returning(api_key.c.id)
    )
    told = {"name": new.name, "role": new.role, "scopes": sorted(new.scopes or ()), "expires_at": new.expires_at}
    await audit.write(
        tx, account_id, now_ms, actor=actor, action="key.created", subject=f"key:{token.key_id}", after=told
    )
    return int(made.scalar_one())


async def of_account(tx: Tx, account_id: int) -> list[ApiKey]:
    """The account's keys, oldest first, revoked ones too."""
    rows = await tx.execute(_KEYS.where(api_key.c.account_id == account_id).order_by(api_key.c.id))
    return [_key(row) for row in rows]


async def get(tx: Tx, account_id: int, key_id: str) -> ApiKey:
    """The account's key. Raises :class:`KeyNotFound`."""
    row = (await tx.execute(_KEYS.where(api_key.c.account_id == account_id, api_key.c.key_id == key_id))).one_or_none()
    if row is None:
        raise KeyNotFound(f"there is no key {key_id}")
    return _key(row)


async def revoke(tx: Tx, account_id: int, key_id: str, now_ms: int, *, actor: str) -> None:
    """It lets nobody in from now on. Raises :class:`KeyNotFound`."""
    own = (api_key.c.account_id == account_id, api_key.c.key_id == key_id, api_key.c.revoked_at.is_(None))
    done = await tx.execute(update(api_key).where(*own).values(revoked_at=now_ms))
    if done.rowcount == 0:
        raise KeyNotFound(f"there is no key {key_id} that is not revoked")
    await audit.write(tx, account_id, now_ms, actor=actor, action="key.revoked", subject=f"key:{key_id}")


async def rotate(
    tx: Tx, account_id: int, key_id: str, token: Token, now_ms: int, *, overlap_ms: int, actor: str
) -> int:
    """Another key with the same name, role, scopes and length of life; the old one expires after the overlap.

    Returns the new one's id. Raises :class:`KeyNotFound`.
    """
    old = await get(tx, account_id, key_id)
    if not old.is_valid(now_ms):
        raise KeyNotFound(f"there is no key {key_id} that is valid")
    ends = now_ms + overlap_ms
    later = (api_key.c.id == old.id, or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > ends))
    await tx.execute(update(api_key).where(*later).values(expires_at=ends))
    narrowed = None if old.scopes == scopes_for(old.role, None) else old.scopes
    # A key that was made to end ends again, after as long a life.
    expires_at = None if old.expires_at is None else now_ms + old.expires_at - old.created_at
    new = NewKey(name=old.name, role=old.role, scopes=narrowed, expires_at=expires_at)
    return await create(tx, account_id, new, token, now_ms, actor=actor)


_KEYS = select(
    api_key.c.id,
    api_key.c.account_id,
    account.c.name.label("account"),
    account.c.time_zone,
    account.c.allowed_networks,
    api_key.c.key_id,
    api_key.c.name,
    api_key.c.role,
    api_key.c.scopes,
    api_key.c.hash,
    api_key.c.created_at,
    api_key.c.expires_at,
    api_key.c.revoked_at,
).join(account, account.c.id == api_key.c.account_id)


def _key(row: Any) -> ApiKey:
    role = Role(row.role)
    return ApiKey(
        id=row.id,
        account_id=row.account_id,
        account=row.account,
        time_zone=row.time_zone,
        allowed_networks=tuple(row.allowed_networks),
        key_id=row.key_id,
        name=row.name,
        role=role,
        scopes=scopes_for(role, None if row.scopes is None else frozenset(map(Scope, row.scopes))),
        hash=row.hash,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


#: Keys by what stands in their tokens.
BY_KEY_ID: ByKey[str, ApiKey] = ByKey(_KEYS, api_key.c.key_id, lambda rows: {row.key_id: _key(row) for row in rows})
