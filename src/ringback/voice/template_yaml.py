"""The YAML form of a template, read into the model's values::

    name: reminder                  # optional: the file's name
    language: en                    # optional
    on_voicemail: hang_up           # optional: hang_up or continue
    voice:                          # optional: how texts are spoken, as far as the voice allows
      speaking_rate: 1.2            # optional: 0.25 to 4, 1 is the voice's own
      gender: female                # optional: male or female
      accent: GB                    # optional: a region or its dialling code
    initial_node: ask
    nodes:
      ask:
        steps:
          - say: Hello ${text1}       # ${text1} to ${text10}, ${info.NAME}
            barge_in: true              # optional: speech or a key stops it
          - play: chime.wav
          - pause: 1.5                  # seconds of silence, 0 to 999
          - gather:
              say: Press 1 to agree.    # or play:, or neither
              barge_in: true            # optional: speech stops it; keys do that anyway
              keys: "19"                # optional: which keys count
              max_keys: 1               # optional
              timeout: 5                # optional: seconds
              cases:
                "1": agreed
              default: ask              # optional
      agreed:
        steps:
          - tag: "101"
          - transfer: "4930123456"    # or one such variable; refused by the trunk, the next step runs
          - hangup

A template of one node may have ``steps`` at the top instead of ``initial_node`` and ``nodes``. Only shapes and
types are checked here; whether the values make a good template is the model's to say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from ringback.model.template import (
    DEFAULT_KEYS,
    DEFAULT_TIMEOUT_SECONDS,
    MAX_NAME_CHARACTERS,
    ONLY_NODE,
    Gather,
    Hangup,
    OnVoicemail,
    Pause,
    Play,
    Say,
    Step,
    Tag,
    Transfer,
)
from ringback.model.voice_settings import PLAIN_VOICE, Gender, VoiceSettings

if TYPE_CHECKING:
    from ringback.voice.yaml_tree import Source

_TOP_FIELDS = ("name", "language", "on_voicemail", "voice", "initial_node", "nodes", "steps")
_VOICE_FIELDS = ("speaking_rate", "gender", "accent")
_STEP_NAMES = ("say", "play", "pause", "gather", "tag", "transfer", "hangup")
_PROMPTS: dict[str, type[Say] | type[Play]] = {"say": Say, "play": Play}
_STEPS_OF_ONE_TEXT: dict[str, type[Tag] | type[Transfer]] = {"tag": Tag, "transfer": Transfer}
_BARGE_IN = "barge_in"
_GATHER_FIELDS = ("say", "play", _BARGE_IN, "keys", "max_keys", "timeout", "cases", "default")


class Parts(msgspec.Struct):
    """What could be read of a template. ``None``: could not be read, and a problem says why."""

    name: str
    language: str
    on_voicemail: OnVoicemail
    initial_node: str | None
    nodes: dict[str, list[Step | None]]
    voice: VoiceSettings = PLAIN_VOICE
    bare: bool = False  # steps at the top, no nodes

    def shown(self, field: str) -> str:
        """The path of a field as the author would write it."""
        return field.removeprefix(f"nodes.{ONLY_NODE}.") if self.bare else field


class TemplateReader:
    """Reads the nodes of one source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, root: yaml.Node) -> Parts:
        """The parts of the template; what is wrong with their shape goes to the source's problems."""
        default_name = Path(self._source.name).stem[:MAX_NAME_CHARACTERS] or "template"
        entries = self._source.mapping(root, "", _TOP_FIELDS)
        if entries is None:
            entries = {}
        elif not entries.keys() & {"nodes", "steps"}:
            self._source.report(1, "nodes", "is missing")
        parts = Parts(default_name, "en", OnVoicemail.HANG_UP, None, {})
        if "name" in entries and (name := self._source.text(entries["name"], "name")) is not None:
            parts.name = name
        if "language" in entries and (tag := self._source.text(entries["language"], "language")) is not None:
            parts.language = tag
        if "on_voicemail" in entries:
            parts.on_voicemail = self._on_voicemail(entries["on_voicemail"])
        if "voice" in entries:
            parts.voice = self._voice(entries["voice"])
        if "steps" in entries:
            for field in entries.keys() & {"nodes", "initial_node"}:
                self._source.report_at(field, "cannot stand beside steps at the top")
            parts.bare = True
            parts.initial_node = ONLY_NODE
            parts.nodes = {ONLY_NODE: self._steps(entries["steps"], "steps")}
        elif "nodes" in entries:
            parts.nodes = self._nodes(entries["nodes"])
            if "initial_node" in entries:
                parts.initial_node = self._source.text(entries["initial_node"], "initial_node")
            else:
                self._source.report(1, "initial_node", "is missing")
        return parts

    def _on_voicemail(self, node: yaml.Node) -> OnVoicemail:
        value = self._source.text(node, "on_voicemail")
        if value in set(OnVoicemail):
            return OnVoicemail(value)
        if value is not None:
            self._source.report_at("on_voicemail", f"must be {' or '.join(OnVoicemail)}, is {value[:40]!r}")
        return OnVoicemail.HANG_UP

    def _voice(self, node: yaml.Node) -> VoiceSettings:
        entries = self._source.mapping(node, "voice", _VOICE_FIELDS) or {}
        rate, gender, accent = None, None, None
        if "speaking_rate" in entries:
            rate = self._source.number(entries["speaking_rate"], "voice.speaking_rate")
        if "gender" in entries:
            gender = self._source.text(entries["gender"], "voice.gender")
        if gender is not None and gender not in set(Gender):
            self._source.report_at("voice.gender", f"must be {' or '.join(Gender)}, is {gender[:40]!r}")
            gender = None
        if "accent" in entries:
            accent = self._source.text(entries["accent"], "voice.accent")
        return VoiceSettings(
            speaking_rate=PLAIN_VOICE.speaking_rate if rate is None else rate,
            gender=None if gender is None else Gender(gender),
            accent=accent or "",
        )

    def _nodes(self, node: yaml.Node) -> dict[str, list[Step | None]]:
        nodes: dict[str, list[Step | None]] = {}
        for name, body in (self._source.mapping(node, "nodes") or {}).items():
            field = f"nodes.{name}"
            # A node that cannot be read is still one to jump to.
            nodes[name] = [None]
            entries = self._source.mapping(body, field, ("steps",))
            if entries is not None and "steps" in entries:
                nodes[name] = self._steps(entries["steps"], f"{field}.steps")
            elif entries is not None:
                self._source.report_at(f"{field}.steps", "is missing")
        return nodes

    def _steps(self, node: yaml.Node, field: str) -> list[Step | None]:
        items = self._source.sequence(node, field)
        if items is None:
            return [None]
        steps = []
        for position, item in enumerate(items):
            where = f"{field}[{position}]"
            self._source.place(where, item)
            steps.append(self._step(item, where))
        return steps

    def _step(self, node: yaml.Node, field: str) -> Step | None:
        if isinstance(node, yaml.ScalarNode) and node.value == "hangup":
            return Hangup()
        if isinstance(node, yaml.ScalarNode):
            self._source.report_at(field, f"must be a step with its value, one of {', '.join(_STEP_NAMES)}")
            return None
        entries = self._source.mapping(node, field, (*_STEP_NAMES, _BARGE_IN))
        if entries is None:
            return None
        written = sum(key.value != _BARGE_IN for key, _ in node.value)
        if written != 1:
            self._source.report_at(field, f"must name one step, names {written}")
            return None
        barge_in = self._barge_in(entries, field)
        for name, value in entries.items():
            if name != _BARGE_IN:
                return self._named_step(name, value, f"{field}.{name}", barge_in=barge_in)
        return None

    def _barge_in(self, entries: dict[str, yaml.Node], field: str) -> bool:
        if _BARGE_IN not in entries:
            return False
        where = f"{field}.{_BARGE_IN}"
        if "gather" in entries:
            self._source.report_at(where, "belongs inside the gather, beside its prompt")
        elif not entries.keys() & _PROMPTS.keys():
            self._source.report_at(where, "there is no prompt beside it to be interrupted: it goes with say or play")
        return self._source.flag(entries[_BARGE_IN], where) or False

    def _named_step(self, name: str, node: yaml.Node, field: str, *, barge_in: bool) -> Step | None:
        if name == "gather":
            return self._gather(node, field)
        if name == "pause":
            seconds = self._source.number(node, field)
            return None if seconds is None else Pause(seconds)
        if name == "hangup":
            if node.value:
                self._source.report_at(field, "takes no value")
            return Hangup()
        value = self._source.text(node, field)
        if value is None:
            return None
        return _PROMPTS[name](value, barge_in) if name in _PROMPTS else _STEPS_OF_ONE_TEXT[name](value)

    def _gather(self, node: yaml.Node, field: str) -> Gather | None:
        entries = self._source.mapping(node, field, _GATHER_FIELDS)
        if entries is None:
            return None

        def read(name: str) -> str | None:
            return self._source.text(entries[name], f"{field}.{name}") if name in entries else None

        say, play = read("say"), read("play")
        if "say" in entries and "play" in entries:
            self._source.report_at(f"{field}.play", "cannot stand beside say: a gather has one prompt")
        barge_in = self._barge_in(entries, field)
        keys = read("keys")
        max_keys, timeout = None, None
        if "max_keys" in entries:
            max_keys = self._source.whole_number(entries["max_keys"], f"{field}.max_keys")
        if "timeout" in entries:
            timeout = self._source.number(entries["timeout"], f"{field}.timeout")
        cases = {}
        if "cases" in entries:
            for pressed, value in (self._source.mapping(entries["cases"], f"{field}.cases") or {}).items():
                target = self._source.text(value, f"{field}.cases.{pressed}")
                if target is not None:
                    cases[pressed] = target
        return Gather(
            prompt=Say(say, barge_in) if say is not None else Play(play, barge_in) if play is not None else None,
            keys=DEFAULT_KEYS if keys is None else keys,
            max_keys=1 if max_keys is None else max_keys,
            timeout=DEFAULT_TIMEOUT_SECONDS if timeout is None else timeout,
            cases=cases,
            default=read("default"),
        )
