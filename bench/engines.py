"""The embedded engine and Asterisk side by side: quick calls, and calls that hear a prompt.

One worker process of the embedded engine; one Asterisk. The carrier is the same SIPp. CPU is that of everything on our
side: the server with its workers, and Asterisk.
"""

from __future__ import annotations

import io
import math
import struct
import time
import wave
from typing import TYPE_CHECKING, NamedTuple

from bench.processes import cpu_seconds
from bench.served import HANG_UP, Served
from bench.sipp import Sipp
from tests.parts.asterisk_process import AsteriskProcess

if TYPE_CHECKING:
    from bench.figures import Report

PROMPT_SECONDS = 5
PLAY = "name: t\non_voicemail: continue\nsteps:\n  - play: prompt.wav\n"
#: An embedded worker takes 100.
LINES = 100
QUICK_CALLS = {"embedded": 300, "asterisk": 3_000}
PLAYED_CALLS = 400
PATIENCE_SECONDS = 120


class Side(NamedTuple):
    """An engine, and the processes beside the server whose time counts."""

    engine: str
    environ: dict[str, str]
    carrier_port: int
    pids: list[int]


def run(report: Report, scale: float = 1.0) -> None:
    """Measure and report. ``scale`` shortens it."""
    with AsteriskProcess() as asterisk, Sipp() as carrier:
        assert asterisk.process is not None
        embedded = {"RINGBACK_TELEPHONY": "sip", "RINGBACK_SIP_WORKERS": "1"}
        for engine, environ, pids in (
            ("embedded", embedded, []),
            ("asterisk", asterisk.environ, [asterisk.process.pid]),
        ):
            side = Side(engine, environ, carrier.port, pids)
            quick(report, side, max(100, round(QUICK_CALLS[engine] * scale)))
            played(report, side, max(2 * LINES, round(PLAYED_CALLS * scale)))


def quick(report: Report, side: Side, calls: int) -> None:
    """Answered and hung up at once."""
    with Served(side.environ, side.carrier_port, cps=1_000, channels=LINES, template=HANG_UP) as server:
        pids = [server.pid, *side.pids]
        before = sum(map(cpu_seconds, pids))
        took, answered, _ = server.finished(server.call(calls), seconds=PATIENCE_SECONDS)
        spent = sum(map(cpu_seconds, pids)) - before
    report.figure(f"engine_{side.engine}_quick", answered / took, "calls/s")
    report.figure(f"engine_{side.engine}_quick_cpu", 1_000 * spent / calls, "ms/call")


def played(report: Report, side: Side, calls: int) -> None:
    """Each hears a prompt to its end."""
    files = {"prompt.wav": prompt()}
    with Served(side.environ, side.carrier_port, cps=1_000, channels=LINES, template=PLAY, files=files) as server:
        pids = [server.pid, *side.pids]
        task_id = server.call(calls)
        before, most = sum(map(cpu_seconds, pids)), 0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            state, live = server.ask(
                "SELECT state, (SELECT count(*) FROM call WHERE state = 'in_progress') FROM task WHERE id = ?", task_id
            )
            most = max(most, live)
            if state == "finished":
                break
            # Another process is being polled.
            time.sleep(0.1)
        spent = sum(map(cpu_seconds, pids)) - before
        took, answered, failed = server.finished(task_id, seconds=1)
        (talk_ms,) = server.ask("SELECT talk_ms FROM task WHERE id = ?", task_id)
        if failed:
            print(f"  {side.engine}: {failed} of {calls} calls failed: {server.log}")
    report.figure(f"engine_{side.engine}_played", answered / took, "calls/s")
    report.figure(f"engine_{side.engine}_played_most_live", most, "calls")
    report.figure(
        f"engine_{side.engine}_played_talk", talk_ms / 1_000 / max(1, answered), f"s a call of {PROMPT_SECONDS} s"
    )
    report.figure(f"engine_{side.engine}_played_cpu", 1_000 * spent / calls, "ms/call")
    report.figure(f"engine_{side.engine}_played_cpu_per_second", 1_000 * spent / (talk_ms / 1_000), "ms/call-second")


def prompt() -> bytes:
    """A tone of some seconds, as a WAV file of 8 kHz."""
    samples = (round(8_000 * math.sin(2 * math.pi * 440 * index / 8_000)) for index in range(8_000 * PROMPT_SECONDS))
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return content.getvalue()
