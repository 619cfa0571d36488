"""A disk for PostgreSQL that can be filled: a file system of its own in a file. Only root can mount one."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 1 << 29
FILLER: Final = "filler"


CLONE_NEWNS: Final = 0x0002_0000  # <sched.h>
MS_REC: Final = 1 << 14  # <sys/mount.h>
MS_PRIVATE: Final = 1 << 18


def keep_mounts_to_ourselves() -> None:
    """Root's mounts from here on are seen by this process and its children only, and are gone with the last of them."""
    system = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and system.unshare(CLONE_NEWNS) == 0:
        system.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)


class SmallDisk:
    """Mounted over ``folder``. ``missing`` says why there is none; the folder is then as it was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._image = Path(tempfile.mkdtemp(prefix="ringback-disk-")) / "image"
        self._mounted = False
        self.missing = self._mount()

    def _mount(self) -> str:
        if os.geteuid() != 0:
            return "only root can mount a file system"
        with self._image.open("wb") as image:
            image.truncate(SIZE_BYTES)
        make = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        if make is None:
            return "there is no mkfs.ext4"
        # No blocks are kept back for root: PostgreSQL is not root, and what fills the disk may be.
        for command in ([make, "-q", "-F", "-m", "0"], ["mount", "-o", "loop"]):
            arguments = [*command, str(self._image), *([str(self._folder)] if command[0] == "mount" else [])]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"{command[0]}: {done.stderr.strip().splitlines()[-1]}"
        self._mounted = True
        shutil.rmtree(self._folder / "lost+found")
        self._folder.chmod(0o700)
        return ""

    def fill(self) -> int:
        """Leave no byte free. Returns how many it took."""
        path = self._folder / FILLER
        taken = 0
        with path.open("wb", buffering=0) as filler:
            for block in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        taken += filler.write(bytes(block))
                except OSError:
                    continue  # no room for a block of that size
        return taken

    def empty(self) -> None:
        """Give the room back."""
        (self._folder / FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount. PostgreSQL must have ended."""
        if self._mounted:
            subprocess.run(["umount", "-l", str(self._folder)], check=False)
            self._mounted = False
            shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._image.parent, ignore_errors=True)
