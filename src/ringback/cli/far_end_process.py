"""The far end as a process of its own, for the demo and for whoever wants a carrier to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Self

from ringback.cli.common import UserError

READY = "far end listening on "
START_SECONDS = 20.0
STOP_SECONDS = 5.0


class FarEndProcess:
    """Use as an async context manager: inside, the far end takes calls on ``port`` and logs them to ``log_path``."""

    def __init__(self, log_path: Path) -> None:
        self.log_path = log_path
        self.port = 0
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        arguments = ["-m", "ringback.farend", "--listen", "127.0.0.1:0", "--log", str(self.log_path)]
        self._process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                line = (await self._process.stdout.readline()).decode()
        except TimeoutError:
            line = ""
        if not line.startswith(READY):
            await self.__aexit__()
            raise UserError("the far end did not start")
        self.port = int(line.strip().rpartition(":")[2])
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
