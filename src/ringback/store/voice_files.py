"""Uploaded audio of accounts. What an id names never changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from ringback.store.accounts import NameTaken
from ringback.store.schema_files import voice_file

if TYPE_CHECKING:
    from ringback.store.database import Tx


class VoiceFile(msgspec.Struct, frozen=True):
    """An uploaded file, as it is listed."""

    file_id: str
    name: str


async def add(tx: Tx, account_id: int, *, file_id: str, name: str, pcm: bytes, now_ms: int) -> None:
    """Store a file: ``pcm`` is the audio of the telephony port. Raises :class:`~ringback.store.accounts.NameTaken`."""
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(voice_file).values(account_id=account_id, file_id=file_id, name=name, pcm=pcm, created_at=now_ms)
            )
    except IntegrityError:
        raise NameTaken(f"a file named {name!r} exists already") from None


async def page(tx: Tx, account_id: int, *, limit: int, offset: int) -> tuple[int, list[VoiceFile]]:
    """The account's files, newest first; and how many there are."""
    own = voice_file.c.account_id == account_id
    total = int(await tx.scalar(select(func.count()).select_from(voice_file).where(own)) or 0)
    rows = await tx.execute(
        select(voice_file.c.file_id, voice_file.c.name)
        .where(own)
        .order_by(voice_file.c.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return total, [VoiceFile(row.file_id, row.name) for row in rows]


async def has_name(tx: Tx, account_id: int, name: str) -> bool:
    """Whether the account has a file of that name."""
    own = (voice_file.c.account_id == account_id, voice_file.c.name == name)
    return await tx.scalar(select(voice_file.c.id).where(*own)) is not None


async def pcm_of(tx: Tx, account_id: int, file_id: str) -> bytes | None:
    """The audio of the account's file; ``None`` when there is no such one."""
    own = (voice_file.c.account_id == account_id, voice_file.c.file_id == file_id)
    found: bytes | None = await tx.scalar(select(voice_file.c.pcm).where(*own))
    return found


async def exists(tx: Tx, account_id: int, file_id: str) -> bool:
    """Whether the account has a file of that id."""
    own = (voice_file.c.account_id == account_id, voice_file.c.file_id == file_id)
    return await tx.scalar(select(voice_file.c.id).where(*own)) is not None
