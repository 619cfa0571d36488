"""Routing: where a number may go, how it is written there, and as whom it calls. Prefixes are digits, '' fits all."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from ringback.model.numbers import MAX_DIGITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

MAX_PRIORITY = 1000
MAX_WEIGHT = 1000
#: The longest prefix that a trunk may put in front of a callee, digits.
MAX_ADDED_DIGITS = 12
MAX_CALLER_ID_DIGITS = 20
#: What is dialled, in digits, after a trunk's rewriting.
MAX_DIALLED_DIGITS = 32
#: Dialled in front of a number to leave a country; a carrier may understand them, so a denied number must not hide
#: behind one.
ACCESS_CODES = ("", "00", "011", "0011")

_PREFIX = re.compile(rf"[0-9]{{0,{MAX_DIGITS}}}", re.ASCII)
_ADDED = re.compile(rf"\+?[0-9]{{0,{MAX_ADDED_DIGITS}}}", re.ASCII)
_DIALLED = re.compile(rf"\+?[0-9]{{1,{MAX_DIALLED_DIGITS}}}", re.ASCII)
_CALLER_ID = re.compile(rf"[0-9]{{1,{MAX_CALLER_ID_DIGITS}}}", re.ASCII)


class Choice(msgspec.Struct, frozen=True):
    """A trunk that a route names. Lower ``priority`` goes first; equal ones share by ``weight``."""

    trunk_id: int
    priority: int = 0
    weight: int = 1


class RoutePrefixes:
    """The prefixes of the routes that an account may use: its own go before shared ones."""

    def __init__(self, own: Iterable[str] = (), shared: Iterable[str] = ()) -> None:
        self.own = frozenset(own)
        self.shared = frozenset(shared)
        # The empty prefix is what is left when nothing else fits.
        self._tiers = [
            (prefixes, lengths_of(prefixes)) for prefixes in (self.own, self.shared) if prefixes != frozenset()
        ]

    def __bool__(self) -> bool:
        return bool(self._tiers)

    def of(self, callee: str) -> str:
        """The prefix whose routes carry the number; '' also when no route does."""
        for prefixes, lengths in self._tiers:
            for length in lengths:
                if callee[:length] in prefixes:
                    return callee[:length]
        return ""

    def without_route(self, callee: str) -> str:
        """The shortest beginning of a number without a route that no route's prefix shares: where the gap is."""
        every = self.own | self.shared
        for length in range(1, len(callee)):
            if not any(prefix.startswith(callee[:length]) for prefix in every):
                return callee[:length]
        return callee


class Denied:
    """Prefixes whose numbers are never dialled. Deny goes before every route."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._prefixes = frozenset(prefixes)
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})

    def by(self, number: str) -> str | None:
        """The beginning of the number that is denied, access code included; ``None`` when it may be dialled."""
        for code in ACCESS_CODES:
            if number.startswith(code):
                for length in self._lengths:
                    if number[len(code) : len(code) + length] in self._prefixes:
                        return number[: len(code) + length]
        return None

    def by_as_dialled(self, callee: str, dialled: str) -> str | None:
        """The same for a number as it is stored and as a trunk would send it."""
        found = self.by(callee)
        if found is None and dialled.startswith("+"):
            found = self.by(dialled[1:])
        return found


def lengths_of(prefixes: Collection[str]) -> list[int]:
    """How long the prefixes are, each length once, longest first."""
    return sorted({len(prefix) for prefix in prefixes}, reverse=True)


def denied_reason(prefix: str) -> str:
    """Why a number is skipped."""
    return f"numbers that begin with {prefix} are denied"


def in_service(choices: Sequence[Choice], usable: Callable[[int], bool]) -> list[Choice]:
    """The choices that count now: the usable trunks of the lowest priority number that has one."""
    alive = [choice for choice in choices if usable(choice.trunk_id)]
    first = min((choice.priority for choice in alive), default=0)
    return [choice for choice in alive if choice.priority == first]


def least_loaded(choices: Iterable[Choice], load: Callable[[int], int]) -> Choice | None:
    """Whose turn it is among trunks of one priority: the fewest calls for its weight; ``load`` counts calls."""
    return min(choices, key=lambda one: (load(one.trunk_id) / one.weight, one.trunk_id), default=None)


def checked_prefix(text: str) -> str:
    """The prefix of a route or a denial: digits. Raises ValueError."""
    if not _PREFIX.fullmatch(text):
        raise ValueError(f"must be 0 to {MAX_DIGITS} digits")
    return text


def checked_denial(text: str) -> str:
    """The prefix of a denial, which must not fit every number. Raises ValueError."""
    if not text or not _PREFIX.fullmatch(text):
        raise ValueError(f"must be 1 to {MAX_DIGITS} digits")
    return text


def checked_strip(text: str) -> str:
    """What a trunk takes off a callee, without the plus sign that callees do not have. Raises ValueError."""
    digits = text.removeprefix("+")
    if not _PREFIX.fullmatch(digits):
        raise ValueError(f"must be 0 to {MAX_DIGITS} digits, with or without a leading +")
    return digits


def checked_added(text: str) -> str:
    """What a trunk puts in front of a callee. Raises ValueError."""
    if not _ADDED.fullmatch(text):
        raise ValueError(f"must be 0 to {MAX_ADDED_DIGITS} digits, with or without a leading +")
    return text


def checked_caller_id(text: str) -> str:
    """A caller id that a trunk owns. Raises ValueError."""
    if not _CALLER_ID.fullmatch(text):
        raise ValueError(f"must be 1 to {MAX_CALLER_ID_DIGITS} digits")
    return text


def is_dialable(number: str) -> bool:
    """Whether a number can stand in a request: digits, with or without a leading plus sign."""
    return _DIALLED.fullmatch(number) is not None


def rewritten(callee: str, strip: str, added: str) -> str:
    """The number as a trunk wants it: without ``strip`` when it begins so, then with ``added`` in front.

    Raises ValueError when nothing that can be dialled is left; the text does not hold the number.
    """
    rest = callee.removeprefix(strip)
    if not rest:
        raise ValueError(f"nothing is left of the number without {strip}")
    if not is_dialable(added + rest):
        raise ValueError("what would be sent is no number")
    return added + rest


class CallerIds:
    """The numbers that a trunk owns, the least recently used first.

    ``any_allowed``: calls may show other numbers too. :attr:`used` are those taken here, in order of their last use.
    """

    def __init__(self, numbers: Iterable[str], *, any_allowed: bool) -> None:
        self._queue: OrderedDict[str, None] = OrderedDict.fromkeys(numbers)
        self._any_allowed = any_allowed
        self._used: OrderedDict[str, None] = OrderedDict()

    @property
    def used(self) -> list[str]:
        """Numbers of the pool that calls have been given, the latest last."""
        return list(self._used)

    def allows(self, number: str) -> bool:
        """Whether a call may show the number."""
        return self._any_allowed or number in self._queue

    def choose(self, wanted: str, usual: str) -> str | None:
        """The caller id of the next call: ``wanted`` by its task, else the application's ``usual`` one, else in turn.

        '' when there is none to show. ``None`` when the trunk may not show what the task wants: nothing takes its
        place.
        """
        if wanted and not self.allows(wanted):
            return None
        chosen = wanted or (usual if usual and self.allows(usual) else next(iter(self._queue), ""))
        if chosen in self._queue:
            self._queue.move_to_end(chosen)
            self._used[chosen] = None
            self._used.move_to_end(chosen)
        return chosen
