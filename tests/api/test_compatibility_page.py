"""The compatibility page and the code say the same: every operation, every member of every request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ringback.api.itnio.door import OPERATION
from ringback.api.itnio.families import FAMILIES
from tests.api.test_operator import BODIES, OTHER_BODIES
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
    assert {operation.replace("{key:str}", "{id}") for operation in operations(lasting_world)} == sections().keys()


def test_every_operation_is_served_under_every_prefix_of_its_family(lasting_world: World) -> None:
    for operation, paths in operations(lasting_world).items():
        first = operation.partition(" ")[2]
        under = [
            {prefix + first.removeprefix(family.prefixes[0]) for prefix in family.prefixes}
            for family in FAMILIES
            if first.startswith(f"{family.prefixes[0]}/")
        ]
        assert paths in under, operation


def operations(world: World) -> dict[str, set[str]]:
    """The paths of every operation of the vendor's."""
    found: dict[str, set[str]] = {}
    for route in world.app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if OPERATION in handler.opt:
                found.setdefault(handler.opt[OPERATION], set()).add(route.path)
    return found


def test_the_page_lists_every_member_of_every_request_and_no_other() -> None:
    page = sections()
    for path, kind in ({f"/voice{path}": kind for path, kind in BODIES.items()} | OTHER_BODIES).items():
        section = page[f"POST {path}"]
        assert sorted(rows(section)) == sorted(members(kind)), path


def test_every_row_has_a_mark() -> None:
    for title, section in sections().items():
        for row in re.findall(r"^\| `.*$", section, flags=re.MULTILINE):
            assert re.match(r"^\| [^|]+ \| [DCIU](, [DCIU])* \| [^|]+ \|$", row), (title, row)


def test_what_is_ignored_is_said() -> None:
    page = PAGE.read_text()
    assert "members not listed below | U | ignored" in page


def test_the_answers_members_are_listed(world: World) -> None:
    async def story() -> None:
        task_id = await world.send()
        detail = (await world.get(f"/voice/group/call/detail/{task_id}"))["data"]
        named = re.findall(r"`(\w+)`", sections()["GET /voice/group/call/detail/{id}"])
        assert sorted(named) == sorted(detail)

    world.run(story())
