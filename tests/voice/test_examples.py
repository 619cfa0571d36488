"""The examples that newcomers start from."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from ringback.telephony.port import KeyPressed
from ringback.voice.load import load_template
from ringback.voice.tones import silence, tone
from tests.voice.fake_leg import converse

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = {"text1": "Anna", "text2": "the shop", "text3": "four two"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads_and_runs_to_its_end(path: Path) -> None:
    loaded = load_template(path)
    assert set(loaded.template.text_variables()) <= set(TEXTS)
    result, _, _ = converse(loaded.template, texts=TEXTS, audio=loaded.audio)
    assert result.reason == "template ended"
    assert result.intent == "100"


@pytest.mark.parametrize(("key", "intent"), [("1", "101"), ("9", "109"), ("5", "100"), (None, "100")])
def test_the_notice_is_short_and_gives_its_intents(key: str | None, intent: str) -> None:
    loaded = load_template(EXAMPLES / "notice.yaml")
    assert loaded.template.files() == ()  # works with nothing installed and nothing beside it
    assert loaded.template.text_variables() == ("text1",)
    script = [] if key is None else [(1.0, KeyPressed(key))]
    result, _, took = converse(loaded.template, script, texts=TEXTS)
    assert (result.intent, result.keys) == (intent, key or "")
    assert took < 8


def test_the_survey_asks_again_and_takes_a_postcode() -> None:
    loaded = load_template(EXAMPLES / "survey.yaml")
    _, leg, _ = converse(loaded.template, texts=TEXTS, audio=loaded.audio)
    second_question = leg.done[3][0]
    keys = [(second_question + 1, KeyPressed("5"))]
    keys += [(second_question + 6 + number, KeyPressed(key)) for number, key in enumerate("12345")]
    result, _, _ = converse(loaded.template, keys, texts=TEXTS, audio=loaded.audio)
    assert (result.intent, result.keys) == ("101", "512345")


def test_the_chime_is_of_our_own_making() -> None:
    with wave.open(str(EXAMPLES / "chime.wav"), "rb") as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (1, 2, 8_000)
        assert reader.readframes(reader.getnframes()) == (
            tone(523, 0.18) + tone(659, 0.18) + tone(784, 0.36) + silence(0.2)
        )
