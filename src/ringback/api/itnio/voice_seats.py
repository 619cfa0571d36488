"""``toSeat`` of voice tasks: who answers is connected with a phone of a group, after the prompt or by a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.api.itnio.envelope import bad
from ringback.api.itnio.fields import check_range
from ringback.model.connect_step import Connect
from ringback.model.phones import seat_lines
from ringback.model.template import MIN_TIMEOUT_SECONDS, Gather, Play, Say
from ringback.store import phones

if TYPE_CHECKING:
    from ringback.api.itnio.door import Call
    from ringback.api.itnio.voice_fields import SendVoiceIn
    from ringback.model.template import Step, Template

AFTER_PROMPT, BY_KEY = 1, 2
#: How long the key may be pressed after the last prompt, seconds.
LAST_CHANCE_SECONDS = 5.0
_SEAT_NODE = "seat"


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """Where callees are connected to. ``key`` ``None``: all of them, after the prompt. ``phones``: of the group."""

    group: int
    key: str | None
    phones: int
    proportional: bool

    def lines(self, callout_rate: int) -> int | None:
        """How many calls the task may have at once; ``None``: any number."""
        return seat_lines(callout_rate, self.phones) if self.proportional else None

    def joined(self, template: Template) -> Template:
        """The template of a voice node, with the way to the phones."""
        (first,) = template.nodes
        connect: list[Step] = [Connect(group=self.group)]
        if self.key is None:
            return msgspec.structs.replace(template, nodes={first: [*template.nodes[first], *connect]})
        steps = [self._listening(step) for step in template.nodes[first]]
        last = Gather(keys=self.key, timeout=LAST_CHANCE_SECONDS, cases={self.key: _SEAT_NODE})
        return msgspec.structs.replace(template, nodes={first: [*steps, last], _SEAT_NODE: connect})

    def _listening(self, step: Step) -> Step:
        """A prompt that the key ends."""
        assert self.key is not None
        if isinstance(step, Say | Play):
            return Gather(prompt=step, keys=self.key, timeout=MIN_TIMEOUT_SECONDS, cases={self.key: _SEAT_NODE})
        return step


async def seat_asked(call: Call, asked: SendVoiceIn) -> Seat | None:
    """Where callees are to be connected to; ``None`` when nowhere.

    Raises :class:`~ringback.api.itnio.envelope.VendorError` (-22).
    """
    if check_range(asked.toSeat or 0, "toSeat", 0, 1) == 0:
        return None
    if asked.sipGroupId is None:
        raise bad("sipGroupId", "is missing")
    kind = check_range(AFTER_PROMPT if asked.toSeatType is None else asked.toSeatType, "toSeatType", 1, 2)
    key = None
    if kind == BY_KEY:
        key = "" if asked.toSeatKey is None else str(asked.toSeatKey)
        if len(key) != 1 or key not in "0123456789":
            raise bad("toSeatKey", "must be one key, 0 to 9")
    proportional = check_range(asked.outboundControl or 0, "outboundControl", 0, 1) == 1
    async with call.door.store.read() as tx:
        count = await phones.count_in_group(tx, call.account.id, asked.sipGroupId)
    if count == 0:
        raise bad("sipGroupId", f"there is no group {asked.sipGroupId} with phones")
    return Seat(group=asked.sipGroupId, key=key, phones=count, proportional=proportional)
