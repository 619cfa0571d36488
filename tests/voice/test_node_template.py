"""The vendor's voice node becomes a template that plays it."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.model.template import OnVoicemail, Pause, Play, Say
from ringback.model.voice_settings import Gender, VoiceSettings
from ringback.telephony.port import KeyPressed, MachineDetected
from ringback.voice.node_template import InvalidNode, VoiceNode, template_of
from tests.voice.fake_leg import converse


def test_a_file_is_played_so_often_with_silence_before_and_after() -> None:
    node = VoiceNode(file="1s.wav", loop_count=3, delay_play=2, delay_hangup=4)
    template = template_of(node)
    play = Play("1s.wav")
    assert template.nodes == {"start": [Pause(2), play, play, play, Pause(4)]}
    assert template.files() == ("1s.wav",)
    assert not template.speaks
    result, leg, _ = converse(template, [(1, KeyPressed("5")), (3, KeyPressed("6")), (8, KeyPressed("7"))])
    assert leg.done == [(2.0, "play 1"), (3.0, "play 1"), (4.0, "play 1"), (9.0, "hang up")]
    assert result.keys == "567"


def test_a_text_is_spoken_as_asked_with_a_breath_between() -> None:
    node = VoiceNode(
        text="Hello ${text1}", language="pt-br", speaking_rate=0.5, gender=Gender.MALE, accent="55", loop_count=2
    )
    template = template_of(node, name="n")
    say = Say("Hello ${text1}")
    assert template.nodes == {"start": [say, Pause(1), say]}
    assert (template.name, template.language, template.text_variables()) == ("n", "pt-br", ("text1",))
    assert template.voice == VoiceSettings(speaking_rate=0.5, gender=Gender.MALE, accent="55")
    assert template.speaks


def test_a_machine_hears_it_all() -> None:
    template = template_of(VoiceNode(file="3s.wav"))
    assert template.on_voicemail is OnVoicemail.CONTINUE
    _, leg, took = converse(template, [(1, MachineDetected())])
    assert leg.done == [(0.0, "play 3"), (3.0, "hang up")]
    assert took == pytest.approx(3)


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("delay", [0.0, 999.0])
def test_the_ends_of_every_range_are_welcome(count: int, delay: float) -> None:
    node = VoiceNode(text="x", loop_count=count, delay_play=delay, delay_hangup=delay, speaking_rate=4.0)
    steps = template_of(node).nodes["start"]
    assert steps.count(Say("x")) == count


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({}, "text", "must be given, or a file"),
    ({"text": "x", "file": "y"}, "text", "not both"),
    ({"text": " "}, "text", "must not be empty"),
    ({"text": "${text11}"}, "text", "is not known"),
    ({"text": "x" * 2_001}, "text", "at most 2000"),
    ({"file": "../x.mp3"}, "file", "own folder"),
    ({"text": "x", "language": "English"}, "language", "language tag"),
    ({"text": "x", "loop_count": 0}, "loop_count", "must be 1 to 9"),
    ({"text": "x", "loop_count": 10}, "loop_count", "must be 1 to 9"),
    ({"text": "x", "speaking_rate": 0.2}, "speaking_rate", "must be 0.25 to 4"),
    ({"text": "x", "accent": "a b"}, "accent", "letters"),
    ({"text": "x", "delay_play": -1}, "delay_play", "0 to 999"),
    ({"text": "x", "delay_play": 1_000}, "delay_play", "0 to 999"),
    ({"text": "x", "delay_hangup": -1}, "delay_hangup", "0 to 999"),
    ({"text": "x", "delay_play": 1, "delay_hangup": 1_000}, "delay_hangup", "0 to 999"),
]


@pytest.mark.parametrize(("members", "field", "says"), WRONG, ids=[f"{row[1]}: {row[2]}" for row in WRONG])
def test_a_member_at_fault_is_named(members: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidNode, match=says) as raised:
        template_of(VoiceNode(**members))
    assert raised.value.field == field
