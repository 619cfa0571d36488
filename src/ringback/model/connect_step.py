"""The step of a template that connects the callee with a person's phone. Part of the template, and imported by it."""

from __future__ import annotations

import msgspec

#: The largest number that the store gives to a group of phones.
MAX_GROUP = 2**63 - 1


class Connect(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag="connect", forbid_unknown_fields=True):
    """Connect the callee with a phone that is registered with us: a free one of ``group``, or the one of the account
    ``phone``, digits or one ``${text1}`` to ``${text10}``.

    The call ends when either hangs up. Without a phone that answers, the next step runs. A template that begins with a
    named phone calls that one first: its number is dialled only when somebody has picked the phone up.
    """

    group: int | None = None
    phone: str = ""

    def fault(self, *, is_target: bool) -> tuple[str, str] | None:
        """What is wrong with it: the field, and why. ``is_target``: whether ``phone`` is digits or a text variable."""
        if (self.group is None) != bool(self.phone):
            return "connect", "must name a group or a phone"
        if self.group is not None and not 1 <= self.group <= MAX_GROUP:
            return "connect.group", f"must be the number of a group, got {self.group}"
        if self.phone and (not is_target or self.phone.startswith("+")):
            return "connect.phone", "must be the account of a phone, 1 to 32 digits, or one of ${text1} to ${text10}"
        return None
