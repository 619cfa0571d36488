"""A minimal Asterisk configuration that works with this engine, for users to copy and for our own tests to run."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

import msgspec

#: Files that some module wants to see and that may be empty.
_EMPTY: Final = (
    "acl.conf",
    "ccss.conf",
    "chan_websocket.conf",
    "codecs.conf",
    "dnsmgr.conf",
    "features.conf",
    "manager.conf",
    "pjproject.conf",
    "stasis.conf",
    "udptl.conf",
    "websocket_client.conf",
)
_PLACE: Final = re.compile(r"@([a-z_]+)@")
_HOST: Final = re.compile(r"[0-9A-Za-z.:-]{1,253}")
_WORD: Final = re.compile(r"[0-9A-Za-z_.~-]{1,128}")


class AsteriskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user chooses. Raises ValueError that names the field."""

    http_host: str = "127.0.0.1"
    http_port: int = 8088
    user: str = "ringback"
    password: str
    sip_host: str = "0.0.0.0"  # noqa: S104 - a carrier must reach it
    sip_port: int = 5060
    rtp_start: int = 10_000
    rtp_end: int = 20_000

    def __post_init__(self) -> None:
        for name in ("user", "password"):
            if not _WORD.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} must be 1 to 128 letters, digits and _ . ~ -")
        for name in ("http_host", "sip_host"):
            if not _HOST.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} must be a host name or an IP address")
        for name in ("http_port", "sip_port", "rtp_start", "rtp_end"):
            if not 1 <= getattr(self, name) <= 65_535:
                raise ValueError(f"{name} must be 1 to 65535, got {getattr(self, name)}")
        if self.rtp_end - self.rtp_start < 3:
            raise ValueError("rtp_end must be at least rtp_start + 3: a call takes two ports, the first one even")


def asterisk_files(options: AsteriskOptions) -> dict[str, str]:
    """The configuration: file name to text."""
    values = {name: str(value) for name, value in msgspec.structs.asdict(options).items()}
    if ":" in options.sip_host:
        values["sip_host"] = f"[{options.sip_host}]"  # Asterisk's SIP wants brackets, its HTTP server none
    files = dict.fromkeys(_EMPTY, "; May be empty, must be there.\n")
    for file in resources.files(__package__).joinpath("conf").iterdir():
        if file.name.endswith(".conf"):
            files[file.name] = _PLACE.sub(lambda place: values[place[1]], file.read_text("utf-8"))
    return dict(sorted(files.items()))
