"""A carrier in the test's own process, quick, with its log in memory."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from ringback.clock import RealClock
from ringback.farend.carrier import Carrier
from ringback.farend.log import By, Bye, CallLog, Ended, Entry
from ringback.farend.timing import Timing
from tests.farend.sip_caller import Mailbox, OutgoingCall, Phone, phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ringback.farend.digest import Credentials

#: Everything in a tenth of its usual time, but for retransmission: that is for its own tests.
QUICK = Timing(
    ring=0.05,
    hangs_up_after=0.05,
    voicemail_greeting=0.3,
    early_media=0.1,
    prompt_silence=0.1,
)


class Diary(CallLog):
    """Keeps the entries."""

    def __init__(self) -> None:
        super().__init__(None)
        self.box = Mailbox()

    def write(self, entry: Entry) -> None:
        self.box.put(entry)

    def of(self, call: OutgoingCall | None = None) -> list[Entry]:
        """The entries of one call, or all."""
        return [entry for entry in self.box.items if call is None or entry.sip_call_id == call.call_id]

    def story(self, call: OutgoingCall) -> list[str]:
        """What happened on a call, in words."""
        return [_word(entry) for entry in self.of(call)]

    async def ended(self, call: OutgoingCall) -> list[str]:
        """Wait for the end of a call, and return its story."""
        await self.box.wait(lambda _: any(isinstance(entry, Ended) for entry in self.of(call)))
        return self.story(call)


def _word(entry: Entry) -> str:
    name = type(entry).__name__.lower()
    match entry:
        case Bye(by=by):
            return f"{name} {'caller' if by is By.CALLER else 'farend'}"
        case _:
            return " ".join([name, *(str(getattr(entry, field)) for field in ("code", "key") if hasattr(entry, field))])


@dataclasses.dataclass(frozen=True)
class Lab:
    """What a test works with."""

    carrier: Carrier
    diary: Diary
    phone: Phone

    async def call(self, callee: str, **given: Any) -> OutgoingCall:
        return await self.phone.call(callee, **given)


@contextlib.asynccontextmanager
async def far_end(timing: Timing = QUICK, credentials: Credentials | None = None) -> AsyncIterator[Lab]:
    """A running carrier and a phone."""
    diary = Diary()
    carrier = Carrier("127.0.0.1", 0, clock=RealClock(), log=diary, credentials=credentials, timing=timing)
    await carrier.start()
    try:
        async with phone(carrier.address) as caller:
            yield Lab(carrier, diary, caller)
    finally:
        await carrier.stop()
