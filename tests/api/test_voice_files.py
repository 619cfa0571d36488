"""Files: uploaded, listed, downloaded; and recordings of calls."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ringback.voice.transcode import pcm_of
from tests.api.vendor_world import ANSWERED, World
from tests.voice.test_transcode import encoded, tone

if TYPE_CHECKING:
    import httpx

UPLOAD, QUERY, DOWNLOAD = "/voice/fileUpload", "/voice/fileQuery", "/voice/getVoiceFile"
WAV = tone(1, rate=8_000, channels=1)


def body(**changes: Any) -> dict[str, Any]:
    right = {"fileName": "test.wav", "file": base64.b64encode(WAV).decode()}
    return {name: value for name, value in (right | changes).items() if value is not ...}


async def download(world: World, key: str, **more: Any) -> httpx.Response:
    return await world.request("GET", f"{DOWNLOAD}?voiceFileId={key}", **more)


def test_a_file_is_stored_listed_and_sent_again(world: World, tmp_path: Path) -> None:
    async def story() -> None:
        first = await world.post(UPLOAD, body())
        assert (first["code"], first["status"]) == (0, "0")
        mp3 = encoded(WAV, "-b:a", "32k", tmp_path=tmp_path, suffix=".mp3")
        broken = base64.encodebytes(mp3).decode()
        second = await world.post("/v3" + UPLOAD, body(fileName="test.mp3", file=broken))
        assert second["data"].endswith(".mp3")
        listed = (await world.post("/v3" + QUERY, {"current": 1, "size": 10}))["data"]
        assert listed == {
            "total": 2,
            "size": 10,
            "current": 1,
            "pages": 1,
            "records": [
                {"fileId": second["data"], "fileName": "test.mp3"},
                {"fileId": first["data"], "fileName": "test.wav"},
            ],
        }
        assert (await world.post(QUERY, {}))["data"]["size"] == 25
        for key in (first["data"], second["data"]):
            sent = await download(world, key)
            assert sent.status_code == 200
            assert sent.headers["content-type"] == "audio/mpeg"
            assert sent.headers["content-disposition"].startswith('attachment; filename="')
            assert len(pcm_of(sent.content, ".mp3")) > 8_000

    world.run(story())


def test_a_recording_is_sent_to_whom_it_belongs(world: World, tmp_path: Path) -> None:
    async def story() -> None:
        task_id = await world.send(enableRecording=1)
        await world.submit()
        await world.dial(ANSWERED | {"recording": f"{task_id}/1.wav"})
        path = Path(world.settings.recordings) / str(task_id) / "1.wav"
        key = f"{task_id}-1"
        missing = await download(world, key)
        assert (missing.status_code, missing.text) == (500, f"Failed to download '{key}'")
        path.parent.mkdir(parents=True)
        path.write_bytes(WAV)
        sent = await download(world, key)
        assert (sent.status_code, sent.headers["content-type"]) == (200, "audio/mpeg")
        foreign = await download(world, key, headers=world.headers(world.other))
        assert foreign.status_code == 500

    world.run(story())


@pytest.mark.parametrize(
    "key", ["nope", "1-1", "..%2F..%2Fetc%2Fpasswd", "1-999", "%0d%0aX-Evil:1", "%00", "a" * 500, "1-1.wav", "' OR 1=1"]
)
def test_what_is_no_file(world: World, key: str) -> None:
    sent = world.run(download(world, key))
    assert sent.status_code == 500
    assert sent.headers["content-type"].startswith("text/plain")
    assert sent.text.startswith("Failed to download ")
    assert "x-evil" not in sent.headers


def test_who_may_not_ask_gets_the_envelope(world: World) -> None:
    sent = world.run(download(world, "x", headers=world.headers() | {"Sign": "0" * 32}))
    assert (sent.status_code, msgspec.json.decode(sent.content)["code"]) == (200, -1)
    nothing = world.run(world.request("GET", DOWNLOAD))
    assert msgspec.json.decode(nothing.content)["msg"] == "voiceFileId: is missing"


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"fileName": ...}, -22, "fileName: is missing"),
    ({"fileName": None}, -22, "fileName: expected `str`"),
    ({"fileName": "a.mp"}, -22, "fileName: must have 5 to 32 characters, has 4"),
    ({"fileName": "a" * 29 + ".wav"}, -22, "fileName: must have 5 to 32 characters, has 33"),
    ({"fileName": "music.ogg"}, -22, "fileName: must be a file name that ends in one of .wav, .mp3, .m4a"),
    ({"fileName": "../up.wav"}, -22, "fileName: must be a file name"),
    ({"fileName": "a\\b.wav"}, -22, "fileName: must be a file name"),
    ({"fileName": "a\nb.wav"}, -22, "fileName: must be a file name"),
    ({"file": ...}, -22, "file: is missing"),
    ({"file": None}, -22, "file: expected `str`"),
    ({"file": "***"}, -22, "file: is not base64"),
    ({"file": "Base64 encoded file content"}, -21, "file: is not a wav file"),
    ({"file": ""}, -21, "file: is not a wav file"),
    ({"file": base64.b64encode(b"#EXTM3U\nfile:///etc/passwd").decode()}, -21, "file: is not a wav file"),
    ({"fileName": "wrong.mp3"}, -21, "file: is not a mp3 file"),
]


@pytest.mark.parametrize(("changes", "code", "message"), REFUSED)
def test_refused_uploads(world: World, changes: dict[str, Any], code: int, message: str) -> None:
    async def story() -> None:
        before = await world.contents()
        done = await world.post(UPLOAD, body(**changes))
        assert (done["code"], done["msg"][: len(message)]) == (code, message)
        assert await world.contents() == before

    world.run(story())


def test_a_name_is_taken_once_in_an_account(world: World) -> None:
    async def story() -> None:
        assert (await world.post(UPLOAD, body()))["code"] == 0
        again = await world.post(UPLOAD, body())
        assert (again["code"], again["msg"]) == (-20, "fileName: a file named 'test.wav' exists already")
        assert (await world.post(UPLOAD, body(), tenant=world.other))["code"] == 0
        assert (await world.post(QUERY, {}))["data"]["total"] == 1

    world.run(story())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"current": None}, "current: expected `int`"),
        ({"current": 0}, "current: must be 1 to"),
        ({"current": ""}, "current: expected `int`"),
        ({"size": 0}, "size: must be 1 to 100"),
        ({"size": 101}, "size: must be 1 to 100"),
        ({"size": None}, "size: expected `int`"),
    ],
)
def test_refused_queries(lasting_world: World, asked: dict[str, Any], message: str) -> None:
    done = lasting_world.run(lasting_world.post(QUERY, asked))
    assert done["code"] == -22
    assert done["msg"].startswith(message)
