"""Whether the demo did what its numbers call for: who was dialled in each round, and how each call ended.

The expectation is worked out from the table of test numbers alone, without the dialler's rules.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from ringback.model.outcome import FAILED_OUTCOMES
from ringback.model.sandbox_numbers import Kind, behaviour
from ringback.store.records import CallRecord


class Round(msgspec.Struct, frozen=True):
    """One task of the demo: its name, and its calls as they were stored."""

    name: str
    calls: list[CallRecord]


def problems_of(numbers: list[str], rounds: list[Round], wanted_rounds: int) -> list[str]:
    """Everything that is not as the numbers call for; empty when all is right."""
    problems = []
    if len(rounds) != wanted_rounds:
        problems.append(f"{len(rounds)} rounds were dialled, {wanted_rounds} were due")
    expected = set(numbers)
    earlier: Counter[str] = Counter()
    for one in rounds:
        dialled = [call.callee for call in one.calls]
        problems += [
            f"{one.name}: {callee} was {'not ' if callee in expected else ''}dialled"
            for callee in sorted(expected.symmetric_difference(dialled))
        ]
        failed = set()
        for call in one.calls:
            wanted = behaviour(call.callee, earlier[call.callee])
            if call.outcome != wanted.outcome:
                problems.append(f"{one.name}: {call.callee} ended {call.outcome}, not {wanted.outcome} ({call.reason})")
            if wanted.kind is Kind.PRESSES_KEY and call.keys != wanted.key:
                problems.append(f"{one.name}: {call.callee} pressed {call.keys!r}, not {wanted.key!r}")
            if wanted.outcome in FAILED_OUTCOMES:
                failed.add(call.callee)
            earlier[call.callee] += 1
        expected = failed
    return problems


def invites_match(rounds: list[Round], invites: Counter[str]) -> list[str]:
    """Compare what was stored with what the carrier saw: INVITEs by call id, each exactly once."""
    stored = {str(call.id) for one in rounds for call in one.calls}
    problems = [f"call {call_id} reached the carrier {count} times" for call_id, count in invites.items() if count != 1]
    problems += [f"call {call_id} never reached the carrier" for call_id in sorted(stored - invites.keys())]
    problems += [f"the carrier got a call {call_id} that is not stored" for call_id in sorted(invites.keys() - stored)]
    return problems
