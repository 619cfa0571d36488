"""Instants in sentences."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(at_ms: int) -> str:
    """An instant (epoch ms) for people: UTC, to the second."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
