"""Settings: ``ringback.toml`` in the working folder, overridden by environment variables ``RINGBACK_…``.

Every setting is a field of :class:`Settings`; its environment variable is the field's name in capitals behind
``RINGBACK_``. Unknown names and wrong values are errors that name the setting and where it came from.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from ringback.model.destinations import read_networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringback.model.destinations import Network

CONFIG_FILE = "ringback.toml"
PREFIX = "RINGBACK_"

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_APPLICATION = re.compile(r"[A-Za-z][0-9A-Za-z]{1,31}")
_MORE_THAN_ZERO = (
    "minute_seconds",
    "timestamp_tolerance_seconds",
    "no_reply_seconds",
    "takeover_seconds",
    "idle_poll_seconds",
    "reports_keep_days",
    "sip_workers",
    "max_body_megabytes",
)


class SettingsError(Exception):
    """A setting is wrong; the text names it and says why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set, with its default. Raises ValueError that names the setting at fault."""

    #: SQLAlchemy URL of the database.
    database_url: str = "sqlite:///ringback.db"
    #: The telephony engine. The sandbox calls nobody.
    telephony: Literal["sip", "asterisk", "sandbox"] = "sip"
    #: Where the HTTP server listens, HOST:PORT.
    listen: str = "127.0.0.1:8700"
    #: Where SIP phones register, HOST:PORT of UDP; empty: none can.
    registrar: str = ""
    #: Addresses or networks, with commas between, of reverse proxies whose X-Forwarded-For is believed.
    trusted_proxies: str = ""
    #: The length of a recall minute in seconds; demos and tests shrink it.
    minute_seconds: float = 60.0
    #: How far a request's Timestamp may be off, either way, in seconds.
    timestamp_tolerance_seconds: int = 1800
    #: A trunk that sends no response at all for so long is given up on that call.
    no_reply_seconds: float = 10.0
    #: After a stop was asked for, calls in the air may go on for so long.
    drain_seconds: float = 30.0
    #: A dialler that shows no life for so long is taken for dead, and what it held is settled by another.
    takeover_seconds: float = 10.0
    #: How often to look for work that another process stored.
    idle_poll_seconds: float = 1.0
    #: Worker processes of the embedded SIP engine; each holds up to 100 calls.
    sip_workers: int = 2
    #: The Asterisk servers, with commas between: http://USER:PASSWORD@HOST:PORT?weight=N&lines=N.
    asterisk: str = ""
    #: Name of the application at Asterisk; two Ringbacks on one Asterisk need two.
    asterisk_name: str = "ringback"
    #: The folder where prompts are put for Asterisk to read; the same path on both.
    asterisk_sounds: str = "sounds"
    #: Listen to the start of every answered call at Asterisk for an answering machine.
    asterisk_detect_machines: bool = True
    #: The folder of the recordings of calls, made when first needed, readable by its owner only.
    recordings: str = "recordings"
    #: The folder of the witness, by which a restored database is known; beside an SQLite file when it is relative.
    state: str = ".ringback"
    #: How many days delivered reports stay, for replay.
    reports_keep_days: float = 7.0
    #: Networks, with commas between, that reports may go to although they are not public.
    report_networks: str = ""
    #: The largest request body, in megabytes.
    max_body_megabytes: int = 64
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    #: `console` for people, `json` for machines.
    log_format: Literal["console", "json"] = "console"

    def __post_init__(self) -> None:
        for name in (*_MORE_THAN_ZERO, "drain_seconds"):
            value = getattr(self, name)
            # Not a number compares as false with everything.
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be a number, got {value}")
            if value < 0 or (value == 0 and name in _MORE_THAN_ZERO):
                raise ValueError(f"{name} must {'be more than 0' if name in _MORE_THAN_ZERO else 'not be negative'}")
        for name in ("recordings", "asterisk_sounds", "state"):
            if not getattr(self, name).strip() or "\0" in getattr(self, name):
                raise ValueError(f"{name} must be the name of a folder, got {getattr(self, name)!r}")
        try:
            split_address(self.listen)
        except ValueError as error:
            raise ValueError(f"listen {error}") from None
        try:
            split_address(self.registrar or self.listen)
        except ValueError as error:
            raise ValueError(f"registrar {error}") from None
        if not _APPLICATION.fullmatch(self.asterisk_name):
            raise ValueError("asterisk_name must be 2 to 32 letters and digits, a letter first")
        for network in self.proxies:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"trusted_proxies must hold addresses or networks: {error}") from None
        try:
            read_networks(self.report_networks)
        except ValueError as error:
            raise ValueError(f"report_networks must hold networks: {error}") from None

    @property
    def proxies(self) -> tuple[str, ...]:
        """``trusted_proxies``, one by one."""
        return tuple(part.strip() for part in self.trusted_proxies.split(",") if part.strip())

    @property
    def networks_of_reports(self) -> tuple[Network, ...]:
        """``report_networks``, one by one."""
        return read_networks(self.report_networks)


def load_settings(environ: Mapping[str, str] | None = None, folder: Path | None = None, **given: Any) -> Settings:
    """Read the settings. ``given`` (from the command line) wins over the environment, that over the file.

    Raises :class:`SettingsError`.
    """
    environ = os.environ if environ is None else environ
    path = (folder or Path()) / CONFIG_FILE
    known = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, value in _from_file(path).items():
        if name not in known:
            raise SettingsError(f"{path}: unknown setting {name}")
        values[name], sources[name] = value, f"{name} in {path}"
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known or variable != PREFIX + name.upper():
            raise SettingsError(f"unknown setting in the environment: {variable}")
        values[name], sources[name] = text, f"{variable} in the environment"
    for name, value in given.items():
        if value is not None:
            values[name], sources[name] = value, f"{name} on the command line"
    for name, value in values.items():
        try:
            values[name] = msgspec.convert(value, known[name], strict=False)
        except msgspec.ValidationError:
            raise SettingsError(f"{sources[name]}: must be {_wanted(known[name])}, got {value!r}") from None
    try:
        return Settings(**values)
    except ValueError as error:
        name = str(error).partition(" ")[0]
        raise SettingsError(f"{sources.get(name, name)}: {error}") from None


def split_address(text: str) -> tuple[str, int]:
    """HOST and PORT of ``HOST:PORT`` (an IPv6 host in brackets). Raises ValueError with a text for people."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65_535:
        raise ValueError(f"must be HOST:PORT, got {text!r}")
    return found["v6"] or found["host"], int(found["port"])


def _wanted(kind: Any) -> str:
    choices = get_args(kind)
    if choices:
        return "one of " + ", ".join(choices)
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
