"""Template files: every error with its line and field, and what a good file becomes."""

from __future__ import annotations

import io
import os
import wave
from array import array
from pathlib import Path

import pytest

from ringback.model.template import Gather, Hangup, OnVoicemail, Pause, Play, Say, Tag, Template, Transfer
from ringback.model.voice_settings import Gender, VoiceSettings
from ringback.voice.load import MAX_SOURCE_BYTES, TemplateError, load_template, load_template_text
from ringback.voice.yaml_tree import MAX_PROBLEMS, MAX_VALUES

WHOLE = """\
name: reminder
language: de
on_voicemail: continue
voice:
  speaking_rate: 1.5
  gender: female
  accent: at
initial_node: ask
nodes:
  ask:
    steps:
      - say: |
          Hello ${text1}.
          How are you?
        barge_in: true
      - play: sounds/chime.wav
        barge_in: false
      - barge_in: True
        play: sounds/chime.wav
      - pause: 2
      - gather:
          say: Press 1.
          barge_in: true
          keys: "12"
          max_keys: 2
          timeout: 2.5
          cases:
            1: done
            "12": done
          default: ask
  done:
    steps:
      - tag: 0101
      - say: 2026
      - gather:
          play: sounds/chime.wav
      - transfer: +4930123456
      - transfer: ${text2}
      - hangup
"""
TRANSFERS = [Transfer("+4930123456"), Transfer("${text2}")]


def wav(seconds: float = 0.5, rate: int = 8_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(array("h", [1000] * round(seconds * rate)).tobytes())
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "chime.wav").write_bytes(wav())
    return tmp_path


def problems(text: str, folder: Path | None = None) -> list[tuple[int, str, str]]:
    """(line, field, message) of all that is wrong with a text."""
    with pytest.raises(TemplateError) as raised:
        load_template_text(text, "t.yaml", folder)
    assert all(problem.file == "t.yaml" for problem in raised.value.problems)
    return [(problem.line, problem.field, problem.message) for problem in raised.value.problems]


def test_a_whole_file(folder: Path) -> None:
    path = folder / "x.yaml"
    path.write_text(WHOLE)
    loaded = load_template(path)
    assert loaded.template == Template(
        name="reminder",
        language="de",
        on_voicemail=OnVoicemail.CONTINUE,
        voice=VoiceSettings(speaking_rate=1.5, gender=Gender.FEMALE, accent="at"),
        initial_node="ask",
        nodes={
            "ask": [
                Say("Hello ${text1}.\nHow are you?\n", barge_in=True),
                Play("sounds/chime.wav"),
                Play("sounds/chime.wav", barge_in=True),
                Pause(2),
                Gather(
                    prompt=Say("Press 1.", barge_in=True),
                    keys="12",
                    max_keys=2,
                    timeout=2.5,
                    cases={"1": "done", "12": "done"},
                    default="ask",
                ),
            ],
            "done": [Tag("0101"), Say("2026"), Gather(prompt=Play("sounds/chime.wav")), *TRANSFERS, Hangup()],
        },
    )
    assert loaded.audio == {"sounds/chime.wav": array("h", [1000] * 4000).tobytes()}


def test_a_bare_list_of_steps_is_one_node_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "good-morning.yaml"
    path.write_bytes(b"\xef\xbb\xbfsteps:\n  - say: Good morning\n  - hangup:\n")
    template = load_template(path).template
    assert (template.name, template.language, template.on_voicemail) == ("good-morning", "en", "hang_up")
    assert template.nodes == {template.initial_node: [Say("Good morning"), Hangup()]}


ERRORS = [
    # the file as a whole
    ("", 1, "yaml", "is empty"),
    ("# nothing\n", 1, "yaml", "is empty"),
    ("just words", 1, "template", "must be a mapping, is text"),
    ("- say: x", 1, "template", "must be a mapping, is a list"),
    ("name: x\n", 1, "nodes", "is missing"),
    ("steps: [hangup]\nnodes: {}\n", 2, "nodes", "beside steps"),
    ("steps: [hangup]\ninitial_node: x\n", 2, "initial_node", "beside steps"),
    ("nodes:\n  a: {steps: [hangup]}\n", 1, "initial_node", "is missing"),
    ("nodes: [a]\ninitial_node: a\n", 1, "nodes", "must be a mapping, is a list"),
    ("steps: [hangup]\nlanguage: [en]\n", 2, "language", "must be text, is a list"),
    ("steps: [hangup]\nlanguage: English\n", 2, "language", "language tag"),
    ("steps: [hangup]\nname:\n", 2, "name", "must not be empty"),
    ("steps: [hangup]\nname: ''\n", 2, "name", "1 to 64"),
    ("steps: [hangup]\non_voicemail: hangup\n", 2, "on_voicemail", "must be hang_up or continue"),
    ("steps: [hangup]\nlangage: en\n", 2, "langage", "is not known here; did you mean language?"),
    ("steps: [hangup]\nzzz: en\n", 2, "zzz", "is not known here; there are initial_node, language, name"),
    ("steps: [hangup]\nsteps: [hangup]\n", 2, "steps", "is given twice"),
    ("steps: [hangup]\n? [a]\n: b\n", 2, "template", "a key must be text, is a list"),
    ("steps: [hangup]\nvoice: female\n", 2, "voice", "must be a mapping, is text"),
    ("steps: [hangup]\nvoice:\n  speed: 2\n", 3, "voice.speed", "is not known here"),
    ("steps: [hangup]\nvoice:\n  speaking_rate: fast\n", 3, "voice.speaking_rate", "must be a number, is 'fast'"),
    ("steps: [hangup]\nvoice:\n  speaking_rate: 4.1\n", 3, "voice.speaking_rate", "must be 0.25 to 4, is 4.1"),
    ("steps: [hangup]\nvoice:\n  speaking_rate: 0.24\n", 3, "voice.speaking_rate", "must be 0.25 to 4, is 0.24"),
    ("steps: [hangup]\nvoice:\n  gender: woman\n", 3, "voice.gender", "must be male or female, is 'woman'"),
    ("steps: [hangup]\nvoice:\n  accent: a/b\n", 3, "voice.accent", "at most 32 letters, digits or -"),
    # YAML itself
    ("steps: [\n", 2, "yaml", "while parsing a flow"),
    ("steps:\n - say: a: b\n", 2, "yaml", "mapping values are not allowed"),
    ("steps:\n\t- hangup\n", 2, "yaml", "cannot start any token"),
    ("steps:\n - say: x\n - say: a\0b\n", 3, "yaml", "forbids"),
    ('steps:\n - say: "\\UFFFFFFFF"\n', 1, "yaml", "cannot be read"),
    ("a: 1\n---\nb: 2\n", 2, "yaml", "single document"),
    ("a: &x [b]\n", 1, "yaml", "anchors and aliases"),
    ("steps:\n  - say: *x\n", 2, "yaml", "anchors and aliases"),
    ("steps: !!python/object/apply:os.getcwd []\n", 1, "yaml", "the tag !!python/object/apply:os.getcwd is not"),
    ("steps:\n  - play: !include x\n", 2, "yaml", "the tag !include is not allowed"),
    ("a: " + "[" * 50, 1, "yaml", "nested more than 20"),
    ("[" + "a," * MAX_VALUES + "]", 1, "yaml", f"more than {MAX_VALUES} values"),
    ("a" * (MAX_SOURCE_BYTES + 1), 1, "file", "1000000 bytes"),
    # steps
    ("steps: say\n", 1, "steps", "must be a list, is text"),
    ("steps: []\n", 1, "steps", "at least one step"),
    ("steps:\n", 1, "steps", "must be a list, is empty"),
    ("steps:\n  - hangup\n  - say\n", 3, "steps[1]", "must be a step with its value"),
    ("steps:\n  - hangup\n  -\n", 3, "steps[1]", "must be a step with its value"),
    ("steps:\n  - [say, x]\n", 2, "steps[0]", "must be a mapping, is a list"),
    ("steps:\n  - say: x\n    tag: 1\n", 2, "steps[0]", "must name one step, names 2"),
    ("steps:\n  - {}\n", 2, "steps[0]", "must name one step, names 0"),
    ("steps:\n  - sya: x\n", 2, "steps[0].sya", "did you mean say?"),
    (
        "steps:\n  - dial: x\n",
        2,
        "steps[0].dial",
        "there are barge_in, connect, gather, hangup, pause, play, say, tag, transfer",
    ),
    ("steps:\n  - say:\n", 2, "steps[0].say", "must not be empty"),
    ("steps:\n  - say: {text: x}\n", 2, "steps[0].say", "must be text, is a mapping"),
    ("steps:\n  - say: ''\n", 2, "steps[0].say", "must not be empty"),
    ("steps:\n  - hangup\n  - say: >\n      Hello\n      ${text11}\n", 3, "steps[1].say", "${text11} is not"),
    ('steps:\n  - say: "a\\eb"\n', 2, "steps[0].say", "control"),
    ("steps:\n  - tag: a b\n", 2, "steps[0].tag", "must be a code"),
    ("steps:\n  - transfer: alice\n", 2, "steps[0].transfer", "must be 1 to 32 digits"),
    ("steps:\n  - transfer:\n", 2, "steps[0].transfer", "must not be empty"),
    ("steps:\n  - transfer: [1]\n", 2, "steps[0].transfer", "must be text, is a list"),
    ("steps:\n  - hangup: now\n", 2, "steps[0].hangup", "takes no value"),
    ("steps:\n  - play: /x.wav\n", 2, "steps[0].play", "own folder"),
    ("steps:\n  - pause: 1000\n", 2, "steps[0].pause", "must be 0 to 999 seconds, is 1000"),
    ("steps:\n  - pause: -1\n", 2, "steps[0].pause", "must be 0 to 999 seconds, is -1"),
    ("steps:\n  - pause: long\n", 2, "steps[0].pause", "must be a number, is 'long'"),
    ("steps:\n  - pause:\n", 2, "steps[0].pause", "must be a number, is ''"),
    ("steps:\n  - say: ${info.}\n", 2, "steps[0].say", "${info.} is not known"),
    ("steps:\n  - say: ${info.a-b}\n", 2, "steps[0].say", "${info.a-b} is not known"),
    # connect
    ("steps:\n  - connect: 7\n", 2, "steps[0].connect", "must be"),
    ("steps:\n  - connect: {}\n", 2, "steps[0].connect", "must name a group or a phone"),
    ("steps:\n  - connect: {group: 7, phone: '4711'}\n", 2, "steps[0].connect", "must name a group or a phone"),
    ("steps:\n  - connect: {group: sales}\n", 2, "steps[0].connect.group", "must be a whole number, is 'sales'"),
    ("steps:\n  - connect: {group: 0}\n", 2, "steps[0].connect.group", "must be the number of a group"),
    ("steps:\n  - connect: {phone: desk}\n", 2, "steps[0].connect.phone", "must be the account of a phone"),
    ("steps:\n  - connect: {phone: [1]}\n", 2, "steps[0].connect.phone", "must be text, is a list"),
    ("steps:\n  - connect: {grupe: 7}\n", 2, "steps[0].connect.grupe", "did you mean group?"),
    # barge_in
    ("steps:\n  - say: x\n    barge_in: maybe\n", 3, "steps[0].barge_in", "must be true or false, is 'maybe'"),
    ("steps:\n  - say: x\n    barge_in: yes\n", 3, "steps[0].barge_in", "must be true or false, is 'yes'"),
    ("steps:\n  - say: x\n    barge_in: 'true'\n", 3, "steps[0].barge_in", "must be true or false, is 'true'"),
    ("steps:\n  - say: x\n    barge_in: [true]\n", 3, "steps[0].barge_in", "must be true or false, is a list"),
    ("steps:\n  - say: x\n    barge_in:\n", 3, "steps[0].barge_in", "must be true or false, is ''"),
    ("steps:\n  - say: x\n    barge-in: true\n", 3, "steps[0].barge-in", "did you mean barge_in?"),
    ("steps:\n  - barge_in: true\n", 2, "steps[0]", "must name one step, names 0"),
    ("steps:\n  - tag: 1\n    barge_in: true\n", 3, "steps[0].barge_in", "goes with say or play"),
    ("steps:\n  - hangup:\n    barge_in: true\n", 3, "steps[0].barge_in", "goes with say or play"),
    (
        "steps:\n  - gather: {say: x}\n    barge_in: true\n",
        3,
        "steps[0].barge_in",
        "belongs inside the gather, beside its prompt",
    ),
    ("steps:\n  - gather:\n      barge_in: true\n", 3, "steps[0].gather.barge_in", "goes with say or play"),
    ("steps:\n  - gather: {say: x, barge_in: 1}\n", 2, "steps[0].gather.barge_in", "must be true or false, is '1'"),
    # gather
    ("steps:\n  - gather:\n", 2, "steps[0].gather", "must be a mapping, is empty"),
    ("steps:\n  - gather: 5\n", 2, "steps[0].gather", "must be a mapping, is a number"),
    ("steps:\n  - gather:\n      time_out: 5\n", 3, "steps[0].gather.time_out", "did you mean timeout?"),
    ("steps:\n  - gather:\n      timeout: 5s\n", 3, "steps[0].gather.timeout", "must be a number, is '5s'"),
    ("steps:\n  - gather:\n      timeout: '5'\n", 3, "steps[0].gather.timeout", "must be a number, is '5'"),
    ("steps:\n  - gather:\n      timeout: [5]\n", 3, "steps[0].gather.timeout", "must be a number, is a list"),
    ("steps:\n  - gather:\n      timeout: 1:30\n", 3, "steps[0].gather.timeout", "must be a number"),
    ("steps:\n  - gather:\n      timeout: .inf\n", 3, "steps[0].gather.timeout", "must be a number"),
    ("steps:\n  - gather:\n      timeout: 61\n", 3, "steps[0].gather.timeout", "1 to 60 seconds, is 61"),
    ("steps:\n  - gather:\n      timeout: -1\n", 3, "steps[0].gather.timeout", "1 to 60 seconds, is -1"),
    ("steps:\n  - gather:\n      max_keys: 1.5\n", 3, "steps[0].gather.max_keys", "must be a whole number"),
    ("steps:\n  - gather:\n      max_keys: 0\n", 3, "steps[0].gather.max_keys", "1 to 32"),
    ("steps:\n  - gather:\n      keys: 1x\n", 3, "steps[0].gather.keys", "each once"),
    ("steps:\n  - gather:\n      say: a\n      play: b\n", 4, "steps[0].gather.play", "one prompt"),
    ("steps:\n  - gather:\n      say: ${x}\n", 3, "steps[0].gather.say", "${x} is not known"),
    ("steps:\n  - gather:\n      cases: [1]\n", 3, "steps[0].gather.cases", "must be a mapping, is a list"),
    ("steps:\n  - gather:\n      cases:\n        1:\n", 4, "steps[0].gather.cases.1", "must not be empty"),
    ("steps:\n  - gather:\n      cases:\n        1: x\n", 4, "steps[0].gather.cases.1", "no node 'x'"),
    ("steps:\n  - gather:\n      cases: {12: start}\n", 3, "steps[0].gather.cases.12", "max_keys is 1"),
    (
        "steps:\n  - gather:\n      cases:\n        1: start\n        '1': start\n",
        5,
        "steps[0].gather.cases.1",
        "is given twice",
    ),
    ("steps:\n  - gather:\n      default: x\n", 3, "steps[0].gather.default", "no node 'x'"),
    # nodes
    ("initial_node: b\nnodes:\n  a:\n    steps: [hangup]\n", 1, "initial_node", "no node 'b'"),
    ("initial_node: [a]\nnodes:\n  a:\n    steps: [hangup]\n", 1, "initial_node", "must be text, is a list"),
    ("initial_node: a\nnodes:\n  a:\n", 3, "nodes.a", "must be a mapping, is empty"),
    ("initial_node: a\nnodes:\n  a: {}\n", 3, "nodes.a.steps", "is missing"),
    ("initial_node: a\nnodes:\n  a:\n    step: [hangup]\n", 4, "nodes.a.step", "did you mean steps?"),
    ("initial_node: a\nnodes:\n  a:\n    steps: []\n", 4, "nodes.a.steps", "at least one step"),
    ("initial_node: a b\nnodes:\n  a b:\n    steps: [hangup]\n", 3, "nodes.a b", "a node's name"),
    (
        "initial_node: a\nnodes:\n  a:\n    steps: [hangup]\n  b:\n    steps: [hangup]\n",
        5,
        "nodes.b",
        "cannot be reached",
    ),
    ("initial_node: a\nnodes:\n  a:\n    steps: [hangup]\n  a:\n    steps: [hangup]\n", 5, "nodes.a", "is given twice"),
    ("initial_node: start\nnodes:\n  start:\n    steps:\n      - tag: a b\n", 5, "nodes.start.steps[0].tag", "code"),
]


@pytest.mark.parametrize(("text", "line", "field", "says"), ERRORS, ids=[f"{row[2]}: {row[3]}" for row in ERRORS])
def test_every_error_has_its_line_and_field(text: str, line: int, field: str, says: str) -> None:
    found = problems(text)
    assert [(at, name) for at, name, message in found if says in message] == [(line, field)], found


def test_all_problems_are_told_at_once_in_order() -> None:
    text = """\
name: x
langauge: en
initial_node: menu
nodes:
  menu:
    steps:
      - say: Hello ${name}
      - gather:
          timeout: soon
          max_keys: 99
          cases:
            1: nowhere
            22: menu
          default: mneu
      - tag: not a code
"""
    with pytest.raises(TemplateError) as raised:
        load_template_text(text, "menu.yaml", None)
    assert str(raised.value).splitlines() == [
        "menu.yaml:2: langauge: is not known here; did you mean language?",
        "menu.yaml:7: nodes.menu.steps[0].say: ${name} is not known; there are ${text1} to ${text10} and ${info.NAME}",
        "menu.yaml:9: nodes.menu.steps[1].gather.timeout: must be a number, is 'soon'",
        "menu.yaml:10: nodes.menu.steps[1].gather.max_keys: must be 1 to 32, is 99",
        "menu.yaml:12: nodes.menu.steps[1].gather.cases.1: there is no node 'nowhere'",
        "menu.yaml:14: nodes.menu.steps[1].gather.default: there is no node 'mneu'; did you mean menu?",
        "menu.yaml:15: nodes.menu.steps[2].tag: must be a code of 1 to 32 letters, digits, - or _",
    ]


def test_what_could_not_be_read_makes_no_node_look_unreachable() -> None:
    text = "initial_node: a\nnodes:\n  a:\n    steps:\n      - gahter: {default: b}\n  b:\n    steps: [hangup]\n"
    assert problems(text) == [(5, "nodes.a.steps[0].gahter", "is not known here; did you mean gather?")]


def test_the_list_of_problems_is_bounded_and_printable() -> None:
    found = problems("".join(f'"a{i}\\e[2J\\n": x\n' for i in range(5_000)))
    assert len(found) == MAX_PROBLEMS
    assert all(field.isprintable() and message.isprintable() for _, field, message in found)


def test_a_long_name_in_a_problem_is_cut() -> None:
    ((_, field, message),) = problems("steps: [hangup]\n? " + "x" * 100_000 + "\n: y\n")
    assert len(field) < 400
    assert len(message) < 400


# --- files ---


def load_error(path: Path) -> str:
    with pytest.raises(TemplateError) as raised:
        load_template(path)
    (problem,) = raised.value.problems
    assert problem.file == str(path)
    return f"{problem.line}: {problem.field}: {problem.message}"


def test_files_that_are_no_templates(tmp_path: Path) -> None:
    assert load_error(tmp_path / "gone.yaml") == "1: file: is not there, or is no file"
    assert load_error(tmp_path) == "1: file: is not there, or is no file"
    os.mkfifo(tmp_path / "pipe")
    assert load_error(tmp_path / "pipe") == "1: file: is not there, or is no file"
    (tmp_path / "latin").write_bytes("steps:\n  - say: Grüße".encode("latin-1"))
    assert load_error(tmp_path / "latin") == "2: file: is not UTF-8 text"
    (tmp_path / "large").write_bytes("é".encode() * MAX_SOURCE_BYTES)
    assert load_error(tmp_path / "large") == "1: file: must have at most 1000000 bytes"


def play(folder: Path, file: str) -> str:
    ((line, field, message),) = problems(f"steps:\n  - hangup\n  - play: {file}\n", folder)
    assert (line, field) == (3, "steps[1].play")
    return message


def test_audio_that_cannot_be_played(folder: Path) -> None:
    assert play(folder, "gone.wav") == "gone.wav is not there"
    assert play(folder, "sounds") == "sounds is not there"
    (folder / "text.wav").write_text("hello")
    assert play(folder, "text.wav").startswith("text.wav is not a PCM WAV file")
    (folder / "empty.wav").write_bytes(b"")
    assert play(folder, "empty.wav").startswith("empty.wav is not a PCM WAV file")
    (folder / "no-audio.wav").write_bytes(wav(0))
    assert play(folder, "no-audio.wav") == "no-audio.wav holds no audio"
    (folder / "long.wav").write_bytes(wav(300.01))
    assert play(folder, "long.wav") == "long.wav must play at most 300 seconds"


def test_links_do_not_lead_out_of_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret.wav").write_bytes(wav())
    (folder / "link.wav").symlink_to(elsewhere / "secret.wav")
    assert play(folder, "link.wav") == "link.wav is a link that leaves the template's folder"
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    assert play(folder, "loop.wav").startswith("loop.wav cannot be read")
    (folder / "inside.wav").symlink_to(folder / "sounds" / "chime.wav")
    assert load_template_text("steps: [play: inside.wav]", "t", folder).audio.keys() == {"inside.wav"}


def test_a_template_without_a_folder_plays_no_files() -> None:
    assert problems("steps:\n  - play: a.wav\n") == [
        (2, "steps[0].play", "cannot be played: this template has no folder to hold files")
    ]


def test_a_file_played_twice_is_read_and_reported_once(folder: Path) -> None:
    text = "steps:\n  - play: gone.wav\n  - gather:\n      play: gone.wav\n"
    assert problems(text, folder) == [(2, "steps[0].play", "gone.wav is not there")]


def test_all_files_together_are_bounded(folder: Path) -> None:
    (folder / "five-minutes.wav").write_bytes(wav(300))
    for number in range(7):
        (folder / f"{number}.wav").symlink_to("five-minutes.wav")
    text = "steps:\n" + "".join(f"  - play: {number}.wav\n" for number in range(7))
    assert problems(text, folder) == [(8, "steps[6].play", "the files together play more than 1800 seconds")]
