"""YAML as a tree in which everything knows its line, for messages that people can act on.

PyYAML composes the nodes and constructs nothing: scalars stay the text that was written, so ``101`` and ``"101"`` are
the same code and no tag can make an object. What a template never needs is refused: anchors and aliases (a few lines
of them unfold to gigabytes), tags, and deep nesting.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_DEPTH = 20
#: Scalars, lists and mappings in one source: PyYAML needs about a second for as many.
MAX_VALUES = 50_000
#: No more problems than this are collected from one source.
MAX_PROBLEMS = 100

_STANDARD = "tag:yaml.org,2002:"
_NULL = f"{_STANDARD}null"
_BOOLEAN = f"{_STANDARD}bool"
_NUMBERS = frozenset({f"{_STANDARD}int", f"{_STANDARD}float"})
#: Tags that may be written out. ``!`` and no tag at all are the plain cases.
_TAGS = frozenset(f"{_STANDARD}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")) | {"!", None}
_DECIMAL = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something wrong in a source. ``line`` counts from 1; ``field`` is a path such as ``nodes.menu.steps[0].say``."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class TemplateError(Exception):
    """A template cannot be used. ``problems`` holds every problem found, by line; the text has a line for each."""

    def __init__(self, problems: Collection[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Source:
    """One YAML source being read: its problems, and the line of each field read so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._lines: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """Whether enough problems have been collected."""
        return len(self.problems) >= MAX_PROBLEMS

    def report(self, line: int, field: str, message: str) -> None:
        """Add a problem."""
        if not self.full:
            self.problems.append(Problem(self.name, line, _printable(field), _printable(message)))

    def report_at(self, field: str, message: str) -> None:
        """Add a problem of a field; its line is that of the nearest field above it that was read."""
        known = field
        while known and known not in self._lines:
            known = known[: max(known.rfind("."), known.rfind("["), 0)]
        self.report(self._lines.get(known, 1), field, message)

    def place(self, field: str, node: yaml.Node) -> None:
        """Remember where a field is."""
        self._lines[field] = _line(node)

    def parse(self, text: str) -> yaml.Node | None:
        """The root of the one document in ``text``; ``None``, with a problem, when there is none to be had."""
        try:
            root = yaml.compose(text, Loader=_Loader)
        except yaml.reader.ReaderError as error:
            self.report(text.count("\n", 0, error.position) + 1, "yaml", "holds a character that YAML forbids")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            said = [part for part in (error.context, error.problem) if part]
            self.report(line, "yaml", ": ".join(said) or "cannot be read")
        except (ValueError, OverflowError):
            # An escape such as "\UFFFFFFFF", or a version directive of thousands of digits: PyYAML lets these through.
            self.report(1, "yaml", "holds an escape or a directive that cannot be read")
        else:
            if root is None:
                self.report(1, "yaml", "is empty")
            return root
        return None

    def mapping(self, node: yaml.Node, field: str, known: Collection[str] | None = None) -> dict[str, yaml.Node] | None:
        """The entries of a mapping by key, every key once and, with ``known``, one of those.

        Each entry's place is remembered as ``<field>.<key>``. ``None``, with a problem, when it is no mapping.
        """
        if not isinstance(node, yaml.MappingNode):
            self.report(_line(node), field or "template", f"must be a mapping, is {_kind(node)}")
            return None
        entries: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            if self.full:
                break
            prefix = f"{field}." if field else ""
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(_line(key_node), field or "template", f"a key must be text, is {_kind(key_node)}")
                continue
            key = key_node.value
            path = f"{prefix}{key[:64]}"
            if known is not None and key not in known:
                self.report(_line(key_node), path, f"is not known here{_hint(key, known)}")
            elif key in entries:
                self.report(_line(key_node), path, "is given twice")
            else:
                entries[key] = value
                self.place(f"{prefix}{key}", key_node)
        return entries

    def sequence(self, node: yaml.Node, field: str) -> list[yaml.Node] | None:
        """The items of a list; ``None``, with a problem, when it is none."""
        if not isinstance(node, yaml.SequenceNode):
            self.report(_line(node), field, f"must be a list, is {_kind(node)}")
            return None
        return list(node.value)

    def text(self, node: yaml.Node, field: str) -> str | None:
        """A scalar as it is written; ``None``, with a problem, when it is empty (null) or no scalar."""
        if not isinstance(node, yaml.ScalarNode):
            self.report(_line(node), field, f"must be text, is {_kind(node)}")
            return None
        if node.tag == _NULL:
            self.report(_line(node), field, "must not be empty")
            return None
        return str(node.value)

    def flag(self, node: yaml.Node, field: str) -> bool | None:
        """True or false; ``None``, with a problem, when it is anything else. YAML's ``yes``, ``on`` and so on are."""
        if isinstance(node, yaml.ScalarNode) and node.tag == _BOOLEAN and node.value.lower() in {"true", "false"}:
            return bool(node.value.lower() == "true")
        self.report(_line(node), field, f"must be true or false, is {_shown(node)}")
        return None

    def number(self, node: yaml.Node, field: str) -> float | None:
        """A decimal number; ``None``, with a problem, when it is anything else."""
        value = self._numeral(node, field, _DECIMAL, "must be a number")
        return None if value is None else float(value)

    def whole_number(self, node: yaml.Node, field: str) -> int | None:
        """A whole number; ``None``, with a problem, when it is anything else."""
        value = self._numeral(node, field, _WHOLE, "must be a whole number")
        return None if value is None else int(value)

    def _numeral(self, node: yaml.Node, field: str, form: re.Pattern[str], message: str) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and form.fullmatch(node.value):
            return str(node.value)
        self.report(_line(node), field, f"{message}, is {_shown(node)}")
        return None


class _Loader(yaml.SafeLoader):
    """Refuses what would let a small source become a large tree."""

    _depth = 0
    _values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it bare
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            _refuse(event, "anchors and aliases are not allowed; text that begins with & or * needs quotes")
        tag = getattr(event, "tag", None)
        if tag not in _TAGS:
            shown = str(tag).replace(_STANDARD, "!!")[:40]
            _refuse(
                event,
                f"the tag {shown} is not allowed; text with ! at its start needs quotes",
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _refuse(event, f"is nested more than {MAX_DEPTH} deep")
        self._values += 1
        if self._values > MAX_VALUES:
            _refuse(event, f"holds more than {MAX_VALUES} values")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _refuse(event: yaml.Event, message: str) -> None:
    mark = event.start_mark
    raise yaml.composer.ComposerError(None, None, message, mark if isinstance(mark, yaml.Mark) else None)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "empty" if node.tag == _NULL else "text" if node.tag not in _NUMBERS else "a number"


def _shown(node: yaml.Node) -> str:
    return f"{node.value[:40]!r}" if isinstance(node, yaml.ScalarNode) else _kind(node)


def _hint(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word[:64], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"


def _printable(text: str) -> str:
    """One short line that no terminal mistakes for a command."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:300])
    return shown if len(text) <= 300 else f"{shown}…"
