"""Numbers from a file that is read as it comes, line by line: what is wrong is told with its line."""

from __future__ import annotations

import csv
import io
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from ringback.api.v1.fields import NumberIn
from ringback.api.v1.problems import Kind, Problem
from ringback.model.numbers import InvalidNumber, parse_callee, zone_key
from ringback.model.task import MAX_NUMBERS, InvalidText, NewCall, stored_texts
from ringback.model.text_variables import is_variable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

#: Bytes of one line.
LONGEST_LINE = 65_536
MOST_ERRORS = 1_000
NUMBER = "number"


class FileKind(Enum):
    """How a file is written."""

    CSV = "text/csv"
    JSON_LINES = "application/jsonl"

    @classmethod
    def of(cls, content_type: str) -> FileKind:
        """By its media type. Raises :class:`Problem` for another."""
        name = content_type.partition(";")[0].strip().lower()
        for kind in cls:
            if name == kind.value or (kind is cls.JSON_LINES and name == "application/x-ndjson"):
                return kind
        raise Problem(Kind.MEDIA_TYPE, f"Content-Type: must be text/csv or application/jsonl, got {name!r}")


class LineError(msgspec.Struct, frozen=True):
    """What is wrong with a line; the first is 1."""

    line: int
    message: str


class NumbersRead(msgspec.Struct):
    """What a file held: ``calls`` in order, each number once."""

    calls: list[NewCall] = []
    lines: int = 0
    repeated: int = 0
    faulty: int = 0
    errors: list[LineError] = []


class _LineFault(Exception):
    """The line cannot be used; the text says why."""


async def read_numbers(
    chunks: AsyncIterator[bytes], kind: FileKind, needed: frozenset[str], *, most_bytes: int
) -> NumbersRead:
    """The numbers of a file. ``needed``: the variables that each must have.

    Raises :class:`Problem` for a file that is too large, or has a header line that means nothing.
    """
    reader = _CsvReader() if kind is FileKind.CSV else _JsonLinesReader()
    read = NumbersRead(calls=[], errors=[])
    seen: set[str] = set()
    async for line in _lines(chunks, most_bytes):
        read.lines += 1
        try:
            entry = reader.entry(line)
            if entry is not None:
                _take(entry, needed, seen, read)
        except _LineFault as fault:
            read.faulty += 1
            if len(read.errors) < MOST_ERRORS:
                read.errors.append(LineError(read.lines, str(fault)))
        if len(read.calls) > MAX_NUMBERS:
            raise Problem(Kind.TOO_LARGE, f"the file holds more than {MAX_NUMBERS} numbers")
    return read


def _take(entry: NumberIn, needed: frozenset[str], seen: set[str], read: NumbersRead) -> None:
    try:
        callee = parse_callee(entry.number)
    except InvalidNumber as error:
        raise _LineFault(f"{NUMBER}: {error}") from None
    unknown = [name for name in entry.variables if not is_variable(name)]
    if unknown:
        raise _LineFault(f"{unknown[0][:70]}: names are text1 to text10 and info.NAME")
    missing = needed - entry.variables.keys()
    if missing:
        raise _LineFault(f"{min(missing)}: is missing, and the template uses it")
    if callee in seen:
        read.repeated += 1
        return
    try:
        stored = stored_texts(entry.variables)
    except InvalidText as error:
        raise _LineFault(f"{error.name}: {error}") from None
    seen.add(callee)
    read.calls.append(NewCall(callee, zone_key(callee), stored))


async def _lines(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[str]:
    """The lines of a stream of bytes, without their ends. A line that is too long comes cut, and is a fault."""
    rest = b""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most_bytes:
            raise Problem(Kind.TOO_LARGE, f"the file is larger than {most_bytes // 1_000_000} MB")
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _text(line)
        if len(rest) > LONGEST_LINE:
            raise Problem(Kind.TOO_LARGE, f"the file has a line of more than {LONGEST_LINE} bytes")
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", errors="replace")


class _JsonLinesReader:
    """An object a line; empty lines are passed over."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(NumberIn)

    def entry(self, line: str) -> NumberIn | None:
        if not line.strip():
            return None
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise _LineFault(f"is no JSON object of a number: {error}") from None


class _CsvReader:
    """A header line, then a number a line. Values may be quoted, but hold no line break."""

    def __init__(self) -> None:
        self._names: list[str] | None = None

    def entry(self, line: str) -> NumberIn | None:
        if not line.strip():
            return None
        fields = self._fields(line)
        if self._names is None:
            self._names = self._header(fields)
            return None
        if len(fields) > len(self._names):
            raise _LineFault(f"has {len(fields)} values, and the header {len(self._names)} names")
        values: Mapping[str, str] = dict(zip(self._names, fields, strict=False))
        variables = {name: value for name, value in values.items() if name != NUMBER and value != ""}
        return NumberIn(values.get(NUMBER, ""), variables)

    def _fields(self, line: str) -> list[str]:
        try:
            return [field.strip() for field in next(csv.reader(io.StringIO(line), strict=True))]
        except (csv.Error, StopIteration) as error:
            raise _LineFault(f"is no line of CSV: {error}") from None

    def _header(self, fields: list[str]) -> list[str]:
        names = [name.removeprefix("\ufeff") for name in fields]
        wrong = [name for name in names if name != NUMBER and not is_variable(name)]
        if NUMBER not in names or wrong or len(set(names)) != len(names):
            raise Problem(
                Kind.INVALID, f"line 1: must name {NUMBER} and variables (text1 to text10, info.NAME), each once"
            )
        return names
