"""Any valid template: its ways through YAML and JSON, and that every conversation ends, whatever happens."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.model.connect_step import Connect
from ringback.model.template import Gather, Hangup, OnVoicemail, Pause, Play, Say, Step, Tag, Template, Transfer
from ringback.model.voice_settings import Gender, VoiceSettings
from ringback.telephony.port import (
    Answered,
    CallEvent,
    Ended,
    HungUpBy,
    KeyPressed,
    MachineDetected,
    PromptFinished,
    TalkingStarted,
    Transferred,
)
from ringback.voice.load import LoadedTemplate, TemplateError, load_template_text
from ringback.voice.talk import END_WAIT_SECONDS
from tests.voice.fake_leg import converse

FILE = "2s.wav"
NODES = ["n0", "n1", "n2", "n3"]
KEYS = "12#"
MAX_SECONDS = 40.0

texts = st.sampled_from(["Hello", "${text1}", "a b ${text10}\n c", "yes", "1", "${text2}${text1}", "${info.a_1}"])
prompts = st.one_of(st.builds(Say, texts, st.booleans()), st.builds(Play, st.just(FILE), st.booleans()))
targets = st.sampled_from(NODES)
gathers = st.builds(
    Gather,
    prompt=st.one_of(st.none(), prompts),
    keys=st.sampled_from([KEYS, "0123456789*#"]),
    max_keys=st.just(2),
    timeout=st.sampled_from([1.0, 2.5, 60.0]),
    cases=st.dictionaries(st.text(KEYS, min_size=1, max_size=2), targets, max_size=3),
    default=st.one_of(st.none(), targets),
)
steps = st.one_of(
    prompts,
    gathers,
    gathers,
    st.sampled_from(["101", "x_-9"]).map(Tag),
    st.sampled_from(["100", "+4930", "${text1}"]).map(Transfer),
    st.sampled_from([0.0, 0.5, 7.25]).map(Pause),
    st.sampled_from([Connect(group=7), Connect(phone="4711"), Connect(phone="${text1}")]),
    st.just(Hangup()),
)
voices = st.builds(
    VoiceSettings,
    speaking_rate=st.floats(0.25, 4.0).map(lambda rate: round(rate, 3)),
    gender=st.one_of(st.none(), st.sampled_from(Gender)),
    accent=st.sampled_from(["", "GB", "91", "yes"]),
)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    """A template whose nodes can all be reached: the others are left out."""
    nodes: dict[str, list[Step]] = {node: draw(st.lists(steps, min_size=1, max_size=4)) for node in NODES}
    reached, waiting = {"n0"}, ["n0"]
    while waiting:
        for step in nodes[waiting.pop()]:
            for _, target in step.targets() if isinstance(step, Gather) else ():
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
    return Template(
        name=draw(st.sampled_from(["t", "Grüße 1"])),
        language=draw(st.sampled_from(["en", "pt-br"])),
        on_voicemail=draw(st.sampled_from(OnVoicemail)),
        voice=draw(voices),
        initial_node="n0",
        nodes={node: nodes[node] for node in NODES if node in reached},
    )


events: st.SearchStrategy[CallEvent] = st.one_of(
    st.sampled_from("123*#A").map(KeyPressed),
    st.sampled_from("12").map(KeyPressed),
    st.just(PromptFinished()),
    st.just(MachineDetected()),
    st.just(TalkingStarted()),
    st.just(Answered()),
    st.sampled_from([Ended(hung_up_by=HungUpBy.CALLEE), Ended(engine_failed=True, reason="gone")]),
)
scripts = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 39.9]), events), max_size=12)
transfers = st.sampled_from(
    [Transferred(accepted=True, sip_code=200), Transferred(accepted=False, sip_code=486), ValueError("no number")]
)


@settings(deadline=None)
@given(templates())
def test_json_there_and_back(template: Template) -> None:
    assert msgspec.json.decode(msgspec.json.encode(template), type=Template) == template


@settings(deadline=None)
@given(templates())
def test_yaml_there_and_back(folder: Path, template: Template) -> None:
    """What an author writes for a template is read as that template."""
    assert load_template_text(written(template), "t.yaml", folder).template == template


@settings(deadline=None, max_examples=200)
@given(templates(), st.integers(0, 2_000), st.integers(0, 30), st.text(max_size=3))
def test_a_damaged_file_is_refused_with_reasons_or_is_a_template(
    folder: Path, template: Template, at: int, cut: int, put: str
) -> None:
    source = written(template)
    at %= len(source)
    result = _attempt(source[:at] + put + source[at + cut :], folder)
    if isinstance(result, TemplateError):
        assert result.problems
    else:
        assert list(result.audio) == list(result.template.files())


def _attempt(source: str, folder: Path) -> LoadedTemplate | TemplateError:
    try:
        return load_template_text(source, "t.yaml", folder)
    except TemplateError as error:
        return error


#: Instants at which nothing else falls due: which of two timers of one instant fires first is open.
odd_scripts = st.lists(st.tuples(st.sampled_from([0.31, 1.13, 2.27, 7.41]), events), max_size=8)


@settings(deadline=None)
@given(templates(), odd_scripts)
def test_speech_changes_nothing_where_it_interrupts_nothing(
    template: Template, script: list[tuple[float, CallEvent]]
) -> None:
    if template.may_be_interrupted:
        nodes = {node: [_unbroken(step) for step in steps] for node, steps in template.nodes.items()}
        template = msgspec.structs.replace(template, nodes=nodes)
    assert not template.may_be_interrupted
    unheard = [entry for entry in script if entry[1] != TalkingStarted()]
    (result, leg, took), (expected, other, other_took) = converse(template, script), converse(template, unheard)
    assert (result, leg.done, took) == (expected, other.done, other_took)


def _unbroken(step: Step) -> Step:
    if isinstance(step, Gather) and step.prompt is not None:
        return msgspec.structs.replace(step, prompt=msgspec.structs.replace(step.prompt, barge_in=False))
    return msgspec.structs.replace(step, barge_in=False) if isinstance(step, Say | Play) else step


@settings(deadline=None, max_examples=200)
@given(templates(), scripts, st.booleans(), st.booleans(), transfers)
def test_every_conversation_ends(
    template: Template,
    script: list[tuple[float, CallEvent]],
    finishes_prompts: bool,
    reports_end: bool,
    transfer: Transferred | ValueError,
) -> None:
    result, leg, took = converse(
        template,
        script,
        texts={"text1": "Ann", "text10": "x" * 100},
        max_seconds=MAX_SECONDS,
        finishes_prompts=finishes_prompts,
        reports_end=reports_end,
        transfer=transfer,
    )
    assert took <= MAX_SECONDS + END_WAIT_SECONDS + 0.001
    assert result.reason
    assert result.intent is None or result.intent in template.intents()
    pressed = "".join(event.key for _, event in sorted(script, key=lambda entry: entry[0])
                      if isinstance(event, KeyPressed))  # fmt: skip
    assert pressed.startswith(result.keys)  # in order, none twice; later ones fell after the end
    hang_ups = [what for _, what in leg.done].count("hang up")
    assert hang_ups <= 1
    # Either it was hung up here, or the call ended by itself; never neither.
    assert hang_ups == 1 or leg.ended
    if result.machine and template.on_voicemail is OnVoicemail.HANG_UP and hang_ups:
        assert leg.done[-1][1] == "hang up"
        assert not any(what.startswith("play") for at, what in leg.done if at > leg.done[-1][0])


def written(template: Template) -> str:
    """The template as an author would write it."""
    document = {
        "name": template.name,
        "language": template.language,
        "on_voicemail": str(template.on_voicemail),
        "voice": {
            name: str(value) if name == "gender" else value
            for name, value in msgspec.structs.asdict(template.voice).items()
            if value
        },
        "initial_node": template.initial_node,
        "nodes": {node: {"steps": [_step(step) for step in steps]} for node, steps in template.nodes.items()},
    }
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)


def _step(step: Step) -> Any:  # noqa: PLR0911 - a case for each kind of step
    match step:
        case Say(text, barge_in):
            return {"say": text} | ({"barge_in": True} if barge_in else {})
        case Play(file, barge_in):
            return {"play": file} | ({"barge_in": True} if barge_in else {})
        case Pause(seconds):
            return {"pause": seconds}
        case Tag(intent):
            return {"tag": intent}
        case Transfer(target):
            return {"transfer": target}
        case Connect(group=group, phone=phone):
            return {"connect": {"phone": phone} if phone else {"group": group}}
        case Hangup():
            return "hangup"
        case Gather():
            fields = {
                "keys": step.keys,
                "max_keys": step.max_keys,
                "timeout": step.timeout,
                "cases": step.cases,
                "default": step.default,
            }
            return {"gather": (_step(step.prompt) if step.prompt else {}) | {
                name: value for name, value in fields.items() if value is not None}}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the file lies that the templates play."""
    path = tmp_path_factory.mktemp("audio")
    with wave.open(str(path / FILE), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(8_000)
        writer.writeframes(bytes(32_000))
    return path
