"""A recording on its way from Asterisk into a file here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


async def save(path: Path, chunks: AsyncIterator[bytes]) -> None:
    """Write ``chunks`` to ``path``: the file is there whole or not at all, for its owner only. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        await asyncio.to_thread(_begin, part)
        async for chunk in chunks:
            await asyncio.to_thread(_append, part, chunk)
        await asyncio.to_thread(part.replace, path)
    except BaseException:
        await asyncio.to_thread(part.unlink, missing_ok=True)
        raise


def _begin(part: Path) -> None:
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part.touch(mode=0o600)
    part.write_bytes(b"")


def _append(part: Path, chunk: bytes) -> None:
    with part.open("ab") as file:
        file.write(chunk)
