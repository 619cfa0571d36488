"""Taking a task of 200,000 numbers with two texts each: the server beside the bare work, in the same run.

The bare work is decoding the same JSON body and inserting the same rows into the same tables, in a process of its own.
Each is done several times in turn and the best of each is compared, so that a busy machine hurts both alike.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec

from bench.figures import Report

NUMBERS = 200_000
ROUNDS = 3
KEY, SECRET = "benchkey", "benchsecret"


def body(name: str, template_id: int, numbers: int = NUMBERS) -> bytes:
    """The request of one task; the numbers are spread over ten countries."""
    countries = ("4930", "3312", "3906", "34911", "81312", "861390", "5511", "1212", "44207", "628")
    infos = [
        {
            "calleeNumber": f"{countries[index % 10]}{index:07d}",
            "text1": f"Customer {index}",
            "text2": f"{index * 7 % 1000}.00",
        }
        for index in range(numbers)
    ]
    request = {"appId": "default", "taskName": name, "agentId": template_id, "sendTime": "2099-01-01 00:00:00"}
    return json.dumps({**request, "numberInfoList": infos}).encode()


def main() -> None:
    """Measure and report."""
    report = Report("intake")
    with tempfile.TemporaryDirectory(prefix="ringback-bench-") as name:
        folder = Path(name)
        template_id = furnish(folder)
        (folder / "body.json").write_bytes(body("bare", template_id))
        bare: list[tuple[float, float]] = []
        own: list[tuple[float, float]] = []
        for turn in range(ROUNDS):
            bare.append(run_bare(folder, turn))
            own.append(run_server(folder, turn, template_id))
    bare_seconds, bare_peak = min(bare)[0], min(peak for _, peak in bare)
    own_seconds, own_peak = min(own)[0], min(peak for _, peak in own)
    report.figure("intake_bare_seconds", bare_seconds, "s")
    report.figure("intake_seconds", own_seconds, "s")
    report.figure("intake_ratio", own_seconds / bare_seconds, "times", goal=2.5)
    report.figure("intake_bare_peak_memory", bare_peak, "MB")
    report.figure("intake_peak_memory", own_peak, "MB", goal=300)
    report.figure("intake_memory_ratio", own_peak / bare_peak, "times")
    report.write()


def furnish(folder: Path) -> int:
    """An account and a template in a new database. Returns the template's id."""
    (folder / "t.yaml").write_text("name: t\nsteps:\n  - say: Hello ${text1}, it is ${text2}.\n")
    ringback(folder, "account", "create", "bench", "--api-key", KEY, "--api-secret", SECRET)
    return int(ringback(folder, "template", "add", "t.yaml").splitlines()[-1])


def ringback(folder: Path, *arguments: str) -> str:
    """Run a command of ours."""
    done = subprocess.run(
        [sys.executable, "-m", "ringback.cli", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def run_server(folder: Path, turn: int, template_id: int) -> tuple[float, float]:
    """Seconds of one request to a fresh server, and that server's peak memory in MB."""
    payload = body(f"task{turn}", template_id)
    environ = {**os.environ, "RINGBACK_LOG_LEVEL": "warning"}
    arguments = [sys.executable, "-m", "ringback.cli", "serve", "--role", "api", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(arguments, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = next(line for line in server.stdout if "listening on" in line).split()[-1]
        stamp = str(int(time.time()))
        sign = hashlib.md5(f"{KEY}{SECRET}{stamp}".encode()).hexdigest()
        headers = {"Content-Type": "application/json", "Api-Key": KEY, "Timestamp": stamp, "Sign": sign}
        request = urllib.request.Request(url + "/voice/group/call/send/agent", data=payload, headers=headers)
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.loads(response.read())
        seconds = time.perf_counter() - started
        peak = peak_mb(server.pid)
        server.terminate()
    assert answer["code"] == 0, answer
    return seconds, peak


def run_bare(folder: Path, turn: int) -> tuple[float, float]:
    """Seconds of decode and inserts, and the peak memory in MB, of a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.intake", "bare", str(folder), str(turn)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def bare_work(folder: Path, turn: int) -> None:
    """Decode the body and insert its rows into a copy of the server's database."""
    payload = (folder / "body.json").read_bytes()
    source = sqlite3.connect(folder / "ringback.db")
    target = sqlite3.connect(folder / f"bare{turn}.db", isolation_level=None)
    source.backup(target)
    target.execute("PRAGMA journal_mode = WAL")
    target.execute("PRAGMA synchronous = FULL")
    target.execute("DELETE FROM call")
    started = time.perf_counter()
    decoded = msgspec.json.decode(payload)
    target.execute("BEGIN IMMEDIATE")
    target.executemany(
        "INSERT INTO call (task_id, callee, zone, texts) VALUES (1, ?, '', ?)",
        (
            (one["calleeNumber"], f'{{"text1":"{one["text1"]}","text2":"{one["text2"]}"}}')
            for one in decoded["numberInfoList"]
        ),
    )
    target.execute("COMMIT")
    seconds = time.perf_counter() - started
    print(seconds, peak_mb(os.getpid()))


def peak_mb(pid: int) -> float:
    """The largest resident memory that the process ever had, MB (VmHWM of Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell a process's peak memory")


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare_work(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
