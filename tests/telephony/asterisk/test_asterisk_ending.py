"""How an Asterisk call ended: the measured table (one far end, one Asterisk 22, what it said of each ending)."""

from __future__ import annotations

import pytest

from ringback.telephony.asterisk.ending import Farewell, ended
from ringback.telephony.port import Ended, HungUpBy

CALLEE, RINGBACK = HungUpBy.CALLEE, HungUpBy.RINGBACK


def test_the_end_reads_as_measured():
    # SIP code and Q.850 cause of the hang-up request: what a far end's refusal looks like.
    measured = {
        403: 21, 404: 1, 604: 1, 486: 17, 600: 17, 480: 19, 408: 18, 410: 22, 484: 28, 488: 58, 500: 38, 503: 34,
        603: 21, 607: 127,
    }  # fmt: skip
    for code, cause in measured.items():
        end = ended(Farewell(asked=True, sip_code=code, q850_cause=cause, last_cause=cause))
        assert (end.sip_code, end.q850_cause, end.hung_up_by, end.engine_failed) == (code, cause, None, False)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        # We hang up an answered call.
        (Farewell(up=True, ours=True, last_cause=16), (200, None, RINGBACK)),
        # The callee's BYE, without and with a Reason header.
        (Farewell(up=True, asked=True, last_cause=0), (200, None, CALLEE)),
        (Farewell(up=True, asked=True, q850_cause=31, last_cause=31), (200, 31, CALLEE)),
        # Both at once: we had decided.
        (Farewell(up=True, ours=True, asked=True, last_cause=16), (200, None, RINGBACK)),
        # Asterisk's own time limit.
        (Farewell(up=True, last_cause=16), (200, None, RINGBACK)),
        # A local timeout: 480 is made up by Asterisk and never told, its cause is.
        (Farewell(sip_code=480, last_cause=19), (None, 19, None)),
        # No reply at all, and nothing known at all.
        (Farewell(last_cause=19), (None, 19, None)),
        (Farewell(), (None, None, None)),
        # We give up before the answer, with and without a response that crossed it.
        (Farewell(ours=True, last_cause=127), (None, None, None)),
        (Farewell(ours=True, asked=True, sip_code=486, q850_cause=17), (486, 17, None)),
        # Asked without a SIP code before the answer: no evidence of a response.
        (Farewell(asked=True, last_cause=38), (None, 38, None)),
    ],
)
def test_the_end_without_a_refusal(known, expected):
    end = ended(known)
    assert (end.sip_code, end.q850_cause, end.hung_up_by) == expected
    assert end.reason
    assert not end.engine_failed


def test_why_we_hung_up_is_told():
    assert ended(Farewell(up=True, ours=True), "transferred") == Ended(
        sip_code=200, hung_up_by=RINGBACK, reason="transferred"
    )
