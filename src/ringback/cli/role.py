"""What a server can be told to do."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A part of the server that can run alone."""

    API = "api"
    DIALLER = "dialler"
    CONDUCTOR = "conductor"
    COURIER = "courier"
    REGISTRAR = "registrar"
