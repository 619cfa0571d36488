"""Telephony beside the bare parts it stands on: throughput, pacing, lines, engines, memory. `make bench-telephony`."""

from __future__ import annotations

import os
import sys
import time

from bench import engines, lines, pacing, soak, throughput
from bench.figures import Report

PARTS = {
    "throughput": throughput.run,
    "pacing": pacing.run,
    "lines": lines.run,
    "engines": engines.run,
    "soak": soak.run,
}


def main() -> None:
    """Run the parts named on the command line, or all."""
    chosen = sys.argv[1:] or list(PARTS)
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    report = Report("telephony")
    for name in chosen:
        began = time.monotonic()
        print(f"{name} …", flush=True)
        PARTS[name](report, scale)
        print(f"{name} took {time.monotonic() - began:.0f} s", flush=True)
    report.table()
    report.write()


if __name__ == "__main__":
    main()
