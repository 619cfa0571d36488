"""Where an Asterisk is: one address a node, as it stands in the settings."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

DEFAULT_LINES: Final = 300
MOST_LINES: Final = 10_000
MOST_WEIGHT: Final = 1_000
_OPTIONS: Final = ("weight", "lines")


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True):
    """One Asterisk. ``name`` is HOST:PORT; ``weight`` its share of the calls; ``lines`` the most calls at once."""

    name: str
    base_url: str
    user: str
    password: str
    weight: int = 1
    lines: int = DEFAULT_LINES

    def __repr__(self) -> str:
        return f"NodeAddress(name={self.name!r})"


def read_addresses(text: str) -> list[NodeAddress]:
    """Read ``http://USER:PASSWORD@HOST:PORT?weight=N&lines=N``, several with commas between.

    Raises:
        ValueError: it is not one; the text says why and never holds the password.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("must name at least one Asterisk, as http://USER:PASSWORD@HOST:PORT")
    nodes = [_read(part, f"node {number}") for number, part in enumerate(parts, start=1)]
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names {name} twice")
    return nodes


def _read(text: str, where: str) -> NodeAddress:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{where} cannot be read; write http://USER:PASSWORD@HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ValueError(f"{where} must be http://USER:PASSWORD@HOST:PORT, with the port of Asterisk's HTTP server")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not user or not password:
        raise ValueError(f"{where} has no user and password (those of ari.conf)")
    if ":" in user or not (user + password).isprintable():
        raise ValueError(f"{where} has a character in its user or password that HTTP or ari.conf does not allow")
    if parts.fragment:
        raise ValueError(f"{where} has a #, which must be written %23 in a password")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    options = parse_qs(parts.query, keep_blank_values=True)
    for option in options:
        if option not in _OPTIONS:
            # Not repeated: it may be a part of a password with a bare ? in it.
            raise ValueError(f"{where} has an unknown option; there are weight and lines")
    return NodeAddress(
        name=f"{host}:{port}",
        base_url=f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}/ari",
        user=user,
        password=password,
        weight=_number(options, "weight", 1, MOST_WEIGHT, where),
        lines=_number(options, "lines", DEFAULT_LINES, MOST_LINES, where),
    )


def _number(options: dict[str, list[str]], name: str, default: int, most: int, where: str) -> int:
    text = options.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9) or not 1 <= int(text) <= most:
        raise ValueError(f"{where}: {name} must be 1 to {most}")
    return int(text)
