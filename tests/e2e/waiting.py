"""Waiting for something outside this process: asked again and again, with a bound."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(found: Callable[[], T | None], *, what: str, seconds: float = 120) -> T:
    """The first answer that is not ``None``. Fails the test when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = found()
        if answer is not None:
            return answer
        # Another process is being polled: there is no event in this one to wait for.
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds} s for {what}")
