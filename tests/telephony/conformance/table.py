"""The one table of cases. It is the same for every engine; where one differs, the row says how and why.

The order of the SIPp cases is the order of their numbers, nothing else.
"""

from __future__ import annotations

from typing import Final

from ringback.model.outcome import Outcome
from ringback.telephony.port import HungUpBy
from tests.telephony.conformance import sipp_carrier as sipp
from tests.telephony.conformance.acts import repeat_answer, repeat_refusal
from tests.telephony.conformance.case import (
    ANY,
    NO_WIRE,
    Case,
    Differs,
    Expected,
    Feature,
    Number,
    Peer,
    Sipp,
    Talk,
    Vanishing,
    Why,
)
from tests.telephony.conformance.talks import CALLEE_HERTZ
from tests.telephony.sip_peer import Script, mu_law, noise, silence, tone

_CALLER_HANGS_UP: Final = ("INVITE", "ACK", "BYE")
_REFUSED: Final = ("INVITE", "ACK")
_CANCELS: Final = ("INVITE", "CANCEL", "ACK")

_ASTERISK_MAKES_IT_UP: Final = Differs(
    because="Asterisk does not tell which response its CANCEL got; the 480 that it reports is its own",
    values={"sip_code": None},
)
_ASTERISK_LOOKS_FOR_IT: Final = Differs(
    because="Asterisk first looks for the user of a redirection in its own dialplan; at times its failure is reported",
    values={"sip_code": ANY},
)


def _answered(why: Why = Why.TEMPLATE, **given: object) -> Expected:
    by = HungUpBy.CALLEE if why is Why.CALLEE else HungUpBy.RINGBACK
    values = {"outcome": Outcome.ANSWERED, "why": why, "sip_code": 200, "hung_up_by": by, "rang": True, **given}
    return Expected(**values)  # type: ignore[arg-type]  # a dictionary has one type of value


def _given_up(*, rang: bool = True) -> Expected:
    outcome = Outcome.NO_ANSWER if rang else Outcome.UNREACHABLE
    return Expected(outcome=outcome, why=Why.NOBODY, sip_code=487, rang=rang)


_DEAD: Final = Expected(outcome=Outcome.FAILED, why=Why.NO_RESPONSE)


# --- final refusals ---


def _refusal(code: int, outcome: Outcome, before: tuple[int, ...] = ()) -> Case:
    rang = 180 in before or 183 in before
    after = "".join(f"_after_{number}" for number in before)
    words = "".join(f"{number}, " for number in before)
    steps = tuple(sipp.respond(number, session=number == 183) + sipp.pause(0.2) for number in before)
    refusal = sipp.refuse(code, contact="<sip:900@redirect.invalid>") if code == 302 else sipp.refuse(code)
    return Case(
        name=f"{code}{after}",
        carrier_does=f"{words}{code}",
        carrier=Sipp((sipp.respond(100), *steps, refusal)),
        expected=Expected(outcome=outcome, why=Why.CARRIER, sip_code=code, rang=rang),
        sends=_REFUSED,
        differs={"asterisk": _ASTERISK_LOOKS_FOR_IT} if code == 302 else {},
    )


REFUSALS: Final = (
    _refusal(302, Outcome.FAILED),
    _refusal(403, Outcome.FAILED),
    _refusal(404, Outcome.INVALID_NUMBER),
    _refusal(408, Outcome.UNREACHABLE),
    _refusal(408, Outcome.NO_ANSWER, (180,)),
    _refusal(410, Outcome.INVALID_NUMBER),
    _refusal(480, Outcome.UNREACHABLE),
    _refusal(480, Outcome.NO_ANSWER, (180,)),
    _refusal(480, Outcome.NO_ANSWER, (183,)),
    _refusal(484, Outcome.INVALID_NUMBER),
    _refusal(486, Outcome.BUSY),
    _refusal(486, Outcome.BUSY, (180,)),
    _refusal(488, Outcome.FAILED),
    _refusal(500, Outcome.FAILED),
    _refusal(503, Outcome.CONGESTION),
    _refusal(503, Outcome.CONGESTION, (183,)),
    _refusal(600, Outcome.BUSY),
    _refusal(603, Outcome.REJECTED),
    _refusal(603, Outcome.REJECTED, (180,)),
    _refusal(604, Outcome.INVALID_NUMBER),
    _refusal(607, Outcome.REJECTED),
)

# --- the rest of signalling ---

SIGNALLING: Final = (
    Case(
        name="refusal_with_cause",
        carrier_does="486 with a Reason header, Q.850 cause 17",
        carrier=Sipp((sipp.refuse(486, reason="Q.850;cause=17"),)),
        expected=Expected(outcome=Outcome.BUSY, why=Why.CARRIER, sip_code=486, q850_cause=17),
        sends=_REFUSED,
    ),
    Case(
        name="server_error_with_cause",
        carrier_does="500 with a Reason header, Q.850 cause 41",
        carrier=Sipp((sipp.refuse(500, reason='Q.850;cause=41;text="Temporary failure, sorry"'),)),
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=500, q850_cause=41),
        sends=_REFUSED,
        differs={
            "asterisk": Differs(
                because="the Reason header of a 5xx does not reach ARI; Asterisk reports the cause that it has for 500",
                values={"q850_cause": 38},
            )
        },
    ),
    Case(
        name="digest",
        carrier_does="401; the right password; 180, 200",
        carrier=Sipp((sipp.authenticated(sipp.respond(180), sipp.answer(), sipp.caller_hangs_up()),)),
        user=sipp.USER,
        password=sipp.PASSWORD,
        expected=_answered(),
        sends=("INVITE", "ACK", "INVITE", "ACK", "BYE"),
    ),
    Case(
        name="digest_wrong",
        carrier_does="401; a wrong password; 403",
        carrier=Sipp((sipp.authenticated(sipp.refuse(500)),)),
        user=sipp.USER,
        password="guess",
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=403),
        sends=("INVITE", "ACK", "INVITE", "ACK"),
    ),
    Case(
        name="answered_after_180",
        carrier_does="100, 180, 200; gets our BYE",
        carrier=Sipp((sipp.respond(100), sipp.respond(180), sipp.pause(0.3), sipp.answer(), sipp.caller_hangs_up())),
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="answered_after_183",
        carrier_does="100, 183 with media, 200; gets our BYE",
        carrier=Sipp(
            (
                sipp.respond(100),
                sipp.respond(183, session=True),
                sipp.pause(0.3),
                sipp.answer(),
                sipp.caller_hangs_up(),
            )
        ),
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="answered_at_once",
        carrier_does="200, nothing before it; gets our BYE",
        carrier=Sipp((sipp.answer(), sipp.caller_hangs_up())),
        expected=_answered(rang=False),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="callee_hangs_up",
        carrier_does="180, 200, BYE without a Reason header",
        carrier=Sipp((sipp.respond(180), sipp.pause(0.2), sipp.answer(), sipp.pause(0.5), sipp.callee_hangs_up())),
        talk=Talk.LONG,
        expected=_answered(Why.CALLEE),
        sends=("INVITE", "ACK"),
    ),
    Case(
        name="callee_hangs_up_with_cause",
        carrier_does="180, 200, BYE with a Reason header, Q.850 cause 31",
        carrier=Sipp(
            (
                sipp.respond(180),
                sipp.pause(0.2),
                sipp.answer(),
                sipp.pause(0.5),
                sipp.callee_hangs_up('Q.850;cause=31;text="Normal, unspecified"'),
            )
        ),
        talk=Talk.LONG,
        expected=_answered(Why.CALLEE, q850_cause=31),
        sends=("INVITE", "ACK"),
    ),
    Case(
        name="callee_hangs_up_at_once",
        carrier_does="200, and BYE right after the ACK",
        carrier=Sipp((sipp.answer(), sipp.callee_hangs_up())),
        talk=Talk.LONG,
        expected=_answered(Why.CALLEE, rang=False),
        sends=("INVITE", "ACK"),
    ),
    Case(
        name="maximum_duration",
        carrier_does="180, 200; gets our BYE when the longest duration is over",
        carrier=Sipp((sipp.respond(180), sipp.pause(0.2), sipp.answer(), sipp.caller_hangs_up())),
        talk=Talk.LONG,
        call_seconds=2,
        expected=_answered(Why.DURATION),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="rings_for_ever",
        carrier_does="180 and nothing more; gets our CANCEL; 487",
        carrier=Sipp((sipp.respond(100), sipp.respond(180), sipp.cancelled())),
        ring_seconds=2,
        expected=_given_up(),
        sends=_CANCELS,
        differs={"asterisk": _ASTERISK_MAKES_IT_UP},
    ),
    Case(
        name="early_media_for_ever",
        carrier_does="183 with media and nothing more; gets our CANCEL; 487",
        carrier=Sipp((sipp.respond(100), sipp.respond(183, session=True), sipp.cancelled())),
        ring_seconds=2,
        expected=_given_up(),
        sends=_CANCELS,
        differs={"asterisk": _ASTERISK_MAKES_IT_UP},
    ),
    Case(
        name="trying_for_ever",
        carrier_does="100 and nothing more; gets our CANCEL; 487",
        carrier=Sipp((sipp.respond(100), sipp.cancelled())),
        ring_seconds=3,  # more than the wait for a first response
        expected=_given_up(rang=False),
        sends=_CANCELS,
        differs={"asterisk": _ASTERISK_MAKES_IT_UP},
    ),
    Case(
        name="answer_crosses_cancel",
        carrier_does="180; our CANCEL crosses with 200; gets our ACK and BYE",
        carrier=Sipp((sipp.respond(180), sipp.answer_crosses_cancel())),
        ring_seconds=2,
        expected=Expected(outcome=Outcome.NO_ANSWER, why=Why.NOBODY, rang=True),
        sends=("INVITE", "CANCEL", "ACK", "BYE"),
    ),
    Case(
        name="no_response",
        carrier_does="nothing at all",
        carrier=Sipp((sipp.silence(),)),
        expected=_DEAD,
        most_invites=3,  # after 0, 0.5 and 1.5 s; then it is given up
        lapses={"asterisk": "goes on to repeat the INVITE of a call that was given up without any response"},
    ),
)

# --- the number table ---


def _sandbox(**values: object) -> dict[str, Differs]:
    return {"sandbox": Differs(because=NO_WIRE, values=values)}


NUMBERS: Final = (
    Case(
        name="number_00",
        carrier_does="a person listens until the template ends",
        carrier=Number("00"),
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_40",
        carrier_does="presses 1 after the first prompt",
        carrier=Number("40"),
        talk=Talk.MENU,
        expected=_answered(keys="1", intent="101"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_45",
        carrier_does="presses 9 after the first prompt",
        carrier=Number("45"),
        talk=Talk.MENU,
        expected=_answered(keys="9", intent="109"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_50",
        carrier_does="a voicemail greeting",
        carrier=Number("50"),
        talk=Talk.LONG,
        expected=_answered(Why.MACHINE, outcome=Outcome.VOICEMAIL),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_50_talked_to",
        carrier_does="a voicemail greeting; the template talks to machines",
        carrier=Number("50"),
        talk=Talk.PATIENT,
        expected=_answered(outcome=Outcome.VOICEMAIL),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_55",
        carrier_does="answers and hangs up within a second, with Q.850 cause 16",
        carrier=Number("55"),
        talk=Talk.LONG,
        expected=_answered(Why.CALLEE, q850_cause=16),
        sends=("INVITE", "ACK"),
        differs=_sandbox(q850_cause=None),
    ),
    Case(
        name="number_60",
        carrier_does="busy",
        carrier=Number("60"),
        expected=Expected(outcome=Outcome.BUSY, why=Why.CARRIER, sip_code=486),
        sends=_REFUSED,
    ),
    Case(
        name="number_61_called_again",
        carrier_does="busy for its first call, a person on the second",
        carrier=Number("61", calls=2),
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_70",
        carrier_does="rings unanswered",
        carrier=Number("70"),
        ring_seconds=2,
        expected=_given_up(),
        sends=_CANCELS,
        differs={**_sandbox(sip_code=None), "asterisk": _ASTERISK_MAKES_IT_UP},
    ),
    Case(
        name="number_71_called_again",
        carrier_does="rings unanswered on its first call, presses 1 on the second",
        carrier=Number("71", calls=2),
        talk=Talk.MENU,
        ring_seconds=2,
        expected=_answered(keys="1", intent="101"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="number_80",
        carrier_does="declined (603)",
        carrier=Number("80"),
        expected=Expected(outcome=Outcome.REJECTED, why=Why.CARRIER, sip_code=603),
        sends=_REFUSED,
    ),
    Case(
        name="number_85",
        carrier_does="unavailable (480)",
        carrier=Number("85"),
        expected=Expected(outcome=Outcome.UNREACHABLE, why=Why.CARRIER, sip_code=480),
        sends=_REFUSED,
    ),
    Case(
        name="number_90",
        carrier_does="not found (404)",
        carrier=Number("90"),
        expected=Expected(outcome=Outcome.INVALID_NUMBER, why=Why.CARRIER, sip_code=404),
        sends=_REFUSED,
    ),
    Case(
        name="number_94",
        carrier_does="service unavailable (503)",
        carrier=Number("94"),
        expected=Expected(outcome=Outcome.CONGESTION, why=Why.CARRIER, sip_code=503),
        sends=_REFUSED,
    ),
    Case(
        name="number_96",
        carrier_does="server error (500)",
        carrier=Number("96"),
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=500),
        sends=_REFUSED,
    ),
    Case(
        name="number_97",
        carrier_does="no SIP response at all",
        carrier=Number("97"),
        expected=_DEAD,
    ),
    Case(
        name="number_98",
        carrier_does="early media (183), then 480",
        carrier=Number("98"),
        expected=Expected(outcome=Outcome.NO_ANSWER, why=Why.CARRIER, sip_code=480, rang=True),
        sends=_REFUSED,
    ),
    Case(
        name="number_99",
        carrier_does="302 to another address, which is never followed",
        carrier=Number("99"),
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=302),
        sends=_REFUSED,
        differs={"asterisk": _ASTERISK_LOOKS_FOR_IT},
    ),
)

_WORD: Final = mu_law(silence(0.5) + tone(0.5, hertz=CALLEE_HERTZ) + silence(4.0))
_NO_SPEECH: Final = mu_law(
    silence(0.8) + noise(0.6, level=150) + silence(0.3) + tone(0.06) + silence(0.3) + noise(2.0, level=150)
)

# --- keys, sound and trouble, precisely scripted ---

PRECISE: Final = (
    Case(
        name="answer_sent_twice",
        carrier_does="180 twice, 200, and 200 again as if our ACK had been lost",
        carrier=Peer(Script(provisional=(180, 180)), repeat_answer),
        talk=Talk.HEARD,
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
        acks=2,
        lapses={
            "sip": "the native stack passes over a repeated 200; a carrier that never got the ACK hangs up after 32 s"
        },
    ),
    Case(
        name="refusal_sent_twice",
        carrier_does="486, and again as if our ACK had been lost",
        carrier=Peer(Script(provisional=(), final=486), repeat_refusal),
        expected=Expected(outcome=Outcome.BUSY, why=Why.CARRIER, sip_code=486),
        sends=_REFUSED,
        acks=2,
    ),
    Case(
        name="digest_missing",
        carrier_does="401; the trunk has no password",
        carrier=Peer(Script(digest=(sipp.USER, sipp.PASSWORD))),
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=401),
    ),
    Case(
        name="digest_of_a_proxy",
        carrier_does="407; the right password; 180, 200",
        carrier=Peer(Script(digest=(sipp.USER, sipp.PASSWORD), challenge=407)),
        user=sipp.USER,
        password=sipp.PASSWORD,
        expected=_answered(),
        sends=("INVITE", "ACK", "INVITE", "ACK", "BYE"),
    ),
    Case(
        name="digest_of_a_proxy_wrong",
        carrier_does="407; a wrong password; 407 again",
        carrier=Peer(Script(digest=(sipp.USER, sipp.PASSWORD), challenge=407)),
        user=sipp.USER,
        password="guess",
        expected=Expected(outcome=Outcome.FAILED, why=Why.CARRIER, sip_code=407),
        sends=("INVITE", "ACK", "INVITE", "ACK"),
    ),
    Case(
        name="keys_during_a_prompt",
        carrier_does="presses 1 2 # while a prompt plays that keys do not stop",
        carrier=Peer(Script(says=mu_law(tone(0.4)), presses="12#")),
        talk=Talk.TYPE_AHEAD,
        expected=_answered(keys="12#", intent="112"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="barge_in",
        carrier_does="presses 5 half a second into a prompt of eight seconds",
        carrier=Peer(Script(says=mu_law(silence(0.5)), presses="5")),
        talk=Talk.BARGE_IN,
        expected=_answered(keys="5", intent="105"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="speaks",
        carrier_does="speaks half a second into a prompt of eight seconds that may be interrupted",
        carrier=Peer(Script(says=_WORD)),
        talk=Talk.OPEN,
        expected=_answered(intent="106"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="speaks_in_vain",
        carrier_does="speaks half a second into a prompt of eight seconds that may not be interrupted",
        carrier=Peer(Script(says=_WORD)),
        talk=Talk.LONG,
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="key_where_speech_interrupts",
        carrier_does="presses 5 half a second into a prompt of eight seconds that may be interrupted",
        carrier=Peer(Script(says=mu_law(silence(0.5)), presses="5")),
        talk=Talk.OPEN,
        expected=_answered(keys="5", intent="106"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="sounds_that_are_no_speech",
        carrier_does="183 with a ring-back tone, 200; then silence, comfort noise and a click",
        carrier=Peer(Script(provisional=(100, 183), says_early=mu_law(tone(0.6)), says=_NO_SPEECH)),
        talk=Talk.OPEN_SHORT,
        expected=_answered(intent="106"),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="keys_and_goes",
        carrier_does="presses 1 after the prompt and hangs up",
        carrier=Peer(Script(says=mu_law(silence(1.8)), presses="1", hangs_up_after=0.2, bye_reason="Q.850;cause=16")),
        talk=Talk.TYPE_AHEAD,
        expected=_answered(Why.CALLEE, keys="1", q850_cause=16),
        sends=("INVITE", "ACK"),
    ),
    Case(
        name="says_nothing",
        carrier_does="answers and says nothing for four seconds, as people do who listen; BYE",
        carrier=Peer(Script(says=mu_law(silence(4.0)), hangs_up_after=0.0)),
        talk=Talk.LONG,
        expected=_answered(Why.CALLEE),
        sends=("INVITE", "ACK"),
    ),
    Case(
        name="answer_without_media",
        carrier_does="200 without a session description",
        carrier=Peer(Script(with_body=False)),
        expected=_answered(why=ANY),
        sends=_CALLER_HANGS_UP,
        differs={
            "asterisk": Differs(
                because="Asterisk ends such a call by itself, and reports that as it reports a callee's BYE",
                values={"hung_up_by": HungUpBy.CALLEE},
            )
        },
    ),
    Case(
        name="vanishes",
        carrier_does="answers, then its socket is closed: neither our BYE nor our audio arrives",
        carrier=Vanishing(0),
        talk=Talk.HEARD,
        expected=_answered(),
    ),
    Case(
        name="nobody_listens",
        carrier_does="nobody listens on its port",
        carrier=Vanishing(1),
        expected=_DEAD,
    ),
    Case(
        name="comes_back",
        carrier_does="listens on that port again: 180, 200; gets our BYE",
        carrier=Vanishing(2),
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
    ),
    Case(
        name="recording",
        carrier_does="speaks (1,000 Hz) while a prompt (440 Hz) plays",
        # A word and a pause, or it would be taken for a machine.
        carrier=Peer(Script(says=mu_law(tone(1.0, hertz=CALLEE_HERTZ) + silence(2.0)))),
        talk=Talk.HEARD,
        expected=_answered(),
        sends=_CALLER_HANGS_UP,
        needs=Feature.RECORDING,
        records=True,
    ),
    Case(
        name="transfer",
        carrier_does="takes our REFER and connects the callee elsewhere",
        carrier=Peer(Script()),
        expected=_answered(hung_up_by=ANY, why=ANY),
        needs=Feature.TRANSFER,
        transfers_to="4930999",
    ),
    Case(
        name="transfer_refused",
        carrier_does="refuses our REFER with 603; the call goes on and we hang up",
        carrier=Peer(Script(refer=603)),
        expected=_answered(why=ANY),
        sends=("INVITE", "ACK", "REFER", "BYE"),
        needs=Feature.TRANSFER,
        transfers_to="4930999",
    ),
)

CASES: Final = (*REFUSALS, *SIGNALLING, *NUMBERS, *PRECISE)
BY_NAME: Final = {case.name: case for case in CASES}
