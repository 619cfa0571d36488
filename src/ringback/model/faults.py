"""Faults of templates: what one is, and what is wrong with texts and file names, wherever they stand."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from ringback.model.text_variables import KNOWN, PLACEHOLDER, is_variable

if TYPE_CHECKING:
    from collections.abc import Iterator

# Line breaks and tabs are welcome in a text; other control characters and lone surrogates are not.
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Fault(msgspec.Struct, frozen=True):
    """Something wrong with a template. ``field`` is its path, such as ``nodes.menu.steps[2].gather.timeout``."""

    field: str
    message: str


def text_faults(text: str, field: str) -> Iterator[Fault]:
    """What is wrong with the characters and the variables of a text."""
    if NOT_TEXT.search(text):
        yield Fault(field, "must not hold control characters")
    for found in PLACEHOLDER.finditer(text):
        if not found[2]:
            yield Fault(field, f"${{{found[1][:20]} has no closing }}")
        elif not is_variable(found[1]):
            yield Fault(field, f"{found[0][:40]} is not known; there are {KNOWN}")


def file_fault(file: str) -> str | None:
    if not file.strip():
        return "must not be empty"
    if len(file) > 255 or NOT_TEXT.search(file) or "\n" in file:
        return "must be a file name of at most 255 characters"
    path = PurePosixPath(file)
    # A backslash or a colon is a way out of the folder on another system.
    if path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file:
        return "must lie in the template's own folder: no absolute path and no .."
    return None
