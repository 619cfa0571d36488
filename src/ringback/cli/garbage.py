"""How a process that holds many calls collects garbage: seldom all of it."""

from __future__ import annotations

import gc
from typing import Final

#: New objects before the youngest are looked through, and how many such looks there are before the next older are.
#: 30,000 calls are a million objects in use: Python's own numbers look through all of them every few seconds, find
#: nothing, and stop the process for most of a second each time.
THRESHOLDS: Final = (50_000, 20, 100)


def collect_seldom() -> None:
    """To be called when everything has been imported: what exists by now is never looked through again."""
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
