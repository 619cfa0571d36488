"""One dialler per database: the lock beside the file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringback.store.database import StoreUnavailable
from ringback.store.lock import DiallerLock

HOLD = """
import sys
from ringback.store.lock import DiallerLock
lock = DiallerLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_dialler(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it ends."""
    command = [sys.executable, "-c", HOLD, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ringback.db"
    lock = DiallerLock(url)
    with another_dialler(url) as holder:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=rf"pid {holder.pid}\) already dials"):
                lock.acquire()
        holder.kill()
        holder.wait()
        # The system gave the lock back with the process, however it ended.
        lock.acquire()
    with another_dialler(f"sqlite:///{tmp_path}/other.db"):
        pass
    lock.release()


def test_what_is_released_can_be_had(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ringback.db"
    # What an earlier process left in the file is not taken for the pid of this one.
    (tmp_path / "ringback.db.lock").write_text("123456789012345")
    first, second = DiallerLock(url), DiallerLock(url)
    first.acquire()
    with pytest.raises(StoreUnavailable, match=rf"\(pid {os.getpid()}\)"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_another_name_for_the_same_file_is_the_same_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ringback.db").touch()
    (tmp_path / "alias.db").symlink_to("ringback.db")
    monkeypatch.chdir(tmp_path)
    lock = DiallerLock("sqlite:///ringback.db")
    lock.acquire()
    for url in (f"sqlite:///{tmp_path}/ringback.db", "sqlite:///alias.db", "sqlite+aiosqlite:///./ringback.db"):
        with pytest.raises(StoreUnavailable, match="already dials"):
            DiallerLock(url).acquire()
    lock.release()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_nobody_elses(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = DiallerLock(url), DiallerLock(url)
    first.acquire()
    second.acquire()
    first.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="lock file cannot be opened"):
        DiallerLock(f"sqlite:///{tmp_path}/nowhere/ringback.db").acquire()


def test_a_url_that_names_no_database() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        DiallerLock("nonsense").acquire()
