"""Finds Asterisk and SIPp as ``fetch_telephony.sh`` left them, and says how to start them.

They are programs of a newer Debian than the machine's, so they are started by the loader that came with them: the
process is then called ``ld-linux-…``, and whoever starts one keeps its pid.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
    try:
        return _command(what)
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
