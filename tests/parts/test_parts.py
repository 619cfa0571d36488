"""The programs that the telephony tests drive: fetched, found, and said to be missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.parts import parts

SCRIPT = Path(__file__).parent / "fetch_telephony.sh"


def fetch(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT)],
        env={**os.environ, "TELEPHONY_PARTS": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def no_network(tmp_path: Path) -> str:
    """A search path with an apt-get that finds nothing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").write_text(
        '#!/bin/sh\n[ "$1" = indextargets ] && echo "http://archive.invalid/debian" && exit\n'
        'echo "E: cannot reach archive.invalid" >&2\nexit 100\n'
    )
    (programs / "apt-get").chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_what_is_there_is_named_and_not_fetched_again(no_network):
    parts.require(parts.ASTERISK)
    parts.require(parts.SIPP)
    done = fetch(parts.folder(), PATH=no_network)
    assert (done.returncode, done.stderr) == (0, "")
    asterisk, sipp = done.stdout.splitlines()
    assert asterisk.startswith("asterisk 22.")
    assert sipp.startswith("sipp 3.")


def test_what_cannot_be_fetched_is_an_error_and_leaves_nothing(tmp_path, no_network):
    done = fetch(tmp_path / "parts", PATH=no_network)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot reach archive.invalid" in done.stderr
    assert "no Asterisk 22 and SIPp to be had" in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.lock", "programs"]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, no_network):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine").touch()
    done = fetch(tmp_path / "parts", PATH=no_network)
    assert done.returncode == 1
    assert "holds something else" in done.stderr
    assert (tmp_path / "parts" / "mine").exists()


def test_the_command_is_the_loader_that_came_with_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("TELEPHONY_PARTS", str(tmp_path))
    for path in ("usr/bin/sipp", "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    libraries = tmp_path / "usr/lib/aarch64-linux-gnu"
    assert parts.sipp_command() == [
        str(libraries / "ld-linux-aarch64.so.1"),
        "--library-path",
        str(libraries),
        str(tmp_path / "usr/bin/sipp"),
    ]
    with pytest.raises(parts.PartMissing, match="asterisk is missing: make parts"):
        parts.asterisk_command()


def test_a_missing_part_skips_a_test_and_fails_it_in_ci(tmp_path, monkeypatch):
    monkeypatch.setenv("TELEPHONY_PARTS", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make parts"):
        parts.require(parts.SIPP)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make parts"):
        parts.require(parts.SIPP)
