"""``python -m ringback.farend``: the carrier without the rest of Ringback."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import structlog

from ringback.farend.digest import Credentials
from ringback.farend.main import FarEndError, serve


def main() -> int:
    """Run until stopped; the exit status is 1 when the carrier cannot run."""
    parser = argparse.ArgumentParser(prog="python -m ringback.farend", description="The SIP carrier in the box.")
    parser.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:5060", help="default: %(default)s")
    parser.add_argument("--log", metavar="FILE", type=Path, help="append a JSON line for everything that happens")
    parser.add_argument("--user", help="ask callers for this user")
    parser.add_argument("--password", default="", help="and this password")
    given = parser.parse_args()
    # Standard output is for the line that says where it listens: who started us may read no further.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    credentials = Credentials(given.user, given.password) if given.user else None
    try:
        asyncio.run(serve(given.listen, given.log, credentials=credentials))
    except FarEndError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
