"""The tables of docs/telephony.md, made from the table of cases.

``python -m tests.telephony.conformance.page`` writes them into the page, between their marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.telephony.conformance.case import ANY, NO_WIRE, Case, Number, Why
from tests.telephony.conformance.engines import ENGINES, HAVE
from tests.telephony.conformance.table import CASES, REFUSALS

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "telephony.md"


def by_code() -> str:
    """Outcome by the final SIP response, and by whether the phone had rung before it."""
    rows: dict[int, dict[bool, str]] = {}
    for case in REFUSALS:
        assert isinstance(case.expected.sip_code, int)
        rows.setdefault(case.expected.sip_code, {})[case.expected.rang] = str(case.expected.outcome)
    return _table(
        ("final response", "outcome", "after 180 or 183"),
        ((str(code), outcomes[False], outcomes.get(True, outcomes[False])) for code, outcomes in sorted(rows.items())),
    )


def other_endings() -> str:
    """What is stored of calls that did not just end with a refusal."""
    refusals = {case.name for case in REFUSALS}
    return _table(
        ("the carrier", "outcome", "SIP code", "hung up by", "reason"),
        (
            (
                case.carrier_does,
                str(case.expected.outcome),
                _shown(case.expected.sip_code),
                _shown(case.expected.hung_up_by),
                "(in the carrier's words)" if case.expected.why is Why.CARRIER else _shown(case.expected.why),
            )
            for case in CASES
            if case.name not in refusals and not isinstance(case.carrier, Number) and _is_run(case)
        ),
    )


def differences() -> str:
    """Where an engine differs from the rest, and why."""
    return _table(("engine", "the carrier", "what is stored", "because"), sorted(_differences()))


def _is_run(case: Case) -> bool:
    """Whether any engine is held to it yet."""
    return case.needs is None or bool(HAVE[case.needs])


def _differences() -> Iterable[tuple[str, str, str, str]]:
    for case in CASES:
        for engine, differs in case.differs.items():
            if engine in ENGINES and differs.because != NO_WIRE:
                yield engine, case.carrier_does, _values(case, differs.values), differs.because
        for engine, lapse in case.lapses.items():
            if engine in ENGINES:
                yield engine, case.carrier_does, "the same", lapse


def _values(case: Case, values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name} {_shown(value)} instead of {_shown(getattr(case.expected, name))}" for name, value in values.items()
    )


def _shown(value: object) -> str:
    return {None: "–", ANY: "any"}.get(value, str(value))  # type: ignore[call-overload]  # keys of two types


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


#: Name of a mark to the table that stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``.
TABLES = {"outcomes-by-code": by_code, "other-endings": other_endings, "engine-differences": differences}


def with_tables(text: str) -> str:
    """The page with its tables as they should be. Raises ValueError when a mark is missing."""
    for name, table in TABLES.items():
        begin, end = f"<!-- begin {name} -->\n", f"\n<!-- end {name} -->"
        found = re.subn(f"({begin}).*?({end})", lambda match, t=table: match[1] + t() + match[2], text, flags=re.DOTALL)
        if found[1] != 1:
            raise ValueError(f"the page has no place for {name}: {begin.strip()} … {end.strip()}")
        text = found[0]
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
