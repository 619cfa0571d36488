"""`make chaos`: run it, print the table, and end with 1 when a promise was broken."""

from __future__ import annotations

import argparse
import sys

from chaos.disk import keep_mounts_to_ourselves
from chaos.report import show, write
from chaos.run import Plan, Run


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=Plan().minutes)
    parser.add_argument("--seed", type=int, default=Plan().seed)
    parser.add_argument("--numbers", type=int, default=Plan().numbers)
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--rate", type=float, default=Plan().rate, help="calls per second of both trunks together")
    parser.add_argument("--fault", action="append", help="make only this one, in the order given; repeat")
    asked = vars(parser.parse_args())
    only = asked.pop("fault")
    keep_mounts_to_ourselves()
    result = Run(Plan(faults=tuple(only) if only else None, **asked)).go()
    show(result)
    print(write(result))
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
