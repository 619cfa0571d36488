"""How channels are named: by the call's own id, so that a call can be found again by whoever knows it."""

from __future__ import annotations

from typing import Final

#: Enough for ten thousand calls a second over thousands of years.
ID_DIGITS: Final = 16
#: Side channels of a call: they hear it without touching its playback. Their ids are the call's with this in front:
#: Asterisk takes the beginning of an id for the id.
LISTENS: Final = "amd-"
RECORDS: Final = "rec-"


def bridge_id(app: str, call_id: int) -> str:
    """The bridge in which a call is connected with another."""
    return f"{app}-bridge-{call_id:0{ID_DIGITS}}"


def channel_id(app: str, call_id: int) -> str:
    """The channel of a call. ``app``: the name of the ARI application."""
    # All of one length: Asterisk takes "ringback-1" for the beginning of "ringback-10", refuses the one while the other
    # is up, and would hang up the wrong one.
    return f"{app}-{call_id:0{ID_DIGITS}}"


def call_of(channel: str, app: str) -> int | None:
    """The call id in a channel id of ours; ``None`` for every other channel."""
    digits = channel.removeprefix(f"{app}-")
    if digits == channel or len(digits) != ID_DIGITS or not (digits.isascii() and digits.isdecimal()):
        return None
    return int(digits)
