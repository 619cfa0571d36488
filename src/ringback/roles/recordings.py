"""Where recordings of calls are kept: ``<task id>/<call id>.wav`` inside one folder that only its owner can read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from ringback.store.leases import Lease

log = structlog.get_logger(__name__)


def recording_name(lease: Lease) -> str:
    """The path of the call's recording inside the folder of recordings."""
    return f"{lease.task_id}/{lease.call_id}.wav"


def recording_path(folder: str, lease: Lease) -> str:
    """The file that gets the call's recording, its folder made; empty when none is wanted or there can be none."""
    if not lease.limits.record:
        return ""
    top = Path(folder).absolute()
    path = top / recording_name(lease)
    try:
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        log.warning("no_folder_for_recordings", folder=str(path.parent), error=str(error))
        return ""
    return str(path)
