"""Settings: ``ringback.toml`` in the working folder, overridden by environment variables ``RINGBACK_…``.

Every setting is a field of :class:`Settings`; its environment variable is the field's name in capitals behind
``RINGBACK_``. Unknown names and wrong values are errors that name the setting and where it came from.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG_FILE = "ringback.toml"
PREFIX = "RINGBACK_"


class SettingsError(Exception):
    """A setting is wrong; the text names it and says why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set, with its default."""

    #: SQLAlchemy URL of the database.
    database_url: str = "sqlite:///ringback.db"
    #: The telephony engine. The sandbox calls nobody.
    telephony: Literal["sip", "asterisk", "sandbox"] = "sip"
    #: Where the HTTP server listens, HOST:PORT.
    listen: str = "127.0.0.1:8700"
    #: The length of a recall minute in seconds; demos and tests shrink it.
    minute_seconds: float = 60.0
    #: How far a request's Timestamp may be off, either way, in seconds.
    timestamp_tolerance_seconds: int = 1800
    #: A trunk that sends no response at all for so long is given up on that call.
    no_reply_seconds: float = 10.0
    #: After a stop was asked for, calls in the air may go on for so long.
    drain_seconds: float = 30.0
    #: How often to look for work that another process stored.
    idle_poll_seconds: float = 1.0
    #: Worker processes of the embedded SIP engine; each holds up to 100 calls.
    sip_workers: int = 2
    #: The largest request body, in megabytes.
    max_body_megabytes: int = 64
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: `console` for people, `json` for machines.
    log_format: Literal["console", "json"] = "console"

    def __post_init__(self) -> None:
        for name in (
            "minute_seconds",
            "timestamp_tolerance_seconds",
            "no_reply_seconds",
            "idle_poll_seconds",
            "sip_workers",
            "max_body_megabytes",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")
        if self.drain_seconds < 0:
            raise ValueError("drain_seconds must not be negative")
        split_address(self.listen)


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None, **given: Any) -> Settings:
    """Read the settings. ``given`` (from the command line) wins over the environment, that over the file.

    Raises :class:`SettingsError`.
    """
    environ = os.environ if environ is None else environ
    path = (folder or Path()) / CONFIG_FILE
    values = _from_file(path)
    known = {field.name for field in msgspec.structs.fields(Settings)}
    for variable, text in environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                raise SettingsError(f"unknown setting in the environment: {variable}")
            values[name] = text
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return msgspec.convert(values, Settings, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"settings: {error}") from None


def split_address(text: str) -> tuple[str, int]:
    """HOST and PORT of ``HOST:PORT`` (an IPv6 host in brackets). Raises ValueError with a text for people."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) <= 65_535):
        raise ValueError(f"must be HOST:PORT, got {text!r}")
    return host, int(port)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
