"""What is done to the world: each fault is made, undone, and waited out until dialling goes on."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.compare import BACK_SECONDS, SETTLING_SECONDS
from chaos.evidence import Back, CallRow, Frozen, Killed
from chaos.world import BOOT_SECONDS, TAKEOVER_SECONDS, TookTooLong, until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from chaos.world import Member, World

#: For how long PostgreSQL's disk is full, seconds.
FULL_SECONDS: Final = 8.0
#: How often a stuttering dialler stands still, and how long it does and then does not: a call may leave 0.25 s late.
STUTTERS: Final = 12
STUTTER_SECONDS: Final = (0.05, 0.5)
#: A fault waits so long for what it needs: a dialler that holds calls, say.
WAIT_SECONDS: Final = 60.0

CALL_COLUMNS: Final = ", ".join(CallRow.__struct_fields__)


class Faults:
    """One method a fault. ``say`` is told what happens."""

    def __init__(self, world: World, dice: random.Random, say: Callable[[str], None]) -> None:
        self._world = world
        self._dice = dice
        self._say = say
        self.killed: list[Killed] = []
        self.frozen: list[Frozen] = []
        self.back: list[Back] = []
        self.asterisk_deaths_ns: list[int] = []
        #: Faults that could not be made here, and why.
        self.left_out: dict[str, str] = {}

    def all(self) -> dict[str, Callable[[], None]]:
        """Every fault by its name."""
        world = self._world
        found: dict[str, Callable[[], None]] = {}
        for dialler in world.diallers:
            found[f"kill -9 {dialler.name}"] = partial(self.kill_dialler, dialler)
            found[f"freeze {dialler.name}"] = partial(self.freeze_dialler, dialler)
            found[f"stutter {dialler.name}"] = partial(self.stutter, dialler)
        for member in (*world.apis, world.conductor):
            found[f"kill -9 {member.name}"] = partial(self.kill_member, member)
        found |= {
            "kill -9 Asterisk": self.kill_asterisk,
            "kill -9 PostgreSQL": self.kill_postgres,
            "kill -9 PostgreSQL and a dialler": self.kill_postgres_and_dialler,
            "restart PostgreSQL": self.restart_postgres,
            "drop PostgreSQL's connections": self.drop_connections,
        }
        if world.disk is not None and not world.disk.missing:
            found["PostgreSQL's disk full"] = self.fill_disk
        else:
            self.left_out["PostgreSQL's disk full"] = world.disk.missing if world.disk else "not part of a short run"
        return found

    def make(self, name: str) -> None:
        """Make one fault, undo it, and wait until calls reach the carrier again."""
        self._say(name)
        self.all()[name]()
        restarted, before = time.monotonic(), self._world.invites()
        try:
            until(lambda: self._world.invites() > before or self._no_work(), what="a call", seconds=BACK_SECONDS + 5)
        except TookTooLong:
            self.back.append(Back(fault=name, seconds=None))
            return
        if self._world.invites() > before:
            self.back.append(Back(fault=name, seconds=time.monotonic() - restarted))

    def _no_work(self) -> bool:
        # What is asked at the same moment as dialling goes on may still be in the queue.
        try:
            return not self._world.rows("SELECT 1 FROM task WHERE state IN ('waiting', 'calling') AND queued > 0")
        except RuntimeError:
            return False

    # --- diallers ---

    def worker_of(self, dialler: Member) -> int:
        """The worker id of a dialler that holds calls."""
        query = (
            f"SELECT max(id) AS id FROM worker w WHERE pid = {dialler.pid} AND fenced_at IS NULL AND EXISTS"
            " (SELECT FROM call c WHERE c.worker_id = w.id AND c.state IN ('dialling', 'in_progress'))"
        )
        found = until(
            lambda: self._world.rows(query)[0]["id"], what=f"{dialler.name} to hold calls", seconds=WAIT_SECONDS
        )
        return int(found)

    def _held(self, worker_id: int) -> int:
        query = f"SELECT count(*) AS n FROM call WHERE worker_id = {worker_id} AND state IN ('dialling', 'in_progress')"
        return int(self._world.rows(query)[0]["n"])

    def kill_dialler(self, dialler: Member) -> None:
        """SIGKILL, a new one a little later, and wait until others have settled what it held."""
        worker_id = self.worker_of(dialler)
        held = self._held(worker_id)
        dialler.kill()
        self.killed.append(Killed(worker_id=worker_id, at_ns=time.time_ns(), held=held))
        time.sleep(self._dice.uniform(0, 3))
        dialler.start()
        self._settled(worker_id)
        until(dialler.ready, what=dialler.name, seconds=BOOT_SECONDS)

    def _settled(self, worker_id: int) -> None:
        """Wait for it, in vain if need be: the comparison says so then."""
        query = f"SELECT ended_at FROM worker WHERE id = {worker_id} AND ended_at IS NOT NULL"
        try:
            until(lambda: self._world.rows(query), what="a takeover", seconds=TAKEOVER_SECONDS + SETTLING_SECONDS + 15)
        except TookTooLong as error:
            self._say(f"  {error}")

    def freeze_dialler(self, dialler: Member) -> None:
        """SIGSTOP until others have fenced it off and settled its calls, and a little longer; then SIGCONT."""
        worker_id = self.worker_of(dialler)
        dialler.freeze()
        frozen = Frozen(worker_id=worker_id, at_ns=time.time_ns())
        self.frozen.append(frozen)
        self._settled(worker_id)
        time.sleep(self._dice.uniform(0, 2))
        rows = self._world.rows(f"SELECT {CALL_COLUMNS} FROM call WHERE worker_id = {worker_id}")
        frozen.rows = [msgspec.convert(row, CallRow) for row in rows]
        frozen.thawed_ns = time.time_ns()
        dialler.thaw()
        query = f"SELECT 1 FROM worker WHERE pid = {dialler.pid} AND id > {worker_id}"
        until(lambda: self._world.rows(query), what=f"{dialler.name} to start again", seconds=BOOT_SECONDS)

    def stutter(self, dialler: Member) -> None:
        """SIGSTOP for fractions of a second, again and again: what it had leased is late, or too late."""
        for _ in range(STUTTERS):
            dialler.freeze()
            time.sleep(self._dice.uniform(*STUTTER_SECONDS))
            dialler.thaw()
            time.sleep(self._dice.uniform(*STUTTER_SECONDS))

    # --- the others ---

    def kill_member(self, member: Member) -> None:
        """SIGKILL to an API node or the conductor; a new one a little later."""
        member.kill()
        time.sleep(self._dice.uniform(0, 3))
        member.start()
        until(member.ready, what=member.name, seconds=BOOT_SECONDS)

    def kill_asterisk(self) -> None:
        """SIGKILL, with all calls in the air; a new one at once."""
        self._world.asterisk.kill()
        self.asterisk_deaths_ns.append(time.time_ns())
        self._world.asterisk.start()

    def kill_postgres(self) -> None:
        """SIGKILL to the postmaster; a new one at once, which recovers from its log."""
        self._world.postgres.kill()
        self._world.postgres.start()

    def kill_postgres_and_dialler(self) -> None:
        """Both at once: the takeover counts from when the database is back."""
        dialler = self._dice.choice(self._world.diallers)
        worker_id = self.worker_of(dialler)
        held = self._held(worker_id)
        dialler.kill()
        self._world.postgres.kill()
        self._world.postgres.start()
        self.killed.append(Killed(worker_id=worker_id, at_ns=time.time_ns(), held=held))
        dialler.start()
        self._settled(worker_id)
        until(dialler.ready, what=dialler.name, seconds=BOOT_SECONDS)

    def restart_postgres(self) -> None:
        """As an operator does: connections are ended, nothing is lost."""
        self._world.postgres.stop("fast")
        self._world.postgres.start()

    def drop_connections(self) -> None:
        """As a network does."""
        self._world.postgres.drop_connections()

    def fill_disk(self) -> None:
        """No byte is left for PostgreSQL, its log included; then there is room again."""
        disk = self._world.disk
        assert disk is not None
        taken = disk.fill()
        time.sleep(FULL_SECONDS)
        disk.empty()
        died = not self._world.postgres.running
        self._say(f"  {taken >> 20} MB taken; PostgreSQL {'gave up' if died else 'bore it'}")
        if died:
            self._world.postgres.start()
