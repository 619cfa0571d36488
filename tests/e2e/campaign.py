"""What end-to-end tests of a whole server share: its fixtures, its task, and what carrier and store say afterwards."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from e2e.processes import Program, ringback
from e2e.vendor import Vendor
from ringback.farend.log import Invited, read_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEMPLATE = 'name: t\nsteps:\n  - gather: {say: "Press one.", timeout: 1}\n  - tag: "100"\n'


class Campaign:
    """One server's working folder with the settings of its environment."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.template_id = 0

    def run(self, *arguments: str) -> str:
        """The output of a command; fails the test when it fails."""
        done = ringback(*arguments, folder=self.folder, environ=self.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def furnish(self, carrier_port: str | int, *, cps: float, channels: int, template: str = TEMPLATE) -> None:
        """An account, a trunk to the carrier and a template."""
        (self.folder / "t.yaml").write_text(template)
        self.run("account", "create", "me", "--api-key", "key1", "--api-secret", "secret1")
        limits = ("--cps", str(cps), "--channels", str(channels))
        self.run("trunk", "add", "out", "--to", f"127.0.0.1:{carrier_port}", *limits)
        self.template_id = int(self.run("template", "add", "t.yaml").splitlines()[-1])

    def vendor_of_new_account(self, server: Program) -> Vendor:
        """A client of a server in the sandbox, which makes its trunk by itself, with an account and a template."""
        (self.folder / "t.yaml").write_text(TEMPLATE)
        vendor = self.vendor(server)
        self.run("account", "create", "me", "--api-key", "key1", "--api-secret", "secret1")
        self.template_id = int(self.run("template", "add", "t.yaml").splitlines()[-1])
        return vendor

    def vendor(self, server: Program) -> Vendor:
        """A client of the running server."""
        return Vendor(server.line_with("ringback listening on ").split()[-1], "key1", "secret1")

    def create(self, vendor: Vendor, numbers: Sequence[str], **more: Any) -> int:
        """A task over these numbers. Returns its id."""
        answer = vendor.post(
            "/voice/group/call/send/agent",
            {
                "appId": "default",
                "taskName": "campaign",
                "agentId": self.template_id,
                "maxRingingTime": 20,
                "numberInfoList": [{"calleeNumber": number} for number in numbers],
                **more,
            },
        )
        assert answer["code"] == 0, answer
        return int(answer["data"])

    def calls(self, task_id: int) -> list[dict[str, Any]]:
        """The task's calls, as the command shows them."""
        return [json.loads(line) for line in self.run("calls", str(task_id), "--json").splitlines()]

    def progress(self, vendor: Vendor, task_id: int) -> dict[str, Any]:
        """The task as the vendor's list shows it: ``status``, ``callNum`` and more."""
        whole = {"strTime": "2020-01-01 00:00:00", "endTime": "2099-01-01 00:00:00", "taskType": 3}
        page = vendor.post("/voice/group/call/query", {"current": 1, "size": 50, "params": whole})
        (record,) = [record for record in page["data"]["records"] if record["taskId"] == task_id]
        found: dict[str, Any] = record
        return found

    def finished(self, vendor: Vendor, task_id: int) -> bool | None:
        """True when the task has finished, else ``None``."""
        return True if self.progress(vendor, task_id)["status"] == FINISHED else None


#: The vendor's number for a finished task.
FINISHED = 2


def invites(log: Path) -> list[Invited]:
    """The calls that reached the carrier."""
    return [entry for entry in read_log(log) if isinstance(entry, Invited)]


def dialled_twice(log: Path) -> list[tuple[str | None, str]]:
    """What must be empty: (task, callee) pairs that the carrier saw more than once."""
    seen = Counter((entry.task, entry.callee) for entry in invites(log))
    return [pair for pair, count in seen.items() if count > 1]
