"""What a call needs of the Asterisk that it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ringback.telephony.port import Prompt


class Commands(Protocol):
    """Implemented by the node."""

    app: str

    async def command(self, method: str, path: str, params: Mapping[str, str] | None = None) -> bool:
        """Send a command; false when Asterisk refused it or did not answer."""

    async def has_playback(self, playback_id: str) -> bool:
        """Whether the prompt still plays."""

    def not_played(self, told: Callable[[], bool]) -> None:
        """A prompt does not play, or has broken off. ``told()`` tells its call, and whether it was waiting for it."""

    async def sound(self, prompt: Prompt) -> str:
        """The prompt as a media address of that Asterisk."""

    async def fetch_recording(self, name: str, path: str) -> bool:
        """Move a stored recording into a file here; false when that failed."""

    def spawn(self, work: Coroutine[Any, Any, None], then: Callable[[], None] | None = None) -> None:
        """Do this beside everything else, and ``then`` that, however it went."""

    def forget(self, call_id: int) -> None:
        """The call has ended."""
