"""How a process that holds many calls collects garbage: seldom all of it."""

from __future__ import annotations

import gc
from typing import Final

#: New objects before the youngest are looked through, how many such looks there are before those that survived one are,
#: and the same for all. 30,000 calls are more than a million objects in use: Python's own numbers look through all of
#: them every few seconds, find nothing, and stop the process for about a second each time. The first number bounds the
#: short stops (some 10 ms); the second makes the long ones a matter of many minutes.
THRESHOLDS: Final = (10_000, 1_000, 10)


def collect_seldom() -> None:
    """To be called when everything has been imported: what exists by now is never looked through again."""
    gc.set_threshold(*THRESHOLDS)
    gc.collect()
    gc.freeze()
