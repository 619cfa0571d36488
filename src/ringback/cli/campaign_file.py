"""A campaign as people write it: a YAML file with its settings, and a CSV file of numbers.

Errors name the file and the line. A bad line of numbers is listed and left out; it stops nothing else.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from ringback.cli.common import UserError
from ringback.model.numbers import InvalidNumber, parse_callee
from ringback.model.task import MAX_NUMBERS, TEXT_NAMES

if TYPE_CHECKING:
    from pathlib import Path


class Recall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``recall:`` of a campaign. ``who``: ``failed`` or ``all``."""

    rounds: int
    interval_minutes: int
    who: str = "failed"
    intents: list[str] = []
    templates: list[str | int] = []


class Campaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign file. ``template`` is a file, or the id of a template that the server has."""

    name: str
    numbers: str
    template: str | int
    app_id: str = "default"
    caller_id: str = ""
    ring_seconds: int = 60
    call_seconds: int = 300
    windows: list[str] = []
    recall: Recall | None = None

    def __post_init__(self) -> None:
        if self.recall is not None and self.recall.who not in ("failed", "all"):
            raise ValueError("recall.who must be failed or all")


class Numbers(msgspec.Struct, frozen=True):
    """The good lines as members of ``numberInfoList``, and what is wrong with the others."""

    entries: list[dict[str, str]]
    problems: list[str]


def read_campaign(path: Path) -> Campaign:
    """Raises :class:`UserError` that names file, line and field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        return msgspec.convert(values, Campaign)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{path}:{_line_of(text, str(error))}: {error}") from None


def read_numbers(path: Path) -> Numbers:
    """The numbers of a CSV file: a number, then text1 to text10; a header line is optional.

    Raises :class:`UserError` when the file cannot be read or has no good line.
    """
    entries: list[dict[str, str]] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    columns: list[str] = ["number", *TEXT_NAMES]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                line = reader.line_num
                if not any(cell.strip() for cell in row):
                    continue
                if not first_line and not entries and row[0].strip().lower() == "number":
                    columns = _columns(row, path)
                    continue
                _read_line(row, line, columns, entries, problems, first_line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not entries:
        listed = "".join(f"\n  {problem}" for problem in problems[:20])
        raise UserError(f"{path}: no line has a number that can be called{listed}")
    if len(entries) > MAX_NUMBERS:
        raise UserError(f"{path}: {len(entries)} numbers, at most {MAX_NUMBERS}")
    return Numbers(entries, problems)


def _read_line(
    row: list[str],
    line: int,
    columns: list[str],
    entries: list[dict[str, str]],
    problems: list[str],
    first_line: dict[str, int],
) -> None:
    cells = dict(zip(columns, row, strict=False))
    if len(row) > len(columns):
        problems.append(f"line {line}: has {len(row)} columns, at most {len(columns)}")
        return
    try:
        callee = parse_callee(cells.get("number", ""))
    except InvalidNumber as error:
        problems.append(f"line {line}: the number {error}")
        return
    if callee in first_line:
        problems.append(f"line {line}: repeats the number of line {first_line[callee]}")
        return
    first_line[callee] = line
    texts = {name: value.strip() for name, value in cells.items() if name in TEXT_NAMES}
    entries.append({"calleeNumber": callee, **texts})


def _columns(header: list[str], path: Path) -> list[str]:
    names = [name.strip().lower() for name in header]
    unknown = [name for name in names if name != "number" and name not in TEXT_NAMES]
    if unknown or len(set(names)) != len(names):
        raise UserError(f"{path}:1: the columns are number and text1 to text10, each once; got {', '.join(header)}")
    return names


def _line_of(text: str, message: str) -> int:
    """The line of the field that a message names, as well as it can be told."""
    _, _, path = message.rpartition("`$.")
    field = path.strip("`").split(".")[-1].split("[")[0]
    if not field and "`" in message:
        field = message.split("`")[1]
    for number, line in enumerate(text.splitlines(), start=1):
        if field and line.strip().startswith(f"{field}:"):
            return number
    return 1


def send_agent_body(campaign: Campaign, numbers: Numbers, template_ids: dict[str | int, int]) -> dict[str, Any]:
    """The request that creates the campaign's task. ``template_ids`` maps what the file names to ids."""
    body: dict[str, Any] = {
        "appId": campaign.app_id,
        "taskName": campaign.name,
        "displayNum": campaign.caller_id,
        "agentId": template_ids[campaign.template],
        "maxRingingTime": campaign.ring_seconds,
        "maxCalls": campaign.call_seconds,
        "numberInfoList": numbers.entries,
    }
    if campaign.windows:
        periods = [window.partition("-")[::2] for window in campaign.windows]
        body["allowSendTime"] = [{"strTime": start.strip(), "endTime": end.strip()} for start, end in periods]
    if campaign.recall is not None:
        recall = campaign.recall
        body["recallFlow"] = {
            "recallType": 1 if recall.who == "failed" else 0,
            "recallInterval": recall.interval_minutes,
            "recallNum": recall.rounds,
            "recallIntent": recall.intents,
            "nodeList": [{"scriptId": template_ids[name]} for name in recall.templates],
        }
    return body
