"""How much of the registrar's time one address may take."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ringback.clock import Clock

#: Requests that an address may send at once: an office behind one address, after its router was restarted.
BURST: Final = 200
#: And from then on, requests a second.
RATE: Final = 20.0
#: Addresses that are remembered; the one that has been silent for longest is forgotten first.
MOST_ADDRESSES: Final = 10_000


class Throttle:
    """A bucket of tokens for each address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def admits(self, host: str) -> bool:
        """Whether one more request of that address is looked at."""
        now = self._clock.monotonic()
        tokens, counted = self._buckets.pop(host, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - counted) * RATE)
        admitted = tokens >= 1
        self._buckets[host] = (tokens - 1 if admitted else tokens, now)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return admitted
