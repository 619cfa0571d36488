"""What the callee's line sounds like to those who listen."""

from __future__ import annotations

import pytest
from aiortp import get_codec

from ringback.farend import sounds
from ringback.farend.ear import Ear
from ringback.model.sandbox_numbers import VOICEMAIL_GREETING_SECONDS
from ringback.telephony.machine_detection import MachineDetector, Verdict

LAWS = [sounds.PCMU, sounds.PCMA]


def verdict(payload_type: int, frames: sounds.Frames) -> Verdict | None:
    detector, codec = MachineDetector(), get_codec(payload_type)
    for frame in (*frames, *[sounds.silence(payload_type)] * 300):
        detector.feed(codec.decode(frame))
    return detector.verdict


@pytest.mark.parametrize("payload_type", LAWS)
def test_hello_is_a_person_and_a_greeting_a_machine(payload_type: int) -> None:
    assert verdict(payload_type, sounds.hello(payload_type)) is Verdict.HUMAN
    assert verdict(payload_type, sounds.greeting(payload_type, VOICEMAIL_GREETING_SECONDS)) is Verdict.MACHINE
    assert verdict(payload_type, ()) is Verdict.UNSURE


@pytest.mark.parametrize("payload_type", LAWS)
def test_frames_are_20_ms_and_as_many_as_were_asked_for(payload_type: int) -> None:
    greeting = sounds.greeting(payload_type, 1.0)
    assert {len(frame) for frame in greeting} == {160}
    assert len(greeting) == (1.0 + sounds.BEEP_SECONDS) / sounds.FRAME_SECONDS
    assert len(sounds.announcement(payload_type, 0.0)) == 1


@pytest.mark.parametrize("payload_type", LAWS)
def test_loud_and_quiet_are_told_apart(payload_type: int) -> None:
    assert all(sounds.is_loud(payload_type, frame) for frame in sounds.greeting(payload_type, 2.0))
    assert not sounds.is_loud(payload_type, sounds.silence(payload_type))
    assert not sounds.is_loud(payload_type, b"")
    hum = get_codec(payload_type).encode((300).to_bytes(2, "little") * 160)
    assert not sounds.is_loud(payload_type, hum)


@pytest.mark.parametrize("payload_type", LAWS)
def test_the_ear_waits_for_sound_and_then_for_silence(payload_type: int) -> None:
    ear = Ear(payload_type, silence_seconds=0.1)
    speech, silence = sounds.hello(payload_type)[0], sounds.silence(payload_type)
    for _ in range(50):
        ear.hear(silence)
        ear.tick()
    assert not ear.heard.is_set()
    for _ in range(3):  # gaps between words
        ear.hear(speech)
        for _ in range(4):
            ear.tick()
    assert ear.heard.is_set()
    assert not ear.over.is_set()
    ear.tick()
    assert ear.over.is_set()
