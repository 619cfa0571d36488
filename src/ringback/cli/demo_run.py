"""The demo: a group call and its recall flow against the carrier in the box, from nothing to Completed.

Everything is real: the request goes through the vendor's door, every call is an INVITE on loopback with audio both
ways. Only the recall minute is short.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.table import Table

from ringback.cli.campaign_run import find_flow
from ringback.cli.common import configure_logging, console
from ringback.cli.demo_check import Round, invites_match, problems_of
from ringback.cli.far_end_process import FarEndProcess
from ringback.cli.progress import Rounds
from ringback.cli.reports import counts
from ringback.cli.server import Server
from ringback.cli.vendor_client import VendorClient
from ringback.clock import Clock, RealClock
from ringback.farend.log import Invited, read_log
from ringback.model.outcome import FAILED_OUTCOMES
from ringback.model.template import Gather, Say, Tag, Template
from ringback.settings import Settings
from ringback.store import accounts, flows, records, templates, trunks
from ringback.store.database import Store

#: Every row of the table of test numbers, those that change their mind after some calls included.
ENDINGS = (
    *("00", "05", "12", "17", "23", "28", "34", "39"),
    *("40", "42", "44", "45", "47", "49"),
    *("50", "52", "54", "55", "57", "59"),
    *("60", "61", "62", "63", "70", "71", "72", "73"),
    *("80", "82", "84", "85", "87", "89"),
    *("90", "91", "93", "94", "95", "96", "97", "98", "99"),
)
PREFIX = "99000001"
ROUNDS = 3
#: Seconds; the interval of one recall minute between two rounds.
MINUTE_SECONDS = 2.0
#: The shortest that the vendor's API allows.
RING_SECONDS = 20

TEMPLATE = Template(
    name="demo",
    initial_node="question",
    nodes={
        "question": [
            Gather(
                prompt=Say("Hello ${text1}. Press 1 to agree, or 9 if you want no more calls."),
                timeout=3,
                cases={"1": "agreed", "9": "no_more_calls"},
                default="no_reply",
            )
        ],
        "agreed": [Tag("101"), Say("Thank you.")],
        "no_more_calls": [Tag("109"), Say("Goodbye.")],
        "no_reply": [Tag("100")],
    },
)


async def run_demo(telephony: str) -> list[str]:
    """Run the whole story and print it. Returns what is not as the numbers call for; empty when all is right."""
    clock = RealClock()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringback-demo-")))
        in_force = msgspec.convert(
            {
                "database_url": f"sqlite:///{folder}/demo.db",
                "telephony": telephony,
                "listen": "127.0.0.1:0",
                "minute_seconds": MINUTE_SECONDS,
                "drain_seconds": 2.0,
                "log_level": "warning",
            },
            Settings,
        )
        configure_logging(in_force)
        far_end = None
        if telephony == "sip":
            far_end = await stack.enter_async_context(FarEndProcess(folder / "farend.jsonl"))
            typer.echo(f"far end: a SIP carrier on 127.0.0.1:{far_end.port}")
        server = await stack.enter_async_context(Server(in_force, clock))
        typer.echo(f"server: the vendor's API on {server.url}, {telephony} telephony")
        key, secret = "demo" + secrets.token_hex(4), secrets.token_hex(12)
        template_id = await _furnish(server.store, clock, key, secret, far_end)
        client = await stack.enter_async_context(VendorClient(server.url, key, secret, clock))
        numbers = [PREFIX + ending for ending in ENDINGS]
        task_id = (await client.post("/voice/group/call/send/agent", _request(template_id, numbers)))["data"]
        flow_id = await find_flow(client, task_id)
        typer.echo(f"task {task_id}: {len(numbers)} numbers; recall flow {flow_id}: the failed, {ROUNDS} rounds\n")
        _, status = await Rounds(client, clock, task_id, flow_id).follow()
        rounds = await _rounds(server.store, task_id, flow_id)
        _print_rounds(rounds)
        answer = await client.post("/voice/recallFlow/queryDetail", {"keyId": flow_id})
        typer.echo("\nPOST /voice/recallFlow/queryDetail answers:")
        typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
        problems = problems_of(numbers, rounds, ROUNDS + 1)
        if status != 2:
            problems.append(f"the flow ended with status {status}, not 2 (completed)")
        if far_end is not None:
            invites = Counter(entry.call or "" for entry in read_log(far_end.log_path) if isinstance(entry, Invited))
            problems += invites_match(rounds, invites)
            typer.echo(f"The carrier saw {invites.total()} INVITEs for {invites.total()} calls.")
        return problems


async def _furnish(store: Store, clock: Clock, key: str, secret: str, far_end: FarEndProcess | None) -> int:
    """An account, a template and, for real SIP, a trunk to the far end. Returns the template's id."""
    now_ms = clock.now_ms()
    async with store.write() as tx:
        await accounts.create(
            tx,
            name="demo",
            api_key=key,
            api_secret=secret,
            time_zone="UTC",
            envelope="both",
            allowed_networks=[],
            now_ms=now_ms,
        )
        if far_end is not None:
            await trunks.add(
                tx,
                name="farend",
                engine="sip",
                host="127.0.0.1",
                port=far_end.port,
                calls_per_second=10,
                channels=60,
                now_ms=now_ms,
            )
        return await templates.add(tx, TEMPLATE, {}, account_id=None, now_ms=now_ms)


def _request(template_id: int, numbers: list[str]) -> dict[str, Any]:
    return {
        "appId": accounts.DEFAULT_APP_ID,
        "taskName": "demo",
        "agentId": template_id,
        "maxCalls": 60,
        "maxRingingTime": RING_SECONDS,
        "numberInfoList": [{"calleeNumber": number, "text1": f"number {number[-2:]}"} for number in numbers],
        "recallFlow": {"recallType": 1, "recallInterval": 1, "recallNum": ROUNDS},
    }


async def _rounds(store: Store, task_id: int, flow_id: int) -> list[Round]:
    async with store.read() as tx:
        found = await flows.detail(tx, flow_id)
        assert found is not None, "the flow was just followed to its end"
        tasks = [("first round", task_id)]
        tasks += [(f"recall {node.position}", node.task_id) for node in found.nodes if node.task_id is not None]
        return [Round(name, [call async for call in records.listed(tx, one)]) for name, one in tasks]


def _print_rounds(rounds: list[Round]) -> None:
    table = Table("round", "dialled", "ended", "why these numbers")
    before: Round | None = None
    for one in rounds:
        if before is None:
            why = "all numbers of the task"
        else:
            failed = Counter(str(call.outcome) for call in before.calls if call.outcome in FAILED_OUTCOMES)
            why = f"failed in {before.name}: {counts(failed)}"
        table.add_row(one.name, str(len(one.calls)), counts(Counter(str(call.outcome) for call in one.calls)), why)
        before = one
    console.print(table)
    table = Table("number", *(one.name for one in rounds))
    for call in rounds[0].calls:
        ends = [{each.callee: each for each in one.calls}.get(call.callee) for one in rounds]
        table.add_row(call.callee, *("" if end is None else _ending(end) for end in ends))
    console.print(table)


def _ending(call: records.CallRecord) -> str:
    """How a call ended, with the SIP code and what was pressed, in a few characters."""
    parts = [str(call.outcome)]
    if call.sip_code not in (None, 200):
        parts.append(str(call.sip_code))
    if call.keys:
        parts.append(f"key {call.keys}")
    return " ".join(parts)
