"""How long to wait before a database that refused is asked again."""

from __future__ import annotations

from typing import Final

#: The first wait and the longest, seconds.
FIRST_RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 5.0


class Patience:
    """Waits that grow from refusal to refusal."""

    def __init__(self) -> None:
        self._next = FIRST_RETRY_SECONDS

    def more(self) -> float:
        """It refused (again): how long to wait now, seconds."""
        wait, self._next = self._next, min(2 * self._next, LONGEST_RETRY_SECONDS)
        return wait

    def reset(self) -> None:
        """It answered."""
        self._next = FIRST_RETRY_SECONDS
