"""Templates as values: what is refused, what they tell of themselves, and their way through JSON."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from ringback.model.connect_step import Connect
from ringback.model.template import (
    MAX_FAULTS,
    Gather,
    Hangup,
    OnVoicemail,
    Pause,
    Play,
    Say,
    Step,
    Tag,
    Template,
    Transfer,
    faults_of,
)
from ringback.model.text_variables import is_variable, substituted, variables
from ringback.model.voice_settings import VoiceSettings


def make(*steps: Step, **changes: object) -> Template:
    parts = {"name": "test", "initial_node": "first", "nodes": {"first": list(steps) or [Hangup()]}, **changes}
    return Template(**parts)  # type: ignore[arg-type]  # test data


RICH = make(
    language="pt-br",
    on_voicemail=OnVoicemail.CONTINUE,
    nodes={
        "first": [
            Say("Hello ${text2}, ${text10} and ${text2}"),
            Play("sounds/chime.wav"),
            Gather(prompt=Say("Press one, ${text1}"), keys="12#", max_keys=2, timeout=7.5, cases={"1#": "second"}),
        ],
        "second": [
            Gather(prompt=Play("bye.wav", barge_in=True), default="first"),
            Play("bye.wav"),
            Tag("101"),
            Tag("7"),
            Tag("101"),
            Transfer("${text4}"),
            Hangup(),
        ],
    },
)


def test_a_template_stored_before_there_were_voice_settings_is_read() -> None:
    old = b'{"name":"t","initial_node":"a","nodes":{"a":[{"step":"say","text":"${text1}"}]},"language":"en"}'
    read = msgspec.json.decode(old, type=Template)
    assert (read.voice, read.speaks) == (VoiceSettings(), True)
    assert not make(Hangup()).speaks


def test_a_phone_that_comes_first_is_called_first() -> None:
    assert make(Connect(phone="${text3}"), Say("x")).calls_first == "${text3}"
    assert make(Connect(phone="${text3}")).text_variables() == ("text3",)
    assert make(Connect(group=7)).calls_first == ""
    assert make(Say("x"), Connect(phone="4711")).calls_first == ""


def test_variables_of_a_caller_stand_behind_the_numbered_ones() -> None:
    texts = Say("${info.b} ${text10} ${info.a} ${text2}"), Transfer("${info.phone}")
    assert make(*texts).text_variables() == ("text2", "text10", "info.a", "info.b", "info.phone")


@pytest.mark.parametrize("name", ["info.", "info.a b", "info." + "x" * 65, "info.ä", "Info.a", "text0", "text11"])
def test_there_are_no_other_variables(name: str) -> None:
    assert not is_variable(name)
    with pytest.raises(ValueError, match="is not known; there are"):
        make(Say(f"${{{name}}}"))


@pytest.mark.parametrize("seconds", [-0.001, 999.001, float("nan"), float("inf")])
def test_a_pause_has_its_limits(seconds: float) -> None:
    assert make(Pause(0), Pause(999)).nodes["first"]
    with pytest.raises(ValueError, match=r"first.steps\[0\].pause: must be 0 to 999 seconds"):
        make(Pause(seconds))


@pytest.mark.parametrize("rate", [0.249, 4.001, float("nan"), -1])
def test_a_speaking_rate_has_its_limits(rate: float) -> None:
    assert make(voice=VoiceSettings(speaking_rate=0.25))
    assert make(voice=VoiceSettings(speaking_rate=4))
    with pytest.raises(ValueError, match=r"voice\.speaking_rate: must be 0.25 to 4"):
        make(voice=VoiceSettings(speaking_rate=rate))


def test_what_a_template_tells_of_itself() -> None:
    assert RICH.text_variables() == ("text1", "text2", "text4", "text10")
    assert RICH.files() == ("sounds/chime.wav", "bye.wav")
    assert RICH.intents() == ("101", "7")
    assert RICH.may_be_interrupted


@pytest.mark.parametrize("barge_in", [True, False])
def test_whether_speech_may_interrupt_it(barge_in: bool) -> None:
    for step in (Say("x", barge_in), Play("x.wav", barge_in), Gather(prompt=Say("x", barge_in))):
        assert make(Say("y"), Gather(), step).may_be_interrupted is barge_in


def test_json_round_trip() -> None:
    stored = msgspec.json.encode(RICH)
    assert msgspec.json.decode(stored, type=Template) == RICH
    # The form in the store: a change of it needs a migration.
    assert msgspec.json.decode(stored)["nodes"]["second"] == [
        {
            "step": "gather",
            "prompt": {"step": "play", "file": "bye.wav", "barge_in": True},
            "keys": "0123456789*#",
            "max_keys": 1,
            "timeout": 5.0,
            "cases": {},
            "default": "first",
        },
        {"step": "play", "file": "bye.wav"},
        {"step": "tag", "intent": "101"},
        {"step": "tag", "intent": "7"},
        {"step": "tag", "intent": "101"},
        {"step": "transfer", "target": "${text4}"},
        {"step": "hangup"},
    ]


@pytest.mark.parametrize(
    "stored",
    [
        b'{"name":"x","initial_node":"gone","nodes":{"first":[{"step":"hangup"}]}}',
        b'{"name":"x","initial_node":"first","nodes":{"first":[{"step":"dance"}]}}',
        b'{"name":"x","initial_node":"first","nodes":{"first":[{"step":"hangup","now":true}]}}',
        b'{"name":"x","initial_node":"first","nodes":{"first":[]}}',
        b'{"name":"x","initial_node":"first","nodes":{"first":[{"step":"tag","intent":"not a code"}]}}',
    ],
)
def test_json_with_a_fault_is_not_decoded(stored: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(stored, type=Template)


@pytest.mark.parametrize(
    ("step", "field", "says"),
    [
        (Say(""), "say", "empty"),
        (Say(" \n"), "say", "empty"),
        (Say("x" * 2001), "say", "2000"),
        (Say("a\x1b[2J"), "say", "control"),
        (Say("a\ud800"), "say", "control"),
        (Say("${text11}"), "say", "${text11} is not known"),
        (Say("${text0}"), "say", "is not known"),
        (Say("${text01}"), "say", "is not known"),
        (Say("${Text1}"), "say", "is not known"),
        (Say("${ text1}"), "say", "is not known"),
        (Say("${}"), "say", "is not known"),
        (Say("Hello ${text1"), "say", "no closing }"),
        (Play(""), "play", "empty"),
        (Play("/etc/passwd.wav"), "play", "own folder"),
        (Play("../other.wav"), "play", "own folder"),
        (Play("a/../../other.wav"), "play", "own folder"),
        (Play("a\\b.wav"), "play", "own folder"),
        (Play("c:b.wav"), "play", "own folder"),
        (Play("a\0.wav"), "play", "file name"),
        (Play("a" * 256), "play", "file name"),
        (Tag(""), "tag", "code"),
        (Tag("1" * 33), "tag", "code"),
        (Tag("a b"), "tag", "code"),
        (Tag("é"), "tag", "code"),
        (Tag("1\n"), "tag", "code"),
        (Transfer(""), "transfer", "1 to 32 digits"),
        (Transfer("1" * 33), "transfer", "1 to 32 digits"),
        (Transfer("alice"), "transfer", "1 to 32 digits"),
        (Transfer("49 30"), "transfer", "1 to 32 digits"),
        (Transfer("100\n"), "transfer", "1 to 32 digits"),
        (Transfer("100@example.com"), "transfer", "1 to 32 digits"),
        (Transfer("${text11}"), "transfer", "${text1} to ${text10}"),
        (Transfer("${text1"), "transfer", "${text1} to ${text10}"),
        (Transfer("0${text1}"), "transfer", "${text1} to ${text10}"),
        (Connect(), "connect", "must name a group or a phone"),
        (Connect(group=1, phone="4711"), "connect", "must name a group or a phone"),
        (Connect(group=0), "connect.group", "must be the number of a group, got 0"),
        (Connect(group=2**63), "connect.group", "must be the number of a group"),
        (Connect(phone="alice"), "connect.phone", "must be the account of a phone"),
        (Connect(phone="+4711"), "connect.phone", "must be the account of a phone"),
        (Connect(phone="${text11}"), "connect.phone", "must be the account of a phone"),
        (Gather(prompt=Say("${x}")), "gather.say", "is not known"),
        (Gather(prompt=Play("/x")), "gather.play", "own folder"),
        (Gather(keys=""), "gather.keys", "each once"),
        (Gather(keys="11"), "gather.keys", "each once"),
        (Gather(keys="1E"), "gather.keys", "each once"),
        (Gather(max_keys=0), "gather.max_keys", "1 to 32"),
        (Gather(max_keys=33), "gather.max_keys", "1 to 32"),
        (Gather(timeout=0.9), "gather.timeout", "1 to 60 seconds"),
        (Gather(timeout=60.1), "gather.timeout", "1 to 60 seconds"),
        (Gather(timeout=float("nan")), "gather.timeout", "1 to 60 seconds"),
        (Gather(timeout=float("inf")), "gather.timeout", "1 to 60 seconds"),
        (Gather(cases={"12": "first"}), "gather.cases.12", "max_keys is 1"),
        (Gather(cases={"": "first"}), "gather.cases.", "never be pressed"),
        (Gather(cases={"x": "first"}), "gather.cases.x", "never be pressed"),
        (Gather(keys="1", cases={"2": "first"}), "gather.cases.2", "never be pressed"),
        (Gather(cases={"1": "frist"}), "gather.cases.1", "there is no node 'frist'; did you mean first?"),
        (Gather(default="elsewhere"), "gather.default", "there is no node 'elsewhere'"),
    ],
)
def test_faults_of_steps(step: Step, field: str, says: str) -> None:
    (fault,) = faults_of("test", "en", "first", {"first": [Hangup(), step]})
    assert fault.field == f"nodes.first.steps[1].{field}"
    assert says in fault.message
    with pytest.raises(ValueError, match=r"nodes\.first\.steps\[1\]"):
        make(Hangup(), step)


CHAIN_OF_201 = {f"n{i}": [Gather(default=f"n{(i + 1) % 201}")] for i in range(201)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a\nb\0"}, "name"),
        ({"language": "english"}, "language"),
        ({"language": "-v"}, "language"),
        ({"language": "en/../x"}, "language"),
        ({"language": "en\n"}, "language"),
        ({"initial_node": "frist"}, "initial_node"),
        ({"nodes": {}}, "initial_node"),
        ({"nodes": {"first": []}}, "nodes.first.steps"),
        ({"nodes": {"first": [Hangup()] * 101}}, "nodes.first.steps"),
        ({"nodes": {"first": [Hangup()], "a b": [Hangup()]}}, "nodes.a b"),
        ({"nodes": {"first": [Hangup()], "other": [Hangup()]}}, "nodes.other"),
        ({"initial_node": "n0", "nodes": CHAIN_OF_201}, "nodes"),
    ],
)
def test_faults_of_the_whole(changes: dict[str, Any], field: str) -> None:
    parts: dict[str, Any] = {
        "name": "test",
        "language": "en",
        "initial_node": "first",
        "nodes": {"first": [Hangup()]},
        **changes,
    }
    found = list(faults_of(**parts))
    assert found[0].field == field
    with pytest.raises(ValueError, match="^" + re.escape(f"{field}: ")):
        make(**changes)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="empty") as raised:
        make(Say(""), Tag("?"), Gather(default="gone"), name="")
    for part in ("name:", "steps[0].say:", "steps[1].tag:", "steps[2].gather.default:"):
        assert part in str(raised.value)


def test_a_hostile_template_makes_no_endless_list() -> None:
    with pytest.raises(ValueError, match="no node") as raised:
        make(*[Gather(cases=dict.fromkeys("0123456789*#", "gone"))] * 100)
    assert str(raised.value).count("there is no node") == MAX_FAULTS


def test_a_node_that_only_an_unreachable_one_leads_to_is_unreachable() -> None:
    nodes: dict[str, list[Step]] = {"first": [Hangup()], "a": [Gather(default="b")], "b": [Gather(default="a")]}
    found = list(faults_of("test", "en", "first", nodes))
    assert [fault.field for fault in found] == ["nodes.a", "nodes.b"]
    assert list(faults_of("test", "en", "first", nodes, complete=False)) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("$5 and {x}", ()), ("${text1}${text1}", ("text1", "text1")), ("$${text3}", ("text3",))],
)
def test_variables(text: str, names: tuple[str, ...]) -> None:
    assert variables(text) == names


def test_substitution_is_done_once_and_leaves_dollars_alone() -> None:
    values = {"text1": "${text2}", "text2": "two\\1"}
    assert substituted("${text1}, ${text2}, ${text3}, $5, ${text1", values) == "${text2}, two\\1, , $5, ${text1"
