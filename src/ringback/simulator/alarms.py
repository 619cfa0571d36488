"""Alarms: what the roles log as an error is a fault of the product, unless the store had merely refused for now."""

from __future__ import annotations

import contextlib
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from ringback.store.refusals import is_passing

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from ringback.clock import Clock

_ALARMING = frozenset({"error", "exception", "critical"})


@contextlib.contextmanager
def listening(alarms: list[str], story: list[str] | None, clock: Clock) -> Iterator[None]:
    """Collects the alarms of this block, and nothing is logged. With a ``story`` every line of the log goes there."""

    def note(_logger: Any, method: str, event: MutableMapping[str, Any]) -> NoReturn:
        name = event.pop("event")
        values = " ".join(f"{key}={value}" for key, value in event.items() if key != "exc_info").replace("\n", " ")
        if story is not None:
            story.append(f"{instant(clock)}  log {method}: {name} {values}")
        if method in _ALARMING:
            error = sys.exception()
            if error is None or not is_passing(error):
                alarms.append(f"{name} {values}: {error!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[note],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR if story is None else logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def instant(clock: Clock) -> str:
    """Now, for people: ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC).isoformat(timespec="milliseconds")
