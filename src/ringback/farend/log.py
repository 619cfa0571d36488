"""What reached the carrier, one JSON object a line: evidence to compare with what the dialler says of itself.

A line is written with one system call and nothing is buffered, so the file is complete whatever is killed.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, TypedDict

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes; more than any entry can have, since every text in it came in one UDP datagram.
_LONGEST_LINE = 1 << 20


class _Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """``at_ms``: epoch milliseconds UTC. ``sip_call_id``: the SIP Call-ID, the same on every line of a call."""

    at_ms: int
    sip_call_id: str


class Stamp(TypedDict):
    """What every entry has."""

    at_ms: int
    sip_call_id: str


class Invited(_Entry, frozen=True, kw_only=True, tag="invite"):
    """A call reached the carrier. Retransmissions, and INVITEs that were challenged, are not calls.

    ``call`` and ``task`` are the X-Ringback-Call and X-Ringback-Task headers, when there were any.
    """

    callee: str
    caller: str
    call: str | None
    task: str | None


class Challenged(_Entry, frozen=True, kw_only=True, tag="challenged"):
    """An INVITE without (fresh) credentials was answered with 401."""

    callee: str


class Answered(_Entry, frozen=True, kw_only=True, tag="answered"):
    """200 was sent."""


class KeySent(_Entry, frozen=True, kw_only=True, tag="key_sent"):
    """The callee pressed a key."""

    key: str


class By(StrEnum):
    """Who sent BYE."""

    CALLER = "caller"
    FAREND = "farend"


class Bye(_Entry, frozen=True, kw_only=True, tag="bye"):
    """The first BYE of the call."""

    by: By


class Cancelled(_Entry, frozen=True, kw_only=True, tag="cancelled"):
    """The caller gave up before a final response."""


class Refused(_Entry, frozen=True, kw_only=True, tag="refused"):
    """A final response of 300 or more was sent."""

    code: int


class Ended(_Entry, frozen=True, kw_only=True, tag="ended"):
    """The line is free again: the last line of every call, exactly once."""


Entry = Invited | Challenged | Answered | KeySent | Bye | Cancelled | Refused | Ended


class CallLog:
    """Writes entries to a file (appending), or nowhere when ``path`` is ``None``.

    Raises OSError when the file cannot be opened or written: a log with holes would be worse than none.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if self._file is not None:
            _drop_half_line(self._file)

    def write(self, entry: Entry) -> None:
        """Add one line; it is in the file when this returns."""
        if self._file is not None:
            os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file; what is written afterwards goes nowhere."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read_log(path: Path) -> list[Entry]:
    """Every entry of the file, in order. A last line that is not complete yet is left out.

    Raises OSError when there is no such file, and msgspec.DecodeError on a complete line that is not an entry.
    """
    complete, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line, type=Entry) for line in complete.splitlines() if line]


def _drop_half_line(file: int) -> None:
    """Remove what a killed writer left after the last line break: appended to, it would spoil the next line too."""
    size = os.fstat(file).st_size
    start = max(0, size - _LONGEST_LINE)
    tail = os.pread(file, size - start, start)
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(file, start + tail.rfind(b"\n") + 1)
