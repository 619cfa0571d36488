"""``fileUpload``, ``fileQuery`` and ``getVoiceFile``: audio that voice tasks play, and recordings of calls."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
from litestar import Response

from ringback.api.itnio.answers import Page, page_of
from ringback.api.itnio.door import Call, Success, post_route, stream_route
from ringback.api.itnio.envelope import Code, VendorError, bad
from ringback.api.itnio.fields import paging
from ringback.store import call_records, voice_files
from ringback.store.accounts import NameTaken
from ringback.voice.transcode import SUFFIXES, NoConverter, NotAudio, mp3_of_pcm, mp3_of_wav, pcm_of, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

    from ringback.api.itnio.door import Door
    from ringback.store.database import Tx

MIN_NAME, MAX_NAME = 5, 32
DEFAULT_SIZE = 25
#: Programs that convert at the same time: each takes a core.
CONVERTING = asyncio.Semaphore(2)
_RECORDING = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)

log = structlog.get_logger(__name__)


class FileUploadIn(msgspec.Struct, frozen=True):
    """``fileUpload``."""

    fileName: str
    file: str


class FileQueryIn(msgspec.Struct, frozen=True):
    """``fileQuery``."""

    current: int = 1
    size: int = DEFAULT_SIZE


class FileOut(msgspec.Struct, frozen=True):
    """A file in the list."""

    fileId: str
    fileName: str


class Upload(msgspec.Struct, frozen=True):
    """A file that came with a request, converted and not stored yet. ``field`` is what the request calls its name."""

    file_id: str
    name: str
    pcm: bytes
    field: str


def routes(door: Door) -> list[HTTPRouteHandler]:
    """The operations of this family."""
    largest = door.settings.max_body_megabytes
    return [
        *post_route(door, "/fileUpload", FileUploadIn, upload, answers=str, max_megabytes=largest),
        *post_route(door, "/fileQuery", FileQueryIn, query, answers=Page[FileOut]),
        *stream_route(door, "/getVoiceFile", download, parameter="voiceFileId"),
    ]


async def upload(call: Call, asked: FileUploadIn) -> Success:
    """Store a file (.wav, .mp3, .m4a), converted for the telephone. ``data`` is its id."""
    found = await upload_asked(call, asked.fileName, asked.file, name="fileName", data_field="file")
    async with call.door.store.write() as tx:
        await store_upload(tx, call, found)
    return Success(found.file_id)


async def query(call: Call, wanted: FileQueryIn) -> Success:
    """The account's files, newest first."""
    limit, offset = paging(wanted.current, wanted.size)
    async with call.door.store.read() as tx:
        total, found = await voice_files.page(tx, call.account.id, limit=limit, offset=offset)
    records = [FileOut(one.file_id, one.name) for one in found]
    return Success(page_of(total, wanted.current, wanted.size, records))


async def download(call: Call, key: str) -> Response[bytes]:
    """A file or a recording as MP3. What cannot be sent is answered with HTTP 500 and a text, as published."""
    mp3 = await _mp3(call, key)
    if mp3 is None:
        said = f"Failed to download {key[:64]!a}"
        return Response(said.encode(), status_code=500, media_type="text/plain")
    name = re.sub(r"[^0-9A-Za-z._-]", "_", key)[:64].rpartition(".")[0] or key
    return Response(
        mp3,
        status_code=200,
        media_type="audio/mpeg",
        headers={"Content-Disposition": f'attachment; filename="{name}.mp3"'},
    )


async def upload_asked(call: Call, file_name: str | None, data: str | None, *, name: str, data_field: str) -> Upload:
    """The file that came with a request, converted. ``name`` and ``data_field`` are what the request calls its members.

    Raises :class:`VendorError` (-20, -21, -22). Nothing is stored yet.
    """
    if file_name is None:
        raise bad(name, "is missing")
    if data is None:
        raise bad(data_field, "is missing")
    shown = file_name.strip()
    if not MIN_NAME <= len(shown) <= MAX_NAME:
        raise bad(name, f"must have {MIN_NAME} to {MAX_NAME} characters, has {len(shown)}")
    suffix = suffix_of(shown)
    if suffix is None or not shown.isprintable() or "/" in shown or "\\" in shown:
        raise bad(name, f"must be a file name that ends in one of {', '.join(SUFFIXES)}")
    async with call.door.store.read() as tx:
        if await voice_files.has_name(tx, call.account.id, shown):
            raise VendorError(Code.EXISTS, f"{name}: a file named {shown!r} exists already")
    try:
        # Clients break the lines of base64, or not.
        raw = base64.b64decode("".join(data.split()).rpartition("base64,")[2], validate=True)
    except (binascii.Error, ValueError):
        raise bad(data_field, "is not base64") from None
    try:
        pcm = await _converted(lambda: pcm_of(raw, suffix))
    except NotAudio as error:
        raise VendorError(Code.VALIDATION, f"{data_field}: {error}") from None
    return Upload(secrets.token_hex(20) + suffix, shown, pcm, name)


async def store_upload(tx: Tx, call: Call, of: Upload) -> None:
    """Store it. Raises :class:`VendorError` (-20)."""
    try:
        await voice_files.add(tx, call.account.id, file_id=of.file_id, name=of.name, pcm=of.pcm, now_ms=call.now_ms)
    except NameTaken as error:
        raise VendorError(Code.EXISTS, f"{of.field}: {error}") from None


async def _mp3(call: Call, key: str) -> bytes | None:
    """The file, or the recording, of that id as MP3; ``None`` when there is none, or it cannot be read."""
    recording = _RECORDING.fullmatch(key)
    async with call.door.store.read() as tx:
        if recording is None:
            pcm = await voice_files.pcm_of(tx, call.account.id, key)
            path = None
        else:
            found = await call_records.of_account(tx, call.account.id, int(recording[2]))
            pcm = None
            path = None if found is None or found.recording_id != key else found.recording
    try:
        if pcm is not None:
            return await _converted(lambda: mp3_of_pcm(pcm))
        if path is not None:
            file = Path(call.door.settings.recordings) / path
            return await _converted(lambda: mp3_of_wav(file))
    except (OSError, NotAudio, NoConverter) as error:
        log.warning("file_not_sent", error=str(error) or type(error).__name__)
    return None


async def _converted(work: Callable[[], bytes]) -> bytes:
    async with CONVERTING:
        return await asyncio.to_thread(work)
