"""Whatever text comes, loading it gives a template or a TemplateError, never anything else."""

from __future__ import annotations

import io
import json
import re
import struct

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.template import Template
from ringback.voice.load import TemplateError, load_template_text
from ringback.voice.wav import WavError, pcm_from_wav

# Pieces that make a text look like a template now and then.
WORDS = [
    "name", "language", "on_voicemail", "initial_node", "nodes", "steps", "say", "play", "gather", "tag", "hangup",
    "barge_in", "true", "transfer", "keys", "max_keys", "timeout", "cases", "default", "a", "b", "1",
    "12", "2.5", "${text1}", "${", "}", "en", "null", ":", ": ", "- ",
    "\n", "\n  ", "\n    ", "? ", "&x ", "*x", "!t ", "!!str ", "|", ">", "'", '"', "#",
    "[", "]", "{", ",", "%YAML 1.1", "---", "...", "\t", "\\", "<<", "é", "\u2028", "\x85", "\ufeff",
]  # fmt: skip

names = st.sampled_from(["a", "b", "start", "gone", "", "1"])
texts = st.one_of(st.sampled_from(["Hello ${text1}", "", "${x}", "yes", "1", "a.wav"]), st.text(max_size=5))
scalars = st.one_of(texts, st.none(), st.booleans(), st.integers(-2, 99), st.floats(), names)


def _some(parts: dict[str, st.SearchStrategy[object]]) -> st.SearchStrategy[dict[str, object]]:
    """A mapping of some of the parts, each now and then of the wrong kind."""
    return st.fixed_dictionaries({}, optional={key: st.one_of(*[value] * 9, scalars) for key, value in parts.items()})


gathers = _some(
    {
        "say": texts,
        "play": texts,
        "barge_in": st.booleans(),
        "keys": st.text("123*#", max_size=4),
        "max_keys": st.integers(0, 40),
        "timeout": st.floats(0, 70),
        "cases": st.dictionaries(st.text("12*", max_size=3), names, max_size=3),
        "default": names,
    }
)
steps = st.lists(
    st.one_of(
        _some({"say": texts}),
        _some({"say": texts, "barge_in": st.booleans()}),
        _some({"play": texts}),
        _some({"gather": gathers}),
        _some({"tag": texts}),
        _some({"transfer": texts}),
        scalars,
    ),
    max_size=4,
)
templates = _some(
    {
        "name": texts,
        "language": st.sampled_from(["en", "pt-br", "x"]),
        "on_voicemail": st.sampled_from(["hang_up", "continue", "x"]),
        "initial_node": names,
        "nodes": st.dictionaries(names, _some({"steps": steps}), max_size=3),
        "steps": steps,
    }
)


def check(text: str) -> None:
    """Load the text; what comes of it keeps its promises."""
    result = _attempt(text)
    if isinstance(result, TemplateError):
        # PyYAML counts the line ends of Unicode too.
        lines = len(re.findall(r"\r\n|[\r\n\x85\u2028\u2029]", text)) + 1
        assert result.problems
        assert len(str(result).splitlines()) == len(result.problems)
        assert all(1 <= problem.line <= lines + 1 for problem in result.problems)
    else:
        stored = msgspec.json.encode(result)
        assert msgspec.json.decode(stored, type=Template) == result


def _attempt(text: str) -> Template | TemplateError:
    try:
        return load_template_text(text, "t.yaml", None).template
    except TemplateError as error:
        return error


@settings(deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_any_mixture_of_the_words_of_templates(text: str) -> None:
    check(text)


@settings(max_examples=300, deadline=None)
@given(templates)
def test_any_structure_as_json(structure: dict[str, object]) -> None:
    """JSON is YAML, but for some characters: an application may send its templates so."""
    check(json.dumps(structure))


@settings(deadline=None)
@given(templates)
def test_any_structure_as_yaml(structure: dict[str, object]) -> None:
    check(yaml.safe_dump(structure, allow_unicode=True))


headers = st.tuples(
    st.integers(0, 5),  # form: 1 is PCM
    st.integers(0, 5),  # channels
    st.integers(0, 200_000),  # samples a second
    st.integers(0, 2**32 - 1),  # bytes a second
    st.integers(0, 8),  # bytes a frame
    st.integers(0, 40),  # bits a sample
).map(lambda fields: struct.pack("<HHIIHH", *fields))


@settings(deadline=None, max_examples=300)
@given(headers, st.integers(0, 2**32 - 1), st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes_of_a_sound(header: bytes, size: int, data: bytes, cut: int) -> None:
    """A sound is whole samples or refused with a reason."""
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size) + data
    whole = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    for file in (data, whole, whole[:cut]):
        result = _attempt_sound(file)
        if isinstance(result, WavError):
            assert str(result)
        else:
            assert result
            assert len(result) % 2 == 0


def _attempt_sound(data: bytes) -> bytes | WavError:
    try:
        return pcm_from_wav(io.BytesIO(data), 10)
    except WavError as error:
        return error
