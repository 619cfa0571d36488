"""The programs that the telephony tests drive: fetched, found, and said to be missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.parts import parts

FOLDER = Path(__file__).parent


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(FOLDER / script), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fetch(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("fetch_telephony.sh", TELEPHONY_PARTS=str(folder), **environment)


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


def programs_of(version: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb", "pg_ctl", "psql", "pg_dump", "pg_restore", "pg_basebackup"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} (PostgreSQL) {version} (Something 1)"\n')
        (folder / name).chmod(0o755)
    return folder


def test_the_postgres_that_is_named_comes_first(tmp_path, no_network, monkeypatch):
    named = programs_of("15.3", tmp_path / "named")
    programs_of("16.1", tmp_path / "fetched/usr/lib/postgresql/16/bin")
    done = run("fetch_postgres.sh", POSTGRES_BIN=str(named), POSTGRES_PARTS=str(tmp_path / "fetched"), PATH=no_network)
    assert (done.returncode, done.stdout) == (0, f"postgres 15.3 ({named})\n")
    monkeypatch.setenv("POSTGRES_BIN", str(named))
    assert parts.postgres_programs() == named


def test_the_postgres_that_is_named_is_not_replaced_by_another(tmp_path, no_network):
    old = programs_of("14.9", tmp_path / "old")
    incomplete = programs_of("15.3", tmp_path / "incomplete")
    (incomplete / "pg_basebackup").unlink()
    for folder in (old, incomplete):
        done = run("fetch_postgres.sh", POSTGRES_BIN=str(folder), PATH=no_network)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"POSTGRES_BIN is {folder}: no PostgreSQL 15 or newer there" in done.stderr


def test_the_postgres_that_was_fetched_is_not_fetched_again(tmp_path, no_network, monkeypatch):
    fetched = programs_of("16.1", tmp_path / "fetched/usr/lib/postgresql/16/bin")
    environment = {"POSTGRES_BIN": "", "POSTGRES_OWN": "no", "POSTGRES_PARTS": str(tmp_path / "fetched")}
    done = run("fetch_postgres.sh", **environment, PATH=no_network)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"postgres 16.1 ({fetched})\n", "")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parts.postgres_programs() == fetched


def test_no_postgres_to_be_had_is_an_error_and_skips_a_test_or_fails_it_in_ci(tmp_path, no_network, monkeypatch):
    environment = {"POSTGRES_BIN": "", "POSTGRES_OWN": "no", "POSTGRES_PARTS": str(tmp_path / "none")}
    done = run("fetch_postgres.sh", **environment, PATH=no_network)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot reach archive.invalid" in done.stderr
    assert "no PostgreSQL 15 or newer to be had" in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none.lock", "programs"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make parts"):
        parts.require_postgres()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make parts"):
        parts.require_postgres()


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
