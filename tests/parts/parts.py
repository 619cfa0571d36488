"""Finds the programs that the tests drive, and says how to start them.

Asterisk and SIPp are as ``fetch_telephony.sh`` left them; which PostgreSQL it is, ``fetch_postgres.sh`` knows.

Asterisk and SIPp are programs of a newer Debian than the machine's, so they are started by the loader that came with
them: the process is then called ``ld-linux-…``, and whoever starts one keeps its pid.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
ASTERISK = "usr/sbin/asterisk"
SIPP = "usr/bin/sipp"


class PartMissing(Exception):
    """A program is not where it should be. The text says what to do."""


def folder() -> Path:
    """Where the parts are: ``TELEPHONY_PARTS``, else ``.cache/parts`` of this checkout."""
    return ROOT / os.environ.get("TELEPHONY_PARTS", ".cache/parts")


def libraries() -> Path:
    """The folder of the parts' shared libraries and loader. Raises PartMissing."""
    return _loader().parent


def asterisk_command() -> list[str]:
    """The beginning of a command line that starts Asterisk. Raises PartMissing."""
    return _command(ASTERISK)


def sipp_command() -> list[str]:
    """The beginning of a command line that starts SIPp. Raises PartMissing."""
    return _command(SIPP)


def require(what: str) -> list[str]:
    """The command of a part (ASTERISK or SIPP). Without it: the test is skipped, loudly, and under CI it fails."""
    return _required(lambda: _command(what))


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs, 15 or newer. Raises PartMissing."""
    # The answer costs a tenth of a second and does not change while these are the same.
    return _postgres_programs(*(os.environ.get(name) for name in ("POSTGRES_BIN", "POSTGRES_OWN", "POSTGRES_PARTS")))


def require_postgres() -> Path:
    """As ``postgres_programs``. Without them: the test is skipped, loudly, and under CI it fails."""
    return _required(postgres_programs)


@functools.cache
def _postgres_programs(*_: str | None) -> Path:
    done = subprocess.run(
        ["bash", str(Path(__file__).parent / "fetch_postgres.sh"), "--where"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PartMissing(done.stderr.strip())
    return Path(done.stdout.strip())


def _required(find: Callable[[], T]) -> T:
    try:
        return find()
    except PartMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


def _command(program: str) -> list[str]:
    path = folder() / program
    if not path.is_file():
        raise PartMissing(f"{path} is missing: make parts")
    loader = _loader()
    return [str(loader), "--library-path", str(loader.parent), str(path)]


def _loader() -> Path:
    # ld-linux-x86-64.so.2, ld-linux-aarch64.so.1
    found = sorted(folder().glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"))
    if not found:
        raise PartMissing(f"{folder()} holds no programs: make parts")
    return found[0]
