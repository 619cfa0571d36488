"""What a carrier's clock says about pacing, from the arrival times of INVITEs in nanoseconds."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND = 1_000_000_000


def most_in_a_second(arrivals: Sequence[int]) -> tuple[int, int]:
    """The most arrivals in any rolling second (its end not included), and the index of the last of them."""
    window: deque[int] = deque()
    most, where = 0, 0
    for index, at in enumerate(arrivals):
        window.append(at)
        while window[0] <= at - SECOND:
            window.popleft()
        if len(window) > most:
            most, where = len(window), index
    return most, where


def mean_rate(arrivals: Sequence[int]) -> float:
    """Arrivals a second, from the first to the last."""
    return (len(arrivals) - 1) * SECOND / (arrivals[-1] - arrivals[0])


def seconds_over(arrivals: Sequence[int], most: int) -> tuple[int, float]:
    """How many arrivals closed a rolling second with more than ``most`` in it, and how far at worst the first of them
    would have had to come earlier, or the last later, milliseconds."""
    spans = [last - first for first, last in zip(arrivals, arrivals[most:], strict=False)]
    short = [SECOND - span for span in spans if span < SECOND]
    return len(short), max(short, default=0) / 1e6


def gaps(arrivals: Sequence[int], step_ns: int) -> str:
    """A histogram of the distances between arrivals, in tenths of the distance that they should have."""
    tenths = Counter(min(30, 10 * (after - before) // step_ns) for before, after in pairwise(arrivals))
    return "  ".join(f"{tenth / 10:.1f}:{tenths[tenth]}" for tenth in sorted(tenths))
