"""The compatibility page and the code say the same: every operation, every member of every request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.families import VOICE
from tests.api.test_operator import BODIES
from tests.api.vendor_world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def sections() -> dict[str, str]:
    """The text below each heading that names an operation."""
    parts = re.split(r"^## ((?:GET|POST) \S+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {title: text.partition("\n## ")[0] for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def rows(section: str) -> Iterator[str]:
    """The members that the tables list in their first column; ``x1`` to ``x9`` are nine of them."""
    for cell in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE):
        named = re.findall(r"`([^`]+)`", cell)
        if " to " in cell:
            first, last = (re.fullmatch(r"(.*?)([0-9]+)", name) for name in named)
            assert first is not None
            assert last is not None
            assert first[1] == last[1]
            yield from (f"{first[1]}{number}" for number in range(int(first[2]), int(last[2]) + 1))
        else:
            yield from named


def members(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """Every member of a request, by its path."""
    for field in msgspec.structs.fields(kind):
        yield prefix + field.name
        for inner, mark in structs_in(msgspec.inspect.type_info(field.type)):
            yield from members(inner, f"{prefix}{field.name}{mark}.")


def structs_in(info: msgspec.inspect.Type, mark: str = "") -> Iterator[tuple[type[Any], str]]:
    match info:
        case msgspec.inspect.StructType():
            yield info.cls, mark
        case msgspec.inspect.ListType():
            yield from structs_in(info.item_type, mark + "[]")
        case msgspec.inspect.UnionType():
            for one in info.types:
                yield from structs_in(one, mark)


def test_the_page_lists_every_operation_and_no_other(lasting_world: World) -> None:
    served: dict[str, set[str]] = {prefix: set() for prefix in VOICE.prefixes}
    for route in lasting_world.app.routes:
        for prefix in VOICE.prefixes:
            if route.path.startswith(f"{prefix}/"):
                (method,) = route.methods - {"OPTIONS"}
                served[prefix].add(f"{method} {re.sub(r'{.*}', '{id}', route.path.removeprefix(prefix))}")
    listed = {title.replace(" /voice", " ") for title in sections()}
    assert served == dict.fromkeys(VOICE.prefixes, listed)


def test_the_page_lists_every_member_of_every_request_and_no_other() -> None:
    page = sections()
    for path, kind in BODIES.items():
        section = page[f"POST /voice{path}"]
        assert sorted(rows(section)) == sorted(members(kind)), path


def test_every_row_has_a_mark() -> None:
    for title, section in sections().items():
        for row in re.findall(r"^\| `.*$", section, flags=re.MULTILINE):
            assert re.match(r"^\| [^|]+ \| [DCIU](, [DCIU])* \| [^|]+ \|$", row), (title, row)


def test_what_is_ignored_is_said() -> None:
    page = PAGE.read_text()
    assert "`callInformation`" in sections()["POST /voice/group/call/send/agent"]
    assert "members not listed below | U | ignored" in page


def test_the_answers_members_are_listed(world: World) -> None:
    async def story() -> None:
        task_id = await world.send()
        detail = (await world.get(f"/voice/group/call/detail/{task_id}"))["data"]
        named = re.findall(r"`(\w+)`", sections()["GET /voice/group/call/detail/{id}"])
        assert sorted(named) == sorted(detail)

    world.run(story())
