"""The families of the vendor's operations: where each is served, and how it numbers what holds for all of them."""

from __future__ import annotations

import msgspec

from ringback.api.itnio.envelope import Code


class Family(msgspec.Struct, frozen=True):
    """``prefixes``: each of its operations is served under every one of them. ``numbered``: the codes that it numbers
    otherwise than the voice pages. ``missing_header``: its codes for a sign header that is not there, by name.
    """

    prefixes: tuple[str, ...]
    numbered: dict[int, int] = {}
    missing_header: dict[str, int] = {}

    def code(self, code: int) -> int:
        """The code as this family numbers it."""
        return self.numbered.get(code, code)


VOICE = Family(("/voice", "/v3/voice"))
#: The operations that belong to no product.
ACCOUNT = Family(("", "/v3"))
CALL_CENTRE = Family(("/v3/cc",))
#: The older AI voice jobs.
JOBS = Family(
    ("/aivoice", "/v3/aivoice"),
    numbered={Code.TIMESTAMP_EXPIRED: -4, Code.ADDRESS_NOT_ALLOWED: -6},
    missing_header={"Sign": -57, "Timestamp": -58, "Api-Key": -59},
)
FAMILIES = (VOICE, ACCOUNT, CALL_CENTRE, JOBS)
#: Where nothing but the vendor's operations is served.
OWN_PREFIXES = tuple(prefix for family in FAMILIES for prefix in family.prefixes if prefix not in ("", "/v3"))
