"""Reading the native stack's close texts and its trace of SIP messages."""

from __future__ import annotations

import logging

import pytest

from ringback.telephony.port import Ended, HungUpBy
from ringback.telephony.sip.ending import CloseText, ended_answered, ended_unanswered
from ringback.telephony.sip.wire import TRACE_LOGGER, Seen, WireTap, q850_cause


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("486 Busy Here", Ended(sip_code=486, reason="486 Busy Here")),
        ('486 Busy,Q.850;cause=17;text="x"', Ended(sip_code=486, q850_cause=17, reason="486 Busy")),
        ("603", Ended(sip_code=603, reason="603")),
        ("302 Moved Temporarily", Ended(sip_code=302, reason="302 Moved Temporarily")),
        ("Connection timed out [110]", Ended(reason="no response to the INVITE")),
        ("Bad message [74]", Ended(reason="Bad message [74]")),
        ("", Ended(reason="closed without a reason")),
        ("200 OK", Ended(reason="200 OK")),  # no final response that ends a call
        ("4866 Busy", Ended(reason="4866 Busy")),
    ],
)
def test_how_an_unanswered_call_ended(text, ended):
    assert ended_unanswered(CloseText.parse(text), None) == ended


def test_a_final_response_that_the_stack_could_not_read_still_counts():
    assert ended_unanswered(CloseText.parse("Bad message [74]"), 302).sip_code == 302
    assert ended_unanswered(CloseText.parse("Bad message [74]"), 200).sip_code is None


@pytest.mark.parametrize(("final", "code"), [(None, None), (487, 487), (486, 486), (200, None)])
def test_how_a_call_ended_that_we_gave_up(final, code):
    ended = ended_unanswered(CloseText.parse("Rejected by user"), final)
    assert ended.sip_code == code
    assert ended.hung_up_by is None
    assert ended.reason


@pytest.mark.parametrize(
    ("text", "bye_received", "by"),
    [
        ("Connection reset by peer [104]", True, HungUpBy.CALLEE),
        ("Connection reset by peer [104]", False, HungUpBy.CALLEE),  # the trace missed the BYE
        ("Rejected by user", False, HungUpBy.RINGBACK),
        ("Rejected by user", True, HungUpBy.RINGBACK),  # both at once: ours was first
        ("rtp stream error", False, HungUpBy.RINGBACK),
    ],
)
def test_who_hung_up_an_answered_call(text, bye_received, by):
    ended = ended_answered(CloseText.parse(text), bye_received, 16 if bye_received else None)
    assert (ended.sip_code, ended.hung_up_by) == (200, by)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("Q.850;cause=17", 17),
        ('q.850 ; cause = 31 ;text="Q.850;cause=1"', 31),
        ('SIP;cause=200;text="Q850", Q.850;text="a";cause=127', 127),
        ("SIP;cause=200, Q.850", None),
        ("SIP;cause=200", None),
        ("", None),
    ],
)
def test_q850_causes(reason, cause):
    assert q850_cause(reason) == cause


def message(*lines: str) -> str:
    return "\r\n".join([*lines, "", ""])


class Tap:
    def __init__(self):
        self.seen = []
        self.up = True
        self.tap = WireTap(lambda call_id: self.up, lambda call_id, seen: self.seen.append((call_id, seen)))

    def trace(self, direction: str, text: str) -> None:
        record = logging.LogRecord(TRACE_LOGGER, logging.DEBUG, "", 0, f"{direction} UDP a -> b\n{text}", (), None)
        self.tap.emit(record)


INVITE = message("INVITE sip:1@h SIP/2.0", "Call-ID: abc", "CSeq: 7 INVITE", "X-Ringback-Call: 42")


def test_the_trace_of_a_call():
    tap = Tap()
    tap.trace("TX", INVITE)
    tap.trace("RX", message("SIP/2.0 100 Trying", "Call-ID: abc", "CSeq: 7 INVITE"))
    tap.trace("TX", message("ACK sip:1@h SIP/2.0", "Call-ID: abc", "CSeq: 7 ACK"))
    tap.trace("RX", message("SIP/2.0 487 No", "i:abc", "cseq : 7  INVITE", "reason:Q.850;cause=31"))
    tap.trace("RX", message("BYE sip:1@h SIP/2.0", "Call-ID: abc", "CSeq: 1 BYE", "Reason: Q.850;cause=16"))
    tap.trace("RX", message("SIP/2.0 200 OK", "Call-ID: abc", "CSeq: 8 BYE"))
    assert tap.seen == [
        (42, Seen("INVITE", 100)),
        (42, Seen("INVITE", 487, 31)),
        (42, Seen("BYE", 0, 16)),
        (42, Seen("BYE", 200)),
    ]


def test_what_the_trace_does_not_tell():
    tap = Tap()
    ok = message("SIP/2.0 200 OK", "Call-ID: abc", "CSeq: 7 INVITE")
    tap.trace("RX", ok)  # before our INVITE
    tap.trace("RX", INVITE)  # somebody's, with our header
    tap.trace("RX", ok)
    tap.trace("TX", INVITE)
    tap.trace("RX", message("SIP/2.0 20x OK", "Call-ID: abc", "CSeq: 7 INVITE"))
    tap.trace("RX", message("SIP/2.0 200 OK", "Call-ID: abc"))
    tap.trace("RX", message("SIP/2.0 200 OK"))
    tap.trace("RX", message("OPTIONS sip:1@h SIP/2.0", "Call-ID: abc", "CSeq: 1 OPTIONS"))
    tap.trace("RX", "")
    tap.trace("RX", message("SIP/2.0 183 Progress", "CSeq: 7 INVITE", "X: y", "", "Call-ID: abc"))  # in the body
    tap.tap.forget(42)
    tap.tap.forget(42)
    tap.trace("RX", ok)  # after the end
    tap.up = False
    tap.trace("TX", INVITE)  # seen only after the end
    tap.trace("RX", ok)
    assert tap.seen == []
