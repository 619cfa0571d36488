"""The nodes of a telephony engine that has several: what each of them reports, and why none takes a call."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A node that has not been reported for so long: no dialler runs. They are reported every two seconds.
STALE_MS: Final = 10_000


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """A node as its engine sees it now. ``name`` is HOST:PORT.

    ``draining``: it takes no new calls; those it has go on. ``trouble``: why it takes none, empty when it is well.
    ``lines``: the most calls at once; ``weight``: its share of the calls; ``placed``: calls placed by this engine.
    """

    name: str
    draining: bool
    trouble: str
    live_calls: int
    lines: int
    weight: int
    placed: int

    @property
    def free_lines(self) -> int:
        """How many more calls it takes now."""
        return 0 if self.trouble or self.draining else max(0, self.lines - self.live_calls)


class SeenNode(NodeState, frozen=True, kw_only=True):
    """A node as it was when a dialler last reported it, at ``seen_at``, epoch ms.

    ``draining`` is what the operator wants, at once; the dialler takes note with its next report.
    """

    seen_at: int

    def is_stale(self, now_ms: int) -> bool:
        """Whether no dialler reports it any more."""
        return now_ms - self.seen_at > STALE_MS


class Standing(StrEnum):
    """A node in one word."""

    WELL = "well"
    TROUBLE = "trouble"
    DRAINING = "draining"
    DRAINED = "drained"  # draining, and its last call has ended
    UNKNOWN = "unknown"  # no dialler runs


def standing(node: SeenNode, now_ms: int) -> Standing:
    """The node in one word."""
    if node.is_stale(now_ms):
        return Standing.UNKNOWN
    if node.draining:
        return Standing.DRAINING if node.live_calls else Standing.DRAINED
    return Standing.TROUBLE if node.trouble else Standing.WELL


def why_no_line(nodes: Sequence[NodeState]) -> str:
    """Why no node takes a call, for people; empty when one is well and not being drained, or when there are none."""
    if not nodes or any(not node.trouble and not node.draining for node in nodes):
        return ""
    each = "; ".join(f"{node.name}: {node.trouble or 'is being drained'}" for node in nodes)
    return f"no Asterisk {'is well' if all(node.trouble for node in nodes) else 'takes calls'}: {each}"
