"""The carrier's log, read."""

from __future__ import annotations

import json

import pytest

from chaos.evidence import Seen, read_carrier

INVITE = {"event": "invite", "sip": "x", "at_ns": 5, "callee": "4900", "caller": "11", "call": 7, "task": 3}


def lines(*events: dict[str, object]) -> list[str]:
    return [json.dumps(event) for event in events]


def test_a_call_from_invite_to_end() -> None:
    (call,) = read_carrier(
        "a",
        lines(
            INVITE,
            {"event": "repeat", "sip": "x", "at_ns": 6},
            {"event": "answer", "sip": "x", "at_ns": 7},
            {"event": "bye", "sip": "x", "at_ns": 9},
        ),
    )
    assert call == Seen(
        trunk="a", sip="x", at_ns=5, callee="4900", caller="11", call=7, task=3, answered_ns=7, ended_ns=9, repeats=1
    )


def test_a_refused_call_has_its_code_and_an_open_one_no_end() -> None:
    refused, silent = read_carrier(
        "a", lines(INVITE, {"event": "end", "sip": "x", "at_ns": 6, "code": 486}, {**INVITE, "sip": "y"})
    )
    assert (refused.code, refused.ended_ns) == (486, 6)
    assert (silent.code, silent.ended_ns) == (None, None)


def test_the_same_call_id_twice_or_an_unknown_event_is_no_evidence() -> None:
    with pytest.raises(ValueError, match="begins twice"):
        read_carrier("a", lines(INVITE, INVITE))
    with pytest.raises(ValueError, match="an event 'noise'"):
        read_carrier("a", lines(INVITE, {"event": "noise", "sip": "x", "at_ns": 6}))
