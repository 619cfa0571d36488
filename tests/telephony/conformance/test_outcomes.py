"""What the dialler stores of every case, on every engine."""

from __future__ import annotations

from itertools import groupby

import msgspec
import pytest

from ringback.roles.one_call import _PROGRESS
from ringback.telephony.port import Answered, Ended
from tests.parts import parts
from tests.telephony.conformance.case import ANY, Case, Expected, Number, Sipp, Why
from tests.telephony.conformance.engines import ENGINES, HAVE, WITHOUT_WIRE, marks, why_not
from tests.telephony.conformance.run import Seen
from tests.telephony.conformance.table import BY_NAME, CASES

TO_RUN = [
    pytest.param(engine, case, marks=marks(engine), id=f"{engine}-{case.name}")
    for engine in ENGINES
    for case in CASES
    if why_not(engine, case) is None
]


@pytest.fixture
def seen(runs, engine: str, case: Case) -> Seen:
    if isinstance(case.carrier, Sipp):
        parts.require(parts.SIPP)
    found = runs(engine)[case.name]
    assert found.trouble == "", f"{found.trouble} after {found.events}"
    return found


def stored(seen: Seen) -> Expected:
    """What the dialler would store, in the table's terms."""
    result = seen.result
    assert result is not None
    return Expected(
        outcome=result.outcome,
        why=next((why for why in Why if why == result.reason), Why.CARRIER),
        sip_code=result.sip_code,
        q850_cause=result.q850_cause,
        hung_up_by=result.hung_up_by,  # type: ignore[arg-type]  # the store has its text
        rang=result.ring_ms is not None,
        keys=result.keys,
        intent=result.intent,
    )


@pytest.mark.parametrize(("engine", "case"), TO_RUN)
def test_what_is_stored(engine: str, case: Case, seen: Seen) -> None:
    expected = msgspec.structs.asdict(case.expected_of(engine))
    found = msgspec.structs.asdict(stored(seen))
    of_interest = [name for name, value in expected.items() if value != ANY]
    assert {name: found[name] for name in of_interest} == {name: expected[name] for name in of_interest}
    assert seen.result is not None
    assert seen.result.reason, "every call has a reason for people"
    assert (seen.result.talk_ms is None) == (seen.result.answered_at is None)


@pytest.mark.parametrize(("engine", "case"), TO_RUN)
def test_events_come_in_order(engine: str, case: Case, seen: Seen) -> None:
    kinds = [type(event) for event in seen.events]
    assert kinds.count(Ended) == 1
    assert kinds[-1] is Ended
    assert kinds.count(Answered) <= 1
    up_from = kinds.index(Answered) if Answered in kinds else len(kinds) - 1
    assert all(kind in _PROGRESS for kind in kinds[:up_from])
    assert not any(kind in _PROGRESS for kind in kinds[up_from:])
    assert len(set(kinds[:up_from])) == up_from, "progress is told once each"


def faults(case: Case, seen: Seen) -> list[str]:
    """What was wrong on the wire."""
    calls = case.carrier.calls if isinstance(case.carrier, Number) else 1
    found = [seen.complaints] if seen.complaints else []
    if len(seen.requests) > calls or (case.sends and len(seen.requests) < calls):
        found.append(f"{len(seen.requests)} calls came for {calls} orders")
    came = seen.requests[-1] if seen.requests else []
    # The far end does not write down ACKs.
    sends = [method for method in case.sends if method != "ACK" or not isinstance(case.carrier, Number)]
    if sends and [method for method, _ in groupby(came)] != sends:
        found.append(f"came: {came}, not {sends}")
    if case.acks is not None and came.count("ACK") != case.acks:
        found.append(f"{came.count('ACK')} ACKs came, not {case.acks}")
    if case.most_invites is not None and came.count("INVITE") > case.most_invites:
        found.append(f"INVITE came {came.count('INVITE')} times, more than {case.most_invites}")
    return found


@pytest.mark.parametrize(("engine", "case"), TO_RUN)
def test_what_the_carrier_got(engine: str, case: Case, seen: Seen) -> None:
    if engine in WITHOUT_WIRE:
        assert seen.requests == []
    elif engine in case.lapses:
        assert faults(case, seen), "the lapse is gone: take it out of the table"
    else:
        assert faults(case, seen) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_every_case_runs_or_says_why_not(engine: str) -> None:
    """Nothing is left out in silence, and the table's exceptions are about engines that run the case."""
    not_run = {case.name: reason for case in CASES if (reason := why_not(engine, case)) is not None}
    run = {case.name for case in CASES if why_not(engine, case) is None}
    assert run | not_run.keys() == BY_NAME.keys()
    assert all(not_run.values())
    for case in CASES:
        if engine in case.lapses:
            assert case.name in run
            assert case.lapses[engine]
        if engine in case.differs:
            assert case.name in run
            assert case.differs[engine].because
            assert case.expected_of(engine) != case.expected


def test_the_table_is_sound() -> None:
    assert len(BY_NAME) == len(CASES), "names are unique"
    for case in CASES:
        for differs in case.differs.values():
            assert differs.values.keys() <= set(Expected.__struct_fields__)
    assert all(engines <= ENGINES.keys() - WITHOUT_WIRE for engines in HAVE.values())
