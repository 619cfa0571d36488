"""Alarms: what the roles log as an error is a fault of the product, unless the store had merely refused for now."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from ringback.store.database import is_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ALARMING = frozenset({"error", "exception", "critical"})


@contextlib.contextmanager
def listening(tell: Callable[[str], None], *, trace: bool) -> Iterator[list[str]]:
    """Collects the alarms of this block. With ``trace`` every line of the log becomes one of the story."""
    alarms: list[str] = []

    def note(_logger: Any, method: str, event: dict[str, Any]) -> Any:
        name = event.pop("event")
        values = " ".join(f"{key}={value}" for key, value in event.items() if key != "exc_info")
        tell(f"log {method}: {name} {values}")
        if method in _ALARMING:
            error = sys.exception()
            if error is None or not is_passing(error):
                alarms.append(f"{name} {values}: {error!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[note],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if trace else logging.ERROR),
        cache_logger_on_first_use=False,
    )
    try:
        yield alarms
    finally:
        structlog.configure(**before)
