"""Agent templates: what happens on an answered call, as plain values.

A template is a graph of nodes, each a list of steps. A node's steps run in order; a gather jumps to another node when
what was pressed is one of its cases, or to its default, and otherwise lets the next step run. The end of a node's steps
hangs up. Values are valid by construction: making (or decoding) a template with a fault raises ValueError.

Templates are stored as JSON, each step tagged with its name: ``msgspec.json`` both ways. A new kind of step is one more
member of :data:`Step`.
"""

from __future__ import annotations

import difflib
import math
import re
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from ringback.model.connect_step import Connect
from ringback.model.faults import NOT_TEXT, Fault, file_fault, text_faults
from ringback.model.hang_up_sms import HangUpSms
from ringback.model.text_variables import KNOWN, PLACEHOLDER, in_order, is_variable, variables
from ringback.model.voice_settings import PLAIN_VOICE, VoiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ALL_KEYS = "0123456789*#ABCD"
DEFAULT_KEYS = "0123456789*#"
DEFAULT_TIMEOUT_SECONDS = 5.0
MIN_TIMEOUT_SECONDS = 1.0
MAX_TIMEOUT_SECONDS = 60.0
MAX_GATHERED_KEYS = 32
MAX_PAUSE_SECONDS = 999.0
MAX_TEXT_CHARACTERS = 2_000
MAX_NAME_CHARACTERS = 64
MAX_NODES = 200
MAX_STEPS_A_NODE = 100
#: No more faults than this are listed: enough to repair, and a hostile template cannot make a long list.
MAX_FAULTS = 100
#: The only node of a template that was written as a bare list of steps.
ONLY_NODE = "start"

_INTENT = re.compile(r"[0-9A-Za-z_-]{1,32}", re.ASCII)
_NODE_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_TARGET = re.compile(r"\+?[0-9]{1,32}", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[0-9A-Za-z]{1,8}){0,3}", re.ASCII)


class OnVoicemail(StrEnum):
    """What to do when a machine has answered."""

    HANG_UP = "hang_up"
    CONTINUE = "continue"


class Say(msgspec.Struct, frozen=True, tag_field="step", tag="say", forbid_unknown_fields=True, omit_defaults=True):
    """Speak ``text``, which may hold ``${text1}`` to ``${text10}`` and ``${info.NAME}``.

    ``barge_in``: it stops when the callee speaks or presses a key.
    """

    text: str
    barge_in: bool = False


class Play(msgspec.Struct, frozen=True, tag_field="step", tag="play", forbid_unknown_fields=True, omit_defaults=True):
    """Play a WAV file, named relative to the template's own folder, ``/`` between the parts.

    ``barge_in``: it stops when the callee speaks or presses a key.
    """

    file: str
    barge_in: bool = False


class Pause(msgspec.Struct, frozen=True, tag_field="step", tag="pause", forbid_unknown_fields=True):
    """Be silent for so many ``seconds``. Keys are kept for the next gather."""

    seconds: float


class Gather(msgspec.Struct, frozen=True, kw_only=True, tag_field="step", tag="gather", forbid_unknown_fields=True):
    """Collect keys: ``max_keys`` of them, or fewer when ``timeout`` seconds pass without one.

    The timeout runs from the end of the prompt and anew after each key. Keys not in ``keys`` are passed over; the
    others stop the prompt, with ``barge_in`` or without. What was pressed then selects a node from ``cases``, else
    ``default``, else nothing.
    """

    prompt: Say | Play | None = None
    keys: str = DEFAULT_KEYS
    max_keys: int = 1
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    cases: dict[str, str] = {}
    default: str | None = None

    def targets(self) -> Iterator[tuple[str, str]]:
        """Every node it can jump to, with the field that names it."""
        for pressed, node in self.cases.items():
            yield f"cases.{pressed}", node
        if self.default is not None:
            yield "default", self.default


class Tag(msgspec.Struct, frozen=True, tag_field="step", tag="tag", forbid_unknown_fields=True):
    """Give the call this intent; a later tag replaces it."""

    intent: str


class Hangup(msgspec.Struct, frozen=True, tag_field="step", tag="hangup", forbid_unknown_fields=True):
    """End the call."""


class Transfer(msgspec.Struct, frozen=True, tag_field="step", tag="transfer", forbid_unknown_fields=True):
    """Let the trunk connect the callee with ``target``, digits or one ``${text1}`` or ``${info.NAME}``, instead of us.

    The call ends for us then. Refused, the next step runs.
    """

    target: str


Step = Say | Play | Pause | Gather | Tag | Hangup | Transfer | Connect


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens on an answered call. ``language`` is a tag such as ``en`` or ``pt-br``.

    Raises ValueError (when decoding: ``msgspec.ValidationError``) with its faults in the text.
    """

    name: str
    initial_node: str
    nodes: dict[str, list[Step]]
    language: str = "en"
    on_voicemail: OnVoicemail = OnVoicemail.HANG_UP
    voice: VoiceSettings = PLAIN_VOICE
    sms: HangUpSms | None = None

    def __post_init__(self) -> None:
        found = faults_of(self.name, self.language, self.initial_node, self.nodes, voice=self.voice)
        faults = list(islice(found, MAX_FAULTS))
        if self.sms is not None:
            faults += text_faults(self.sms.content, "sms.content")
        if faults:
            raise ValueError("; ".join(f"{fault.field}: {fault.message}" for fault in faults))

    def text_variables(self) -> tuple[str, ...]:
        """The names of the text variables that it uses, ``text1`` first. A number needs a value for each."""
        texts = [prompt.text for prompt in self._prompts() if isinstance(prompt, Say)]
        texts += [step.target for step in self._steps() if isinstance(step, Transfer)]
        texts += [step.phone for step in self._steps() if isinstance(step, Connect)]
        if self.sms is not None:
            texts.append(self.sms.content)
        return in_order(name for text in texts for name in variables(text))

    def files(self) -> tuple[str, ...]:
        """The files that it plays, each once, in the order in which they are written."""
        return tuple(dict.fromkeys(prompt.file for prompt in self._prompts() if isinstance(prompt, Play)))

    def intents(self) -> tuple[str, ...]:
        """The intents that it can give, each once, in the order in which they are written."""
        return tuple(dict.fromkeys(step.intent for step in self._steps() if isinstance(step, Tag)))

    @property
    def speaks(self) -> bool:
        """Whether it has texts to be spoken."""
        return any(isinstance(prompt, Say) for prompt in self._prompts())

    @property
    def calls_first(self) -> str:
        """The phone that is called before the number is dialled, as it is written; empty: none."""
        first = self.nodes[self.initial_node][0]
        return first.phone if isinstance(first, Connect) else ""

    @property
    def may_be_interrupted(self) -> bool:
        """Whether speech stops one of its prompts."""
        return any(prompt.barge_in for prompt in self._prompts())

    def _steps(self) -> Iterator[Step]:
        for steps in self.nodes.values():
            yield from steps

    def _prompts(self) -> Iterator[Say | Play]:
        for step in self._steps():
            if isinstance(step, Say | Play):
                yield step
            elif isinstance(step, Gather) and step.prompt is not None:
                yield step.prompt


def step_field(node: str, position: int) -> str:
    """The path of a step, as faults name it."""
    return f"nodes.{node}.steps[{position}]"


def faults_of(
    name: str,
    language: str,
    initial_node: str | None,
    nodes: Mapping[str, Sequence[Step | None]],
    *,
    voice: VoiceSettings = PLAIN_VOICE,
    complete: bool = True,
) -> Iterator[Fault]:
    """Everything wrong with a template of these parts.

    For a reader that has found problems already: ``None`` stands for an initial node or a step that could not be read,
    and without ``complete`` no node is called unreachable, for what was lost may lead there.
    """
    yield from _head_faults(name, language, voice)
    if len(nodes) > MAX_NODES:
        yield Fault("nodes", f"must be at most {MAX_NODES}, are {len(nodes)}")
    for node, steps in nodes.items():
        if not _NODE_NAME.fullmatch(node):
            yield Fault(f"nodes.{node}", "a node's name has 1 to 64 letters, digits, - or _")
        if not steps:
            yield Fault(f"nodes.{node}.steps", "must have at least one step")
        if len(steps) > MAX_STEPS_A_NODE:
            yield Fault(f"nodes.{node}.steps", f"must be at most {MAX_STEPS_A_NODE}, are {len(steps)}")
        for position, step in enumerate(steps):
            if step is not None:
                yield from _step_faults(step, step_field(node, position))
    yield from _missing_nodes(initial_node, nodes)
    if complete and initial_node is not None and initial_node in nodes:
        reached = _reachable(initial_node, nodes)
        for node in nodes:
            if node not in reached:
                yield Fault(f"nodes.{node}", "cannot be reached from the initial node")


def _head_faults(name: str, language: str, voice: VoiceSettings) -> Iterator[Fault]:
    if not name.strip() or len(name) > MAX_NAME_CHARACTERS or NOT_TEXT.search(name):
        yield Fault("name", f"must have 1 to {MAX_NAME_CHARACTERS} characters")
    if not _LANGUAGE.fullmatch(language):
        yield Fault("language", "must be a language tag such as en or pt-br")
    for member, message in voice.faults():
        yield Fault(f"voice.{member}", message)


def _step_faults(step: Step, where: str) -> Iterator[Fault]:
    match step:
        case Say() | Play():
            yield from _prompt_faults(step, where)
        case Pause(seconds) if not 0 <= seconds <= MAX_PAUSE_SECONDS:
            yield Fault(f"{where}.pause", f"must be 0 to {MAX_PAUSE_SECONDS:g} seconds, is {seconds:g}")
        case Gather():
            if step.prompt is not None:
                yield from _prompt_faults(step.prompt, f"{where}.gather")
            yield from _gather_faults(step, f"{where}.gather")
        case Tag(intent) if not _INTENT.fullmatch(intent):
            yield Fault(f"{where}.tag", "must be a code of 1 to 32 letters, digits, - or _")
        case Transfer(target) if not _is_target(target):
            yield Fault(f"{where}.transfer", f"must be 1 to 32 digits (a + may lead), or one of {KNOWN}")
        case Connect(phone=phone) if (fault := step.fault(is_target=_is_target(phone))) is not None:
            yield Fault(f"{where}.{fault[0]}", fault[1])


def _is_target(target: str) -> bool:
    variable = PLACEHOLDER.fullmatch(target)
    if variable is not None:
        return bool(variable[2]) and is_variable(variable[1])
    return _TARGET.fullmatch(target) is not None


def _prompt_faults(prompt: Say | Play, where: str) -> Iterator[Fault]:
    if isinstance(prompt, Play):
        if (message := file_fault(prompt.file)) is not None:
            yield Fault(f"{where}.play", message)
        return
    text = prompt.text
    if not text.strip():
        yield Fault(f"{where}.say", "must not be empty")
    if len(text) > MAX_TEXT_CHARACTERS:
        yield Fault(f"{where}.say", f"must have at most {MAX_TEXT_CHARACTERS} characters, has {len(text)}")
    yield from text_faults(text, f"{where}.say")


def _gather_faults(gather: Gather, where: str) -> Iterator[Fault]:
    accepted = set(gather.keys)
    if not accepted or len(accepted) != len(gather.keys) or not accepted <= set(ALL_KEYS):
        yield Fault(f"{where}.keys", f"must be some of {ALL_KEYS}, each once")
        accepted = set(ALL_KEYS)
    if not 1 <= gather.max_keys <= MAX_GATHERED_KEYS:
        yield Fault(f"{where}.max_keys", f"must be 1 to {MAX_GATHERED_KEYS}, is {gather.max_keys}")
    if not (math.isfinite(gather.timeout) and MIN_TIMEOUT_SECONDS <= gather.timeout <= MAX_TIMEOUT_SECONDS):
        yield Fault(
            f"{where}.timeout",
            f"must be {MIN_TIMEOUT_SECONDS:g} to {MAX_TIMEOUT_SECONDS:g} seconds, is {gather.timeout:g}",
        )
    for pressed in gather.cases:
        field = f"{where}.cases.{pressed}"
        if not pressed or not set(pressed) <= accepted:
            yield Fault(field, f"can never be pressed: the keys of this gather are {gather.keys[:20]}")
        elif len(pressed) > gather.max_keys:
            yield Fault(field, f"can never be pressed: max_keys is {gather.max_keys}")


def _missing_nodes(initial_node: str | None, nodes: Mapping[str, Sequence[Step | None]]) -> Iterator[Fault]:
    if initial_node is not None and initial_node not in nodes:
        yield Fault("initial_node", _no_such_node(initial_node, nodes))
    for node, steps in nodes.items():
        for position, step in enumerate(steps):
            if isinstance(step, Gather):
                for field, target in step.targets():
                    if target not in nodes:
                        where = f"{step_field(node, position)}.gather.{field}"
                        yield Fault(where, _no_such_node(target, nodes))


def _no_such_node(name: str, nodes: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:64], islice(nodes, MAX_NODES), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no node {name[:64]!r}{hint}"


def _reachable(initial_node: str, nodes: Mapping[str, Sequence[Step | None]]) -> set[str]:
    reached = {initial_node}
    waiting = [initial_node]
    while waiting:
        for step in nodes[waiting.pop()]:
            if isinstance(step, Gather):
                new = {target for _, target in step.targets() if target in nodes} - reached
                reached |= new
                waiting.extend(new)
    return reached
