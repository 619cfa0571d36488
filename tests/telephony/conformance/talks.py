"""The templates of the suite, and their sounds."""

from __future__ import annotations

from typing import Final

from ringback.model.template import Gather, OnVoicemail, Play, Tag, Template
from tests.telephony.conformance.case import Talk
from tests.telephony.sip_peer import pcm, tone

HEARD_HERTZ: Final = 440
#: What the callee says on a recorded call.
CALLEE_HERTZ: Final = 1_000
#: File name to sound: tones, loud from the first sample to the last.
SOUNDS: Final = {f"{seconds}.wav": pcm(tone(seconds, hertz=HEARD_HERTZ)) for seconds in (0.4, 1.0, 1.5, 2.0, 4.0, 8.0)}


def _template(name: Talk, *steps: object, on_voicemail: OnVoicemail = OnVoicemail.HANG_UP, **tags: str) -> Template:
    """A node of these steps; a case leads to a node that tags and stays on the line, silent, for a second."""
    nodes = {"start": list(steps), **{node: [Tag(intent), Gather(timeout=1.0)] for node, intent in tags.items()}}
    return Template(name=name, initial_node="start", nodes=nodes, on_voicemail=on_voicemail)  # type: ignore[arg-type]  # steps of any kind


TEMPLATES: Final = {
    Talk.NOTICE: _template(Talk.NOTICE, Play("0.4.wav")),
    Talk.LONG: _template(Talk.LONG, Play("8.0.wav")),
    Talk.PATIENT: _template(Talk.PATIENT, Play("4.0.wav"), on_voicemail=OnVoicemail.CONTINUE),
    Talk.HEARD: _template(Talk.HEARD, Play("2.0.wav")),
    Talk.MENU: _template(
        Talk.MENU,
        Gather(prompt=Play("1.0.wav"), keys="19", timeout=3.0, cases={"1": "yes", "9": "no"}),
        yes="101",
        no="109",
    ),
    Talk.BARGE_IN: _template(
        Talk.BARGE_IN, Gather(prompt=Play("8.0.wav"), timeout=1.0, cases={"5": "five"}), five="105"
    ),
    Talk.OPEN: _template(Talk.OPEN, Play("8.0.wav", barge_in=True), Tag("106"), Gather(timeout=1.0)),
    Talk.OPEN_SHORT: _template(Talk.OPEN_SHORT, Play("2.0.wav", barge_in=True), Tag("106"), Gather(timeout=1.0)),
    Talk.TYPE_AHEAD: _template(
        Talk.TYPE_AHEAD, Play("1.5.wav"), Gather(max_keys=3, timeout=2.0, cases={"12#": "typed"}), typed="112"
    ),
}
