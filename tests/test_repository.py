"""Rules about the tree itself."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))

#: What reads the time or sleeps: only the clock may.
TIME = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "monotonic"),
    ("time", "sleep"),
    ("time", "perf_counter"),
    ("asyncio", "sleep"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if path.name == "clock.py":
        return
    calls = [
        (node.func.value.id, node.func.attr, node.lineno)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    ]
    assert [call for call in calls if call[:2] in TIME] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    if "migrations" not in path.parts:
        assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("name", ["run.txt", "dev.txt", "bench.txt"])
def test_requirements_are_pinned_by_hash_and_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    pinned = re.findall(r"^([a-z0-9][\w.-]*)==", text, flags=re.MULTILINE)
    assert len(pinned) > 10
    for block in re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block


def test_every_exception_from_the_linters_has_a_reason() -> None:
    bare = []
    for path in [
        *SOURCES,
        *sorted((ROOT / "tests").rglob("*.py")),
        *sorted((ROOT / "bench").rglob("*.py")),
        *sorted((ROOT / "chaos").rglob("*.py")),
    ]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found = re.search(r"#\s*(noqa|type:\s*ignore)\b[^#]*", line)
            if found and not re.search(r"(noqa|ignore).*?\]?\s+(- |# ).+", line) and path.name != "test_repository.py":
                bare.append(f"{path.relative_to(ROOT)}:{number}")
    assert bare == []


def test_no_package_registry_or_machine_path_is_named() -> None:
    private = re.compile(r"/(?:work|root|farm|home/\w+)/")
    named = []
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT).parts
        if (
            path.is_file()
            and inside[0] not in (".git", ".venv")
            and path.suffix in {".py", ".md", ".toml", ".yaml", ".txt"}
        ) and (
            not any(part.startswith(".") and part != ".ci" for part in inside) and path.name != "test_repository.py"
        ):
            named += [str(path.relative_to(ROOT))] if private.search(path.read_text(errors="replace")) else []
    assert named == []


def test_make_test_runs_every_test_once() -> None:
    """It has several runs of pytest, one for what may run beside others."""
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    runs = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith(".venv/bin/pytest")]
    places = {path for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    places |= set((ROOT / "tests").glob("test_*.py"))
    times = dict.fromkeys((str(path.relative_to(ROOT)) for path in places), 0)
    assert len(times) > 10
    for run in runs:
        named = [word for word in run if word.startswith("tests")]
        ignored = [word.removeprefix("--ignore=") for word in run if word.startswith("--ignore=")]
        assert {*named, *ignored} <= set(times)
        assert not any(word in {"-k", "-m"} or word.startswith("--deselect") for word in run)
        for place in times:
            times[place] += (place in named or not named) and place not in ignored
    assert set(times.values()) == {1}, times
