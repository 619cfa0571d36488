"""The call log: what is written is read again, whatever came over the wire and whoever was killed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ringback.farend.log import (
    Answered,
    By,
    Bye,
    CallLog,
    Cancelled,
    Challenged,
    Ended,
    Entry,
    Invited,
    KeySent,
    Refused,
    read_log,
)

HOSTILE = 'a"b\\c\n{"event":"ended"}\r\x00\u2028\u202e\ufffd😀'
ENTRIES: list[Entry] = [
    Challenged(at_ms=1, sip_call_id="a@b", callee="4930"),
    Invited(at_ms=2, sip_call_id="a@b", callee="4930", caller="49555", call="7", task=None),
    Answered(at_ms=3, sip_call_id="a@b"),
    KeySent(at_ms=4, sip_call_id="a@b", key="1"),
    Bye(at_ms=5, sip_call_id="a@b", by=By.FAREND),
    Cancelled(at_ms=6, sip_call_id=HOSTILE),
    Refused(at_ms=7, sip_call_id="", code=486),
    Invited(at_ms=8, sip_call_id=HOSTILE, callee=HOSTILE, caller=HOSTILE, call=HOSTILE, task=HOSTILE),
    Ended(at_ms=9, sip_call_id="a@b"),
]


def write(path: Path, entries: list[Entry]) -> None:
    log = CallLog(path)
    for entry in entries:
        log.write(entry)
    log.close()


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    write(path, ENTRIES)
    assert read_log(path) == ENTRIES
    assert len(path.read_bytes().splitlines()) == len(ENTRIES)


def test_a_line_is_plain_json(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    write(path, ENTRIES[1:2])
    assert json.loads(path.read_text()) == {
        "event": "invite",
        "at_ms": 2,
        "sip_call_id": "a@b",
        "callee": "4930",
        "caller": "49555",
        "call": "7",
        "task": None,
    }


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    log = CallLog(path)
    for count, entry in enumerate(ENTRIES, start=1):
        log.write(entry)
        assert read_log(path) == ENTRIES[:count]
    log.close()
    log.write(ENTRIES[0])
    assert read_log(path) == ENTRIES


def test_half_a_last_line_is_left_out_and_gone_when_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    write(path, ENTRIES[:2])
    whole = path.read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[0]), len(whole)):
        path.write_bytes(whole[:cut])
        assert read_log(path) == ENTRIES[:1]
    write(path, ENTRIES[2:3])
    assert read_log(path) == [ENTRIES[0], ENTRIES[2]]
    path.write_bytes(whole[:10])
    assert read_log(path) == []
    write(path, ENTRIES[:1])
    assert read_log(path) == ENTRIES[:1]


def test_a_broken_line_within_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"event":"invite"\n{"event":"ended","at_ms":1,"sip_call_id":"x"}\n')
    with pytest.raises(msgspec.DecodeError):
        read_log(path)


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        CallLog(tmp_path)
