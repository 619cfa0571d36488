"""The vendor's voice node as a template: what is played to whoever answers a voice task or a single call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ringback.model.template import ONLY_NODE, OnVoicemail, Pause, Play, Say, Step, Template, faults_of
from ringback.model.voice_settings import Gender, VoiceSettings

if TYPE_CHECKING:
    from ringback.model.faults import Fault

MAX_LOOPS = 9
#: Between the repetitions of a text. A file brings its own silence.
PAUSE_BETWEEN_SECONDS = 1.0
#: What the template is called: it is in no list.
NAME = "voice node"

_FIELDS = {"say": "text", "play": "file", "speaking_rate": "speaking_rate", "accent": "accent", "language": "language"}


class VoiceNode(msgspec.Struct, frozen=True, kw_only=True):
    """What to play: a ``file`` (the id of an uploaded one) or a ``text``, one of the two.

    ``language`` is a tag such as ``en``, of the text. ``speaking_rate`` is 0.25 to 4, 1 the voice's own. ``loop_count``
    is how often it is played in all, 1 to 9. ``delay_play`` and ``delay_hangup`` are seconds of silence before and
    after, 0 to 999.
    """

    file: str | None = None
    text: str | None = None
    language: str = "en"
    speaking_rate: float = 1.0
    gender: Gender | None = None
    accent: str = ""
    loop_count: int = 1
    delay_play: float = 0.0
    delay_hangup: float = 0.0


class InvalidNode(ValueError):
    """A node cannot be played. ``field`` is the member at fault, ``message`` what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def template_of(node: VoiceNode, *, name: str = NAME) -> Template:
    """The template that plays the node. Its audio, for a file, is that file's PCM under the same id.

    Keys pressed at any time are recorded with the call. A machine that answers hears it all, for the vendor's voice
    tasks make no difference there (I).

    Raises:
        InvalidNode: a member is missing or out of range.
    """
    if (node.file is None) == (node.text is None):
        raise InvalidNode("text", "must be given, or a file, and not both")
    if not 1 <= node.loop_count <= MAX_LOOPS:
        raise InvalidNode("loop_count", f"must be 1 to {MAX_LOOPS}, is {node.loop_count}")
    voice = VoiceSettings(speaking_rate=node.speaking_rate, gender=node.gender, accent=node.accent)
    nodes = {ONLY_NODE: _steps(node)}
    for fault in faults_of(name, node.language, ONLY_NODE, nodes, voice=voice):
        raise InvalidNode(_member(fault), fault.message)
    return Template(
        name=name,
        language=node.language,
        on_voicemail=OnVoicemail.CONTINUE,
        voice=voice,
        initial_node=ONLY_NODE,
        nodes=nodes,
    )


def _steps(node: VoiceNode) -> list[Step]:
    steps: list[Step] = [Pause(node.delay_play)] if node.delay_play else []
    for turn in range(node.loop_count):
        if node.file is not None:
            steps.append(Play(node.file))
        elif node.text is not None:
            steps += [Pause(PAUSE_BETWEEN_SECONDS)] if turn else []
            steps.append(Say(node.text))
    if node.delay_hangup:
        steps.append(Pause(node.delay_hangup))
    return steps


def _member(fault: Fault) -> str:
    """The node's member that a fault of its template is about."""
    last = fault.field.rpartition(".")[2]
    if last == "pause":
        # The one before the prompts is the first step; those between them have no fault.
        return "delay_play" if "[0]" in fault.field else "delay_hangup"
    return _FIELDS.get(last, last)
