"""The bare work of ``send/agent``: decoding the same JSON body and inserting the same rows into the same tables, in a
process of its own that does nothing else."""

from __future__ import annotations

import itertools
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.engine_rig import share


class Bare(NamedTuple):
    """Bodies a second; and the 99th percentile, seconds."""

    clock: float
    late: float


def prepare(database: Path) -> Path:
    """A copy of the database for the bare work, made before anything is measured: writing it keeps the disk busy."""
    copy = database.with_name("bare.db")
    target, source = sqlite3.connect(copy), sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    source.backup(target)
    target.execute("PRAGMA journal_mode = WAL")
    source.close()
    target.close()
    return copy


def run(copy: Path, body: Path, seconds: float) -> Bare:
    """Take the body again and again for so long, at least once, into the copy of the database."""
    command = [sys.executable, "-m", "bench.api_bare", str(copy), str(body), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Bare(*map(float, done.stdout.split()))


def take(copy: Path, body: Path, seconds: float) -> list[float]:
    """How long each body took, seconds."""
    payload = body.read_bytes()
    target = sqlite3.connect(copy, isolation_level=None)
    target.execute("PRAGMA synchronous = FULL")
    (last,) = target.execute("SELECT max(id) FROM task").fetchone()
    took: list[float] = []
    until = time.perf_counter() + seconds
    for turn in itertools.count(last):
        began = time.perf_counter()
        decoded = msgspec.json.decode(payload)
        numbers = decoded["numberInfoList"]
        target.execute("BEGIN IMMEDIATE")
        task = target.execute(
            "INSERT INTO task (account_id, application_id, name, template_id, total, queued, limits, send_at,"
            " created_at, modified_at) VALUES (1, 1, ?, 1, ?, ?, '{}', 0, 0, 0)",
            (f"bare{turn}", len(numbers), len(numbers)),
        ).lastrowid
        target.executemany(
            "INSERT INTO call (task_id, callee, zone, texts) VALUES (?, ?, '', ?)",
            ((task, one["calleeNumber"], f'{{"text1":"{one["text1"]}","text2":"{one["text2"]}"}}') for one in numbers),
        )
        target.execute("COMMIT")
        now = time.perf_counter()
        took.append(now - began)
        if now >= until:
            break
    target.close()
    return took


if __name__ == "__main__":
    found = take(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    print(len(found) / sum(found), share(found, 0.99))
