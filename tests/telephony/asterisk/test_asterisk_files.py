"""Prompts on their way to Asterisk, recordings on their way back."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from ringback.telephony.asterisk import sounds
from ringback.telephony.asterisk.recordings import save
from ringback.telephony.asterisk.sounds import SoundFolder
from ringback.telephony.port import Prompt


@pytest.fixture
def writes(monkeypatch):
    """Counts what is written."""
    written = []
    real = sounds._replace

    def replace(path, content):
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(sounds, "_replace", replace)
    return written


def file_of(media):
    assert media.startswith("sound:/")
    return Path(media.removeprefix("sound:") + ".sln")


def test_a_prompt_is_written_once_for_all_who_play_it(tmp_path, writes):
    async def story():
        folder = SoundFolder(tmp_path)
        together = await asyncio.gather(*(folder.media(Prompt("k", b"ab")) for _ in range(20)))
        assert len({*together, await folder.media(Prompt("k", b"ab"))}) == 1
        assert file_of(together[0]).read_bytes() == b"ab"
        assert stat.S_IMODE(file_of(together[0]).stat().st_mode) == 0o644
        await folder.media(Prompt("../../k", b"cd"))
        assert len(writes) == 2
        assert len(list(tmp_path.iterdir())) == 2  # nothing half-written is left, and nothing elsewhere

    asyncio.run(story())


def test_who_gives_up_does_not_stop_the_writing_for_others(tmp_path, writes):
    async def story():
        folder = SoundFolder(tmp_path)
        first = asyncio.create_task(folder.media(Prompt("k", b"ab")))
        await asyncio.sleep(0)
        second = asyncio.create_task(folder.media(Prompt("k", b"ab")))
        await asyncio.sleep(0)
        first.cancel()
        assert file_of(await second).exists()
        assert len(writes) == 1

    asyncio.run(story())


def test_the_least_recently_played_goes_first(tmp_path):
    async def story():
        folder = SoundFolder(tmp_path, most_bytes=10)
        a, b = [file_of(await folder.media(Prompt(key, b"1234"))) for key in "ab"]
        await folder.media(Prompt("a", b"1234"))
        c = file_of(await folder.media(Prompt("c", b"1234")))
        assert (a.exists(), b.exists(), c.exists()) == (True, False, True)
        assert file_of(await folder.media(Prompt("b", b"1234"))).read_bytes() == b"1234"
        # One that is bigger than all is kept while it is the last one.
        big = file_of(await folder.media(Prompt("big", b"x" * 50)))
        assert [path.name for path in tmp_path.iterdir()] == [big.name]

    asyncio.run(story())


def test_prompts_that_push_each_other_out_are_there_for_who_asked(tmp_path):
    async def story():
        folder = SoundFolder(tmp_path, most_bytes=4)
        medias = await asyncio.gather(*(folder.media(Prompt(f"k{n % 5}", b"1234")) for n in range(50)))
        assert len(set(medias)) == 5
        assert len(list(tmp_path.iterdir())) == 1

    asyncio.run(story())


def test_what_an_earlier_process_left_is_removed_and_nothing_else(tmp_path):
    for name in ("ringback-0.sln", "ringback-0.sln.part", "mine.sln"):
        (tmp_path / name).write_bytes(b"")
    SoundFolder(tmp_path).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.sln"]
    SoundFolder(tmp_path / "a" / "b").prepare()
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_written_is_told_and_tried_again(tmp_path):
    async def story():
        folder = SoundFolder(tmp_path / "later")
        for _ in range(2):
            with pytest.raises(OSError, match="later"):
                await folder.media(Prompt("k", b"ab"))
        folder.prepare()
        assert file_of(await folder.media(Prompt("k", b"ab"))).read_bytes() == b"ab"
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            SoundFolder(tmp_path / "file").prepare()

    asyncio.run(story())


async def chunks(*parts):
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


def test_a_recording_is_there_whole_for_its_owner_only(tmp_path):
    path = tmp_path / "new" / "r.wav"
    asyncio.run(save(path, chunks(b"ab", b"cd")))
    assert path.read_bytes() == b"abcd"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["r.wav"]


def test_a_recording_that_breaks_off_is_not_there_and_an_old_one_stays(tmp_path):
    path = tmp_path / "r.wav"
    path.write_bytes(b"old")
    with pytest.raises(ConnectionError):
        asyncio.run(save(path, chunks(b"ab", ConnectionError())))
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"old"]
    with pytest.raises(OSError, match=r"r\.wav"):
        asyncio.run(save(path / "below", chunks(b"ab")))
