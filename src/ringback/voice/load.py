"""Templates from YAML files, and the audio that they play.

Everything wrong with a file is reported at once, each problem with its line and field. The form of the file is
described in :mod:`ringback.voice.template_yaml`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from ringback.model.template import (
    MAX_FAULTS,
    Gather,
    Play,
    Step,
    Template,
    faults_of,
    step_field,
)
from ringback.telephony.port import BYTES_PER_SECOND
from ringback.voice.template_yaml import TemplateReader
from ringback.voice.wav import WavError, pcm_from_wav
from ringback.voice.yaml_tree import Problem, Source, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["LoadedTemplate", "Problem", "TemplateError", "load_template", "load_template_text"]

MAX_SOURCE_BYTES = 1_000_000
MAX_FILE_SECONDS = 5 * 60
#: Of all files of one template together; it is all in memory while the template is in use.
MAX_AUDIO_SECONDS = 30 * 60


class LoadedTemplate(msgspec.Struct, frozen=True):
    """A template, and the audio of every file that it plays: file as written in the template -> PCM of the port."""

    template: Template
    audio: dict[str, bytes]


def load_template(path: Path) -> LoadedTemplate:
    """Read a template file; the WAV files that it plays lie in its folder or below.

    Raises:
        TemplateError: with everything that is wrong.
    """
    name = str(path)
    try:
        if not path.is_file():  # a pipe or a device would never end
            raise TemplateError([Problem(name, 1, "file", "is not there, or is no file")])
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise TemplateError([Problem(name, 1, "file", f"cannot be read ({_said(error)})")]) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The limit may have cut a character in two; then the size is what is wrong.
        if len(data) <= MAX_SOURCE_BYTES:
            line = data.count(b"\n", 0, error.start) + 1
            raise TemplateError([Problem(name, line, "file", "is not UTF-8 text")]) from error
        text = data.decode("utf-8-sig", errors="replace")
    return load_template_text(text, name, path.parent)


def load_template_text(text: str, source_name: str, folder: Path | None) -> LoadedTemplate:
    """Read a template from its text. ``source_name`` stands for the file in messages and gives the default name.

    ``folder`` holds the WAV files; with ``None`` the template may play none.

    Raises:
        TemplateError: with everything that is wrong.
    """
    source = Source(source_name)
    if len(text.encode("utf-8", errors="replace")) > MAX_SOURCE_BYTES:
        source.report(1, "file", f"must have at most {MAX_SOURCE_BYTES} bytes")
        raise TemplateError(source.problems)
    root = source.parse(text)
    if root is None:
        raise TemplateError(source.problems)
    parts = TemplateReader(source).read(root)
    complete = not source.problems
    faulty = set()
    found = faults_of(parts.name, parts.language, parts.initial_node, parts.nodes, voice=parts.voice, complete=complete)
    for fault in islice(found, MAX_FAULTS):
        faulty.add(fault.field)
        source.report_at(parts.shown(fault.field), fault.message)
    files: dict[str, str] = {}  # file -> the field that names it first
    for field, file in _played(parts.nodes):
        if field not in faulty:
            files.setdefault(file, parts.shown(field))
    audio = _read_audio(source, folder, files)
    if source.problems or parts.initial_node is None:
        raise TemplateError(source.problems)
    template = Template(
        name=parts.name,
        language=parts.language,
        on_voicemail=parts.on_voicemail,
        voice=parts.voice,
        initial_node=parts.initial_node,
        nodes={node: [step for step in steps if step is not None] for node, steps in parts.nodes.items()},
    )
    return LoadedTemplate(template, audio)


def _played(nodes: Mapping[str, list[Step | None]]) -> Iterator[tuple[str, str]]:
    """Every file that is played, with the field that names it."""
    for node, steps in nodes.items():
        for position, step in enumerate(steps):
            match step:
                case Play(file):
                    yield f"{step_field(node, position)}.play", file
                case Gather(prompt=Play(file)):
                    yield f"{step_field(node, position)}.gather.play", file


def _read_audio(source: Source, folder: Path | None, files: Mapping[str, str]) -> dict[str, bytes]:
    audio: dict[str, bytes] = {}
    if source.full:
        return audio
    seconds_left = float(MAX_AUDIO_SECONDS)
    for file, field in files.items():
        if folder is None:
            source.report_at(field, "cannot be played: this template has no folder to hold files")
            continue
        try:
            pcm = _pcm(folder, file)
        except WavError as error:
            source.report_at(field, f"{file} {error}")
            continue
        seconds_left -= len(pcm) / BYTES_PER_SECOND
        if seconds_left < 0:
            source.report_at(field, f"the files together play more than {MAX_AUDIO_SECONDS} seconds")
            break
        audio[file] = pcm
    return audio


def _pcm(folder: Path, file: str) -> bytes:
    try:
        root = folder.resolve()
        path = (root / file).resolve()
        if not path.is_relative_to(root):
            raise WavError("is a link that leaves the template's folder")
        if not path.is_file():
            raise WavError("is not there")
        with path.open("rb") as opened:
            return pcm_from_wav(opened, MAX_FILE_SECONDS)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
        raise WavError(f"cannot be read ({_said(error)})") from error


def _said(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
