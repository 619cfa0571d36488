"""Two calls of one Asterisk that are connected: the bridge that their channels are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringback.telephony.asterisk.ids import bridge_id

if TYPE_CHECKING:
    from ringback.telephony.asterisk.commands import Commands


class Bridge:
    """Goes with the first of its two calls. ``call_id`` of either names it."""

    def __init__(self, asterisk: Commands, call_id: int) -> None:
        self._asterisk = asterisk
        self._path = f"/bridges/{bridge_id(asterisk.app, call_id)}"
        self._gone = False

    async def join(self, *channels: str) -> bool:
        """Put the channels into it; false when Asterisk did not do that."""
        if not await self._asterisk.command("POST", self._path, {"type": "mixing"}):
            return False
        return await self._asterisk.command("POST", f"{self._path}/addChannel", {"channel": ",".join(channels)})

    async def dissolve(self) -> None:
        """Take it away: who is left in it could not be played to."""
        if not self._gone:
            self._gone = True
            await self._asterisk.command("DELETE", self._path)
