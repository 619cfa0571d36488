"""Runs a campaign file: on a running server, or on one of its own, always through the vendor's API."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from ringback.cli.campaign_file import Campaign, read_campaign, read_numbers, send_agent_body
from ringback.cli.common import UserError
from ringback.cli.progress import Rounds
from ringback.cli.server import Server
from ringback.cli.vendor_client import VendorClient
from ringback.clock import Clock, RealClock
from ringback.store import accounts, templates
from ringback.voice.languages import why_silent
from ringback.voice.load import TemplateError, load_template

if TYPE_CHECKING:
    from ringback.settings import Settings
    from ringback.store.database import Store

#: Vendor's number of a finished task and of a completed flow.
DONE = 2


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a campaign runs: on a ``server`` with its key and secret, or on an own one under an ``account``."""

    server: str | None
    account: str | None
    api_key: str | None
    api_secret: str | None


async def run_file(path: Path, target: Target, in_force: Settings) -> int:
    """Run the campaign of a file and show its progress. Returns the exit code: 0 when all was done.

    Raises :class:`UserError`.
    """
    clock = RealClock()
    asked = read_campaign(path)
    folder = path.parent
    numbers = read_numbers(folder / asked.numbers)
    for problem in numbers.problems:
        typer.echo(f"{asked.numbers}, {problem}", err=True)
    async with contextlib.AsyncExitStack() as stack:
        if target.server is not None:
            if not target.api_key or not target.api_secret:
                raise UserError("--server needs --api-key and --api-secret")
            ids = _ids_only(asked)
            client = VendorClient(target.server, target.api_key, target.api_secret, clock)
        else:
            own = await stack.enter_async_context(Server(in_force, clock))
            if own.held:
                raise UserError(own.held)
            ids = await _add_templates(own.store, asked, folder, clock)
            client = await _own_client(own, target.account, clock)
        await stack.enter_async_context(client)
        created = await client.post("/voice/group/call/send/agent", send_agent_body(asked, numbers, ids))
        task_id = created["data"]
        if created.get("warning"):
            typer.echo(created["warning"], err=True)
        flow_id = await find_flow(client, task_id) if asked.recall else None
        typer.echo(f"task {task_id}" + (f", recall flow {flow_id}" if flow_id else ""))
        task_status, flow_status = await Rounds(client, clock, task_id, flow_id).follow()
    return 0 if (task_status if flow_status is None else flow_status) == DONE else 1


async def find_flow(client: VendorClient, parent_task_id: int) -> int:
    """The flow's key by its parent task: the list is the only published way. Raises :class:`UserError`."""
    body: dict[str, Any] = {
        "current": 1,
        "size": 100,
        "params": {
            "strTime": "2000-01-01 00:00:00",
            "endTime": "2999-12-31 23:59:59",
            "taskName": str(parent_task_id),
        },
    }
    page = await client.post("/voice/recallFlow/queryPage", body)
    for record in page["data"]["records"]:
        if record["taskId"] == parent_task_id:
            return int(record["keyId"])
    raise UserError(f"task {parent_task_id} has no recall flow")


def _named_templates(asked: Campaign) -> list[str | int]:
    return [asked.template, *(asked.recall.templates if asked.recall else [])]


def _ids_only(asked: Campaign) -> dict[str | int, int]:
    for name in _named_templates(asked):
        if not isinstance(name, int):
            raise UserError(f"template {name!r}: a running server needs the id of a template that it has")
    return {name: int(name) for name in _named_templates(asked)}


async def _add_templates(store: Store, asked: Campaign, folder: Path, clock: Clock) -> dict[str | int, int]:
    ids: dict[str | int, int] = {}
    for name in _named_templates(asked):
        if isinstance(name, int):
            ids[name] = name
        elif name not in ids:
            try:
                loaded = load_template(folder / name)
            except TemplateError as error:
                raise UserError(f"template {name}\n{error}") from None
            if silent := why_silent(loaded.template):
                raise UserError(f"template {name}: language: {silent}")
            async with store.write() as tx:
                ids[name] = await templates.add(
                    tx, loaded.template, loaded.audio, account_id=None, now_ms=clock.now_ms()
                )
    return ids


async def _own_client(own: Server, account: str | None, clock: Clock) -> VendorClient:
    async with own.store.read() as tx:
        known = await accounts.everyone(tx)
    chosen = [one for one in known if account is None or one.name == account]
    if not chosen:
        raise UserError(
            f"there is no account {account!r}" if account else "there is no account: ringback account create"
        )
    if len(chosen) > 1:
        raise UserError("there are several accounts: choose one with --account")
    return VendorClient(own.url, chosen[0].api_key, chosen[0].api_secret, clock)
