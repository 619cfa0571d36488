"""The values that differ from number to number: ``text1`` to ``text10``, and ``info.NAME`` for what a caller names.

They are written ``${text1}`` and ``${info.NAME}`` in a template's texts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Longer values of ``text1`` to ``text10`` are cut, not refused (the vendor's rule).
MAX_TEXT_LENGTH = 30
#: Longer values of ``info.NAME`` are cut too. Nobody publishes a limit; this is about a minute of speech.
MAX_INFO_LENGTH = 1_000
#: What stands before the name of a caller's own value.
INFO = "info."
#: How the variables are listed for people.
KNOWN = "${text1} to ${text10} and ${info.NAME}"

#: ``${`` with a name; without its ``}``, which the second group would hold, it is a fault.
PLACEHOLDER = re.compile(r"\$\{([^{}]*)(\}?)")

_NAME = re.compile(r"text(?:10|[1-9])|info\.[0-9A-Za-z_]{1,64}", re.ASCII)


def is_variable(name: str) -> bool:
    """Whether there is a variable of that name."""
    return _NAME.fullmatch(name) is not None


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The names of variables, each once: ``text1`` first, then ``text2`` and so on, then the others by name."""
    return tuple(sorted(set(names), key=_place))


def _place(name: str) -> tuple[int, str]:
    number = name.removeprefix("text")
    return (int(number), "") if number.isdecimal() else (11, name)


def cut(name: str, value: str) -> str:
    """As much of a variable's value as counts."""
    return value[: MAX_INFO_LENGTH if name.startswith(INFO) else MAX_TEXT_LENGTH]


def variables(text: str) -> tuple[str, ...]:
    """The names in the ``${…}`` of a text, in order, known or not."""
    return tuple(found[1] for found in PLACEHOLDER.finditer(text))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with each ``${name}`` replaced by its value; without one, by nothing.

    Values are put in as they are: a ``${…}`` inside a value stays.
    """
    return PLACEHOLDER.sub(lambda found: values.get(found[1], "") if found[2] else found[0], text)
