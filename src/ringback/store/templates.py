"""Agent templates and the audio that came with them. A template is never changed, only retired."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from ringback.model.template import Template
from ringback.store.schema import template, template_audio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.store.database import Tx


class StoredTemplate(msgspec.Struct, frozen=True):
    """A template with its id; ``retired`` ones start no more tasks. ``voice_node``: see :func:`add`."""

    id: int
    retired: bool
    template: Template
    voice_node: str | None = None


async def add(
    tx: Tx,
    value: Template,
    audio: Mapping[str, bytes],
    *,
    account_id: int | None,
    now_ms: int,
    voice_node: str | None = None,
) -> int:
    """Store a template with its audio (PCM by file name), for one account or for all. Returns its id.

    ``voice_node``: the vendor's voice node that it was made from, as JSON; ``None`` for an agent template.
    """
    inserted = await tx.execute(
        insert(template)
        .values(
            account_id=account_id,
            name=value.name,
            body=msgspec.json.encode(value).decode(),
            created_at=now_ms,
            voice_node=voice_node,
            digest=None if voice_node is None else _digest(voice_node),
        )
        .returning(template.c.id)
    )
    template_id = int(inserted.scalar_one())
    if audio:
        await tx.execute(
            insert(template_audio),
            [{"template_id": template_id, "file": file, "pcm": pcm} for file, pcm in audio.items()],
        )
    return template_id


async def of_voice_node(
    tx: Tx, voice_node: str, value: Template, audio: Mapping[str, bytes], *, account_id: int, now_ms: int
) -> int:
    """The account's template made from that voice node, stored unless it has it. Equal nodes share one. Returns its id.

    A file that a node plays is named by its id, and what an id names never changes.
    """
    same = select(template.c.id).where(template.c.account_id == account_id, template.c.digest == _digest(voice_node))
    found = await tx.scalar(same)
    if found is not None:
        return int(found)
    try:
        async with tx.begin_nested():
            return await add(tx, value, audio, account_id=account_id, now_ms=now_ms, voice_node=voice_node)
    except IntegrityError:  # somebody else has just stored it
        return int((await tx.execute(same)).scalar_one())


def _digest(voice_node: str) -> str:
    return hashlib.sha256(voice_node.encode()).hexdigest()


async def usable(tx: Tx, account_id: int, template_id: int) -> StoredTemplate | None:
    """The agent template, when this account may use it and it is not retired."""
    found = await get(tx, template_id, account_id=account_id)
    return None if found is None or found.retired or found.voice_node is not None else found


async def get(tx: Tx, template_id: int, *, account_id: int | None = None) -> StoredTemplate | None:
    """The template; with ``account_id`` only when that account may use it."""
    query = select(template.c.retired_at, template.c.body, template.c.voice_node).where(template.c.id == template_id)
    if account_id is not None:
        query = query.where(or_(template.c.account_id.is_(None), template.c.account_id == account_id))
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        return None
    body = msgspec.json.decode(row.body, type=Template)
    return StoredTemplate(template_id, row.retired_at is not None, body, row.voice_node)


async def audio_of(tx: Tx, template_id: int) -> dict[str, bytes]:
    """The template's audio, PCM by file name."""
    rows = await tx.execute(
        select(template_audio.c.file, template_audio.c.pcm).where(template_audio.c.template_id == template_id)
    )
    return {row.file: row.pcm for row in rows}


async def listed(tx: Tx) -> list[tuple[int, str, bool]]:
    """Every agent template: id, name, whether it is retired; oldest first."""
    of_agents = select(template.c.id, template.c.name, template.c.retired_at).where(template.c.voice_node.is_(None))
    rows = await tx.execute(of_agents.order_by(template.c.id))
    return [(row.id, row.name, row.retired_at is not None) for row in rows]


async def of_account(tx: Tx, account_id: int) -> list[tuple[int, str]]:
    """The agent templates that the account may use for new tasks: id and name, oldest first."""
    rows = await tx.execute(
        select(template.c.id, template.c.name)
        .where(
            or_(template.c.account_id.is_(None), template.c.account_id == account_id),
            template.c.voice_node.is_(None),
            template.c.retired_at.is_(None),
        )
        .order_by(template.c.id)
    )
    return [(row.id, row.name) for row in rows]


async def retire(tx: Tx, template_id: int, now_ms: int, *, account_id: int | None = None) -> bool:
    """Let it start no more tasks; with ``account_id`` only an agent template that is that account's own.

    False when there is none, or it is retired already.
    """
    named = [template.c.id == template_id, template.c.retired_at.is_(None)]
    if account_id is not None:
        named += [template.c.account_id == account_id, template.c.voice_node.is_(None)]
    done = await tx.execute(update(template).where(*named).values(retired_at=now_ms))
    return done.rowcount == 1
