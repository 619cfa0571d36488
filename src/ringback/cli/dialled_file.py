"""The list of what was dialled in the lost hours: a number a line, or CSV with a column ``callee``."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from ringback.cli.common import UserError
from ringback.model.routing import MAX_DIALLED_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: A trunk may have written the number differently than its task has it, so it may be shorter or longer than a callee.
_NUMBER = re.compile(rf"\+?([0-9]{{1,{MAX_DIALLED_DIGITS}}})", re.ASCII)
_MOST_PROBLEMS = 20


def read_dialled(path: Path) -> frozenset[str]:
    """The numbers, digits only. Raises :class:`UserError` that names the lines which cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _numbers(path, file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _numbers(path: Path, file: Iterable[str]) -> frozenset[str]:
    column: int | None = None
    first = True
    found: set[str] = set()
    problems: list[str] = []
    reader = csv.reader(file)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if first:
            first = False
            names = [cell.lower() for cell in cells]
            if "callee" in names:
                column = names.index("callee")
                continue
        if column is None and len(cells) > 1:
            problems.append(f"line {reader.line_num}: several columns need a first line that names one of them callee")
            continue
        text = cells[column or 0] if (column or 0) < len(cells) else ""
        number = _NUMBER.fullmatch(text)
        if number is None:
            problems.append(f"line {reader.line_num}: " + ("no number" if not text else "may hold digits only"))
        else:
            found.add(number[1])
    if problems:
        more = f"\n  and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
        listed = "".join(f"\n  {problem}" for problem in problems[:_MOST_PROBLEMS])
        raise UserError(f"{path}: nothing was changed, for some lines cannot be read{listed}{more}")
    if not found:
        raise UserError(f"{path}: there is no number in it; if nothing was dialled, say --nothing-lost")
    return frozenset(found)
