"""`ringback simulate` from the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ringback.cli.main import app
from ringback.simulator.many import PROMISES
from ringback.store import nodes


def _simulate(*options: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["simulate", "--processes", "1", *options])
    return done.exit_code, done.stdout, done.stderr


def test_a_table_for_people() -> None:
    code, out, _ = _simulate("--seeds", "3")
    assert code == 0
    assert out.startswith("3 seeds, ")
    assert all(promise in out for promise in PROMISES)


def test_one_json_object() -> None:
    code, out, _ = _simulate("--seed", "5", "--seeds", "2", "--no-faults", "--json")
    summary = json.loads(out)
    assert code == 0
    assert (summary["first_seed"], summary["seeds"], summary["faults"], summary["failures"]) == (5, 2, {}, [])
    assert summary["violations"] == dict.fromkeys(PROMISES, 0)


def test_a_broken_promise_is_a_line_and_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "due_at", lambda finished_ms, _interval, _minute: finished_ms)
    code, out, _ = _simulate("--seeds", "10")
    assert code == 1
    assert any(line.startswith("seed ") and "recall: never early: node " in line for line in out.splitlines())
    code, out, _ = _simulate("--seeds", "10", "--json")
    assert code == 1
    broken = json.loads(out)
    assert broken["violations"]["recall: never early"] > 0
    first = broken["failures"][0]["seed"]
    code, out, _ = _simulate("--seed", str(first), "--trace")
    assert code == 1
    assert "VIOLATED recall: never early" in out
    assert "broken: recall: never early" in out


def test_a_run_that_breaks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from ringback.simulator import world

    monkeypatch.setattr(world, "flows_of", lambda _census: 1 // 0)
    code, out, _ = _simulate("--seed", "7")
    assert code == 1
    assert "seed 7" in out
    assert "ZeroDivisionError" in out


def test_a_trace_is_of_one_seed_and_faults_have_names() -> None:
    code, _, err = _simulate("--seeds", "2", "--trace")
    assert (code, err) == (1, "error: --trace tells the story of one seed; leave --seeds out\n")
    code, _, err = _simulate("--only", "earthquake")
    assert code == 1
    assert "there are kill, freeze, " in err


def test_only_some_faults() -> None:
    code, out, _ = _simulate("--seeds", "20", "--only", "freeze", "--json")
    assert code == 0
    assert list(json.loads(out)["faults"]) == ["freeze"]
